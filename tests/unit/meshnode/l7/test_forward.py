"""What a request carries further, and what a client can't make it carry."""

from __future__ import annotations

import uuid

import pytest

from meshnode.l7.forward import Origin, answer, client_certificate, forwarded
from meshnode.l7.model import Fields, RefusalError, RequestHead
from meshnode.l7.rules import DENIED

CLAIMS: Fields = (
    (b"x-forwarded-for", b"6.6.6.6"),
    (b"x-forwarded-proto", b"gopher"),
    (b"x-request-id", b"mine"),
    (b"x-forwarded-client-cert", b"URI=spiffe://x"),
    (b"accept", b"*/*"),
)


def carried(origin: Origin, fields: Fields = CLAIMS) -> dict[bytes, bytes]:
    head = forwarded(RequestHead("GET", "https", "a", "/", fields), origin, lambda size: b"\xff" * size)
    assert len({name for name, _ in head.fields}) == len(head.fields)
    return dict(head.fields)


def test_a_clients_claims_are_replaced() -> None:
    found = carried(Origin("10.0.0.1"))
    assert found == {
        b"accept": b"*/*",
        b"x-forwarded-proto": b"https",
        b"x-forwarded-for": b"10.0.0.1",
        b"x-request-id": b"ffffffff-ffff-4fff-bfff-ffffffffffff",
    }
    assert uuid.UUID(found[b"x-request-id"].decode()).version == 4


def test_what_envoys_obey_goes_on_from_proxies_only() -> None:
    asked: Fields = ((b"x-envoy-retry-on", b"5xx"), (b"x-envoy-internal", b"true"))
    assert b"x-envoy-retry-on" not in carried(Origin("10.0.0.1"), asked)
    assert b"x-envoy-internal" not in carried(Origin("10.0.0.1"), asked)
    assert carried(Origin("10.0.0.1", trust=True), asked)[b"x-envoy-retry-on"] == b"5xx"


def test_a_proxys_word_counts_but_not_on_who_the_client_is_in_the_mesh() -> None:
    found = carried(Origin("10.0.0.1", "By=b;Hash=h;URI=u", trust=True))
    assert found[b"x-forwarded-for"] == b"6.6.6.6, 10.0.0.1"
    assert found[b"x-request-id"] == b"mine"
    assert found[b"x-forwarded-proto"] == b"https", "gopher is no scheme"
    assert found[b"x-forwarded-client-cert"] == b"By=b;Hash=h;URI=u"


def test_a_proxy_that_says_nothing_is_completed() -> None:
    found = carried(Origin("10.0.0.1", trust=True), ())
    assert found[b"x-forwarded-for"] == b"10.0.0.1"
    assert found[b"x-forwarded-proto"] == b"https"


def test_a_certificate_is_told_as_envoy_tells_it() -> None:
    told = client_certificate(by="spiffe://a", digest="00ff", uri="spiffe://b")
    assert told == "By=spiffe://a;Hash=00ff;URI=spiffe://b"


def test_an_answer_of_ours_is_one_sentence_and_head_gets_its_length_only() -> None:
    head, body = answer(RefusalError(502, "the application can't be reached", "10.0.0.9:80"))
    assert (head.status, body) == (502, b"the application can't be reached.\n")
    assert (b"content-length", b"%d" % len(body)) in head.fields
    assert answer(RefusalError(502, "x"), "HEAD")[1] == b""


def test_a_denial_is_envoys_to_the_byte() -> None:
    assert answer(RefusalError(403, DENIED))[1] == b"RBAC: access denied"


@pytest.mark.parametrize(("given", "told"), [(404, 404), (0, 400), (999, 400)])
def test_a_status_that_does_not_exist_is_400(given: int, told: int) -> None:
    assert answer(RefusalError(given, "x"))[0].status == told
