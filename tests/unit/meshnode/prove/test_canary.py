"""Canaries are found in each disguise, wherever pieces are cut, and never by chance."""

from __future__ import annotations

import base64
import random

import pytest

from meshnode.base.errors import ConfigError
from meshnode.prove.canary import MIN_CANARY_CHARS, CanarySearch, Tail, around, renderings

CANARY = "canary4f1c9a77b2"


@pytest.mark.parametrize("lead", range(6))
@pytest.mark.parametrize("tail", [b"", b"?", b"??", b"???"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, base64.standard_b64encode])
def test_base64_of_anything_around_it_is_found(lead: int, tail: bytes, encode: object) -> None:
    assert callable(encode)
    text = encode(b">" * lead + CANARY.encode() + tail)
    assert CANARY in CanarySearch([CANARY]).find(text)


@pytest.mark.parametrize("word", ["canary>>>???~~~~", "ünïcödé-wörd"])
def test_words_whose_base64_has_the_characters_that_differ_are_found_in_both_alphabets(word: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for lead in range(3):
            assert word in CanarySearch([word]).find(encode(b"\xff" * lead + word.encode() + b"\xff"))


@pytest.mark.parametrize(
    "text", [CANARY.encode(), CANARY.encode().hex().encode(), CANARY.encode().hex().upper().encode()]
)
def test_it_is_found_as_it_is_and_as_hex(text: bytes) -> None:
    assert CanarySearch([CANARY]).find(b"\x00" + text + b"\xff") == {CANARY: (1, 1 + len(text))}


def test_what_is_found_is_what_was_cut_anywhere() -> None:
    text = b"noise" * 40 + base64.b64encode(b"x" + CANARY.encode()) + b"noise" * 40
    for size in range(1, 60):
        tail, found = Tail(CanarySearch([CANARY])), {}
        for start in range(0, len(text), size):
            found |= tail.find(text[start : start + size])
        offset, shown = found[CANARY]
        assert text[offset : offset + len(shown)] == shown
        assert offset % 16 == 0


def test_a_piece_that_is_missing_does_not_join_its_neighbours() -> None:
    tail = Tail(CanarySearch([CANARY]))
    assert tail.find(CANARY[:8].encode()) == {}
    tail.skip(1)
    assert tail.find(CANARY[8:].encode()) == {}


@pytest.mark.parametrize("word", ["", "a", "x" * (MIN_CANARY_CHARS - 1)])
def test_a_word_that_would_be_found_by_chance_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="by chance"):
        CanarySearch([word])


def test_the_shortest_word_that_is_taken_is_not_found_in_random_bytes() -> None:
    search = CanarySearch(["x" * MIN_CANARY_CHARS, CANARY])
    assert search.find(random.Random(1).randbytes(4_000_000)) == {}


def test_each_rendering_holds_enough_of_the_word() -> None:
    assert min(map(len, renderings(b"x" * MIN_CANARY_CHARS))) >= 8


@pytest.mark.parametrize(("begin", "base"), [(0, 0), (5, 3), (200, 7), (64, 0)])
def test_the_excerpt_has_the_word_and_starts_at_a_row(begin: int, base: int) -> None:
    data = bytes(300)
    offset, shown = around(data, begin, begin + 10, base)
    assert offset <= base + begin < offset + len(shown)
    assert offset % 16 == 0 or offset == base + begin
