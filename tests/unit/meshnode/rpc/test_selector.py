from __future__ import annotations

from itertools import product

import pytest

from meshnode.rpc.selector import Refusal, Selector, admit


def expected(byte: int, encrypted: bool, offered: bool, required: bool) -> Selector | str:
    """The whole decision in words of its own."""
    if byte > 5:
        return "garbage"
    if byte == 3:
        return "garbage" if encrypted else Selector.TLS if offered else "tls"
    if required and not encrypted:
        return "plaintext"
    others: dict[int, Selector | str] = {
        0: Selector.RPC,
        1: "raft",
        2: "multiplex",
        4: Selector.YAMUX,
        5: "snapshot",
    }
    return others[byte]


@pytest.mark.parametrize(("encrypted", "offered", "required"), list(product([False, True], repeat=3)))
def test_the_full_table_of_first_bytes(encrypted: bool, offered: bool, required: bool) -> None:
    for byte in range(256):
        choice = admit(byte, encrypted=encrypted, tls_offered=offered, tls_required=required)
        got = choice.counter if isinstance(choice, Refusal) else choice
        assert got == expected(byte, encrypted, offered, required), byte


@pytest.mark.parametrize(
    ("byte", "words"),
    [(1, "not raft"), (0x16, "ClientHello"), (ord("G"), "8500"), (0x7F, "0x7f"), (5, "snapshot")],
)
def test_a_refusal_says_what_it_saw(byte: int, words: str) -> None:
    choice = admit(byte, encrypted=False, tls_offered=False, tls_required=False)
    assert isinstance(choice, Refusal)
    assert words in choice.because
