"""SPIFFE IDs: one identity, one spelling."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshnode.base.errors import RemoteProtocolError
from meshnode.base.spiffe import (
    MAX_ID_BYTES,
    MAX_SERVER_NAME_CHARS,
    AgentId,
    AuthorityId,
    ServiceId,
    SpiffeId,
    parse_spiffe_id,
    trust_domain_of,
)

DOMAIN = "11111111-2222-3333-4444-555555555555.consul"
part = st.text(min_size=1, max_size=30).filter(
    lambda text: text.isprintable() and "/" not in text and text not in {".", ".."}
)
WORDS = st.sampled_from([DOMAIN, "ns", "dc", "svc", "agent", "client", "id", "a%20b", "%2e", "web"])


@pytest.mark.parametrize(
    ("uri", "identity"),
    [
        (f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/web", ServiceId(DOMAIN, "dc1", "web")),
        (f"spiffe://{DOMAIN}/ns/other/dc/dc1/svc/web", ServiceId(DOMAIN, "dc1", "web", "other")),
        (f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/a%20b@c", ServiceId(DOMAIN, "dc1", "a b@c")),
        (f"spiffe://{DOMAIN}/agent/client/dc/dc1/id/n1", AgentId(DOMAIN, "dc1", "n1")),
        (f"spiffe://{DOMAIN}", AuthorityId(DOMAIN)),
    ],
)
def test_an_id_is_read_and_written(uri: str, identity: SpiffeId) -> None:
    assert parse_spiffe_id(uri) == identity
    assert str(identity) == uri


@given(datacenter=part, service=part, namespace=part)
def test_every_service_comes_back_from_its_uri(datacenter: str, service: str, namespace: str) -> None:
    identity = ServiceId(DOMAIN, datacenter, service, namespace)
    assert parse_spiffe_id(str(identity)) == identity


@given(datacenter=part, service=part)
@example("dc1", "x" * 64)
@example("dc1", "a..b")
def test_a_name_to_ask_for_is_one_that_tls_takes_or_none(datacenter: str, service: str) -> None:
    name = ServiceId(DOMAIN, datacenter, service).server_name
    bio = ssl.MemoryBIO()
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(bio, bio, server_hostname=name or "unnamed.example")
    assert len(name) <= MAX_SERVER_NAME_CHARS


@pytest.mark.parametrize(
    ("service", "asked"),
    [
        ("Billing", f"billing.default.dc1.internal.{DOMAIN}"),
        ("a_b-1", f"a_b-1.default.dc1.internal.{DOMAIN}"),
        ("x" * 63, f"{'x' * 63}.default.dc1.internal.{DOMAIN}"),
        ("x" * 64, ""),
        ("a b", ""),
        ("\u00fc", ""),
    ],
)
def test_a_service_is_asked_for_by_consul_s_name_in_lower_case(service: str, asked: str) -> None:
    assert ServiceId(DOMAIN, "dc1", service).server_name == asked


def test_a_name_to_ask_for_is_as_long_as_dns_allows() -> None:
    rest = len(ServiceId(DOMAIN, "dc1", "x").server_name) - 1
    longest = ".".join("x" * 63 for _ in range(4))[: MAX_SERVER_NAME_CHARS - rest]
    assert len(ServiceId(DOMAIN, "dc1", longest).server_name) == MAX_SERVER_NAME_CHARS
    assert ServiceId(DOMAIN, "dc1", longest + "x").server_name == ""


@given(st.text() | st.lists(st.text(max_size=3) | WORDS, max_size=9).map("/".join).map("spiffe://".__add__))
@example(f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/%C3%A9%2F")
@example(f"spiffe://{DOMAIN}")
def test_any_text_ends_in_an_id_with_the_same_text_or_in_a_refusal(text: str) -> None:
    try:
        identity = parse_spiffe_id(text)
    except RemoteProtocolError:
        return
    assert str(identity) == text


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "Client ID must be a URI: it is empty"),
        ("web", "Client ID must be a URI: 'web' has no scheme"),
        ("spiffe://a b", "Client ID must be a URI: 'spiffe://a b' has spaces"),
        ("spiffe://é/ns/default/dc/d/svc/w", "not ASCII"),
        ("spiffe://a/ns/default/dc/d/svc/%zz", "two hexadecimal digits"),
        ("s" * (MAX_ID_BYTES + 1), f"more than {MAX_ID_BYTES} bytes"),
        ("http://a/ns/default/dc/d/svc/w", "Invalid client ID: SPIFFE ID must have 'spiffe' scheme"),
        ("SPIFFE://a", "SPIFFE ID must have 'spiffe' scheme"),
        ("spiffe:///ns/default/dc/d/svc/w", "Invalid client ID: the trust domain is empty"),
        ("spiffe://a/", "SPIFFE ID is not in the expected format"),
        ("spiffe://a/ns/default/dc/d/svc/w/x", "SPIFFE ID is not in the expected format"),
        ("spiffe://a/ns/default/dc/d/svc/", "Invalid client ID: '' can't stand"),
        ("spiffe://a/ns/default/dc/d/svc/..", "'..' can't stand"),
        ("spiffe://a/ns/default/dc/d/svc/%2e%2e", "'..' can't stand"),
        ("spiffe://a/ns/default/dc/d/svc/a%2Fb", "'a/b' can't stand"),
        ("spiffe://a/ns/default/dc/d/svc/%00", "can't stand"),
        ("spiffe://a/ns/default/dc/d/svc/%ff", "not UTF-8"),
        ("spiffe://a/ns/default/dc/d/svc/%77eb", "it is written spiffe://a/ns/default/dc/d/svc/web"),
        ("spiffe://a/ns/default/dc/d/svc/web?x=1", "it is written"),
        ("spiffe://a/ns/default/dc/d/svc/web#x", "it is written"),
        ("spiffe://A/ns/default/dc/d/svc/web", "'A' is not a trust domain"),
        ("spiffe://u@a/ns/default/dc/d/svc/web", "'u@a' is not a trust domain"),
        ("spiffe://a:80/ns/default/dc/d/svc/web", "'a:80' is not a trust domain"),
    ],
)
def test_anything_else_is_refused_with_the_sentence_of_authorize(uri: str, reason: str) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        parse_spiffe_id(uri)
    assert reason in str(refused.value)
    assert str(refused.value).startswith(("Client ID must be a URI: ", "Invalid client ID: "))


def test_the_longest_id_is_read_and_one_byte_more_is_not() -> None:
    start = f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/"
    longest = start + "w" * (MAX_ID_BYTES - len(start))
    assert str(parse_spiffe_id(longest)) == longest
    with pytest.raises(RemoteProtocolError, match="more than"):
        parse_spiffe_id(longest + "w")


def test_a_trust_domain_is_the_cluster_id_in_lower_case_under_consul() -> None:
    assert trust_domain_of("ABC") == "abc.consul"
