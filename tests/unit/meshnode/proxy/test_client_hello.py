"""What is read of a ClientHello, with OpenSSL's as witness, and with anything else."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.proxy.client_hello import ClientOffer, read_client_offer
from meshnode.runtime.proxy.contexts import make_contexts
from tests.support.proxy import Ca

CA = Ca()
API, WEB = make_contexts(CA.leaf("api")), make_contexts(CA.leaf("web"))


def hello(context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> bytes:
    """What a client says first."""
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, session=session)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def ticket_of(server_context: ssl.SSLContext) -> ssl.SSLSession:
    """A session that a client got from the server; the connection has to stay for as long as it is to be resumed."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = WEB.client.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    server.write(b"x")
    assert client.read(1) == b"x"
    session = client.session
    assert session is not None
    return session


FIRST = hello(WEB.client)
SEALED = hello(WEB.client, ticket_of(API.server))


def test_a_first_hello_of_openssl_offers_tls_1_3_and_no_ticket() -> None:
    assert read_client_offer(FIRST) == ClientOffer(tls13=True, ticket_bytes=0)


def test_a_client_of_tls_1_2_is_known_by_its_hello() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert read_client_offer(hello(context)) == ClientOffer(tls13=False, ticket_bytes=0)


def test_the_ticket_is_a_number_where_the_server_keeps_the_session_and_long_where_it_does_not() -> None:
    API.keeping.num_tickets = 1
    assert read_client_offer(hello(WEB.client, ticket_of(API.keeping))) == ClientOffer(True, 32)
    sealed = read_client_offer(SEALED)
    assert sealed is not None
    assert sealed.tls13
    assert sealed.ticket_bytes > 500


@pytest.mark.parametrize("whole", [FIRST, SEALED], ids=["first", "resuming"])
def test_a_hello_that_is_not_all_there_is_not_read_and_what_follows_it_does_not_matter(whole: bytes) -> None:
    assert not any(read_client_offer(whole[:count]) for count in range(len(whole)))
    assert read_client_offer(whole + b"more") == read_client_offer(whole)


@pytest.mark.parametrize(
    "data", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x17" + FIRST[1:], FIRST[:5] + b"\x02" + FIRST[6:]]
)
def test_something_else_than_a_hello_offers_nothing(data: bytes) -> None:
    assert read_client_offer(data) is None


def test_a_hello_without_extensions_offers_nothing_to_resume() -> None:
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    record = b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message
    assert read_client_offer(record) == ClientOffer(tls13=False, ticket_bytes=0)


@given(st.binary(max_size=2000))
def test_any_bytes_are_an_offer_or_none(data: bytes) -> None:
    found = read_client_offer(data)
    assert found is None or 0 <= found.ticket_bytes <= len(data)


@given(st.integers(0, len(SEALED) - 1), st.integers(0, 255))
def test_a_hello_with_any_byte_changed_is_an_offer_or_none(at: int, value: int) -> None:
    changed = SEALED[:at] + bytes([value]) + SEALED[at + 1 :]
    found = read_client_offer(changed)
    assert found is None or 0 <= found.ticket_bytes <= len(changed)
