"""The name that a client asks for, read from its first bytes however they are cut; OpenSSL writes the hellos."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import RemoteProtocolError
from meshnode.proxy.client_hello import MAX_CLIENT_HELLO_BYTES, read_server_name


def hello(name: str | None) -> bytes:
    """What OpenSSL says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def in_records(first: bytes, size: int) -> bytes:
    """The same message in records of ``size`` bytes."""
    message = first[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(first[:3] + len(piece).to_bytes(2) + piece for piece in pieces)


NAMED = hello("shop.example")
UPPER = NAMED.replace(b"shop.example", b"Shop.EXAMPLE")


def test_the_name_is_read_in_lower_case() -> None:
    assert read_server_name(NAMED) == read_server_name(UPPER) == "shop.example"


@pytest.mark.parametrize("name", [None, "10.0.0.1"])
def test_a_client_that_names_none_or_an_address_asks_for_no_name(name: str | None) -> None:
    assert read_server_name(hello(name)) == ""


def test_each_beginning_of_a_hello_waits_for_more() -> None:
    assert {read_server_name(NAMED[:length]) for length in range(len(NAMED))} == {None}


def test_what_follows_the_hello_is_nobody_s_business() -> None:
    assert read_server_name(NAMED + b"\x17\x03\x03\x00\x01x") == "shop.example"


@given(st.integers(1, 600))
def test_records_may_be_of_any_size(size: int) -> None:
    cut = in_records(NAMED, size)
    assert read_server_name(cut) == "shop.example"
    assert read_server_name(cut[:-1]) is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET / HTTP/1.1\r\n", "it does not speak TLS"),
        (b"\x15\x03\x01\x00\x02\x01\x00", "it does not speak TLS"),
        (b"\x16\x03\x01\x00\x00", "an empty record"),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "no ClientHello"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", "cut off inside"),
        (NAMED.replace(b"shop.example", b"shop\0example"), "no host name"),
        (NAMED.replace(b"shop.example", b"shop\xe4example"), "no host name"),
    ],
)
def test_what_is_no_hello_is_refused_with_the_reason(data: bytes, said: str) -> None:
    with pytest.raises(RemoteProtocolError, match=said):
        read_server_name(data)


def test_a_hello_has_a_bound() -> None:
    size = MAX_CLIENT_HELLO_BYTES - 5 * 5 - 4
    message = b"\x01" + size.to_bytes(3) + bytes(size)
    whole = in_records(b"\x16\x03\x01\x00\x00" + message, 16384)
    assert len(whole) <= MAX_CLIENT_HELLO_BYTES
    assert read_server_name(whole) == "", "zeros are a hello that offers nothing"
    longer = b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + bytes(16380)
    longer += (b"\x16\x03\x01\x40\x00" + bytes(16384)) * 3
    assert read_server_name(longer[: MAX_CLIENT_HELLO_BYTES - 1]) is None
    with pytest.raises(RemoteProtocolError, match=f"longer than {MAX_CLIENT_HELLO_BYTES} bytes"):
        read_server_name(longer[:MAX_CLIENT_HELLO_BYTES])


@given(st.binary(max_size=300))
def test_garbage_ends_in_a_name_a_wait_or_a_refusal(data: bytes) -> None:
    for first in (data, b"\x16\x03\x01" + data, NAMED[:60] + data):
        try:
            found = read_server_name(first)
        except RemoteProtocolError:
            continue
        assert found is None or found.isascii()


@given(st.integers(0, len(NAMED) - 1), st.integers(0, 255))
def test_a_changed_byte_ends_in_a_name_a_wait_or_a_refusal(place: int, value: int) -> None:
    changed = NAMED[:place] + bytes([value]) + NAMED[place + 1 :]
    try:
        found = read_server_name(changed)
    except RemoteProtocolError:
        return
    assert found is None or found.isascii()
