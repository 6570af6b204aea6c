"""Intentions with permissions, on the request as it goes on."""

from __future__ import annotations

import pytest

from meshnode.intentions.decide import DefaultDecision
from meshnode.intentions.model import HeaderMatch, HttpMatch, Intention, Permission, ServiceName
from meshnode.l7.model import Fields, RefusalError, RequestHead
from meshnode.l7.rules import IntentionRules, admit
from meshnode.proxy.decision_cache import Decision

WEB, API = ServiceName("web"), ServiceName("api")


def decision(*permissions: Permission, audit: bool = False, default: bool = False) -> Decision:
    intention = Intention("id-1", "web", "api", permissions=permissions, audit=audit)
    rules = IntentionRules(intention, WEB, API, DefaultDecision(default, "the default"))
    return Decision(False, "a connection alone is denied", requests=rules)


def head(path: str, method: str = "GET", fields: Fields = ()) -> RequestHead:
    return RequestHead(method, "https", "api", path, fields)


def may(rules: Decision, *args: object, **kwargs: object) -> bool:
    return admit(rules, head(*args, **kwargs))[1].allowed  # type: ignore[arg-type]


PUBLIC = decision(
    Permission("deny", HttpMatch(path_prefix="/v1/secret")),
    Permission("allow", HttpMatch(path_prefix="/v1/", methods=("GET", "HEAD"))),
    Permission("allow", HttpMatch(path_exact="/health")),
    Permission("allow", HttpMatch(path_regex="/u/[0-9]+", header=(HeaderMatch("x-role", exact="admin"),))),
)


@pytest.mark.parametrize(
    ("path", "method", "fields", "allowed"),
    [
        ("/v1/a", "GET", (), True),
        ("/v1/a?x=/../secret", "GET", (), True),
        ("/v1/a", "POST", (), False),
        ("/v1/secret", "GET", (), False),
        ("/v1/x/../secret", "GET", (), False),
        ("/v1//secret", "GET", (), False),
        ("/v1/%73ecret", "GET", (), False),
        ("/v2/../v1/a", "GET", (), True),
        ("/health", "PUT", (), True),
        ("/healthy", "GET", (), False),
        ("/u/1", "GET", ((b"x-role", b"admin"),), True),
        ("/u/1", "GET", ((b"x-role", b"admin"), (b"x-role", b"guest")), False),
        ("/u/1", "GET", ((b"x-role", b"\xff"),), False),
        ("/u/1", "GET", (), False),
        ("*", "OPTIONS", (), None),
        ("/v1/..%2fsecret", "GET", (), None),
        ("/v1/a%00", "GET", (), None),
        ("/v1/a\\..\\b", "GET", (), None),
    ],
)
def test_each_request_is_decided_by_the_first_permission_that_fits(
    path: str, method: str, fields: Fields, allowed: bool | None
) -> None:
    if allowed is None:
        with pytest.raises(RefusalError) as caught:
            admit(PUBLIC, head(path, method, fields))
        assert caught.value.status == 400
    else:
        assert may(PUBLIC, path, method, fields) is allowed


def test_what_is_decided_about_is_what_goes_on() -> None:
    passed, found = admit(PUBLIC, head("/x/..//v1/./%61?q=%2f"))
    assert passed.path == "/v1/a?q=%2f"
    assert found.rule == "id-1"
    assert "Permission 1 (allow) is about GET /v1/a" in found.because


def test_where_no_permission_fits_the_default_decides() -> None:
    only = Permission("deny", HttpMatch(path_exact="/a"))
    assert may(decision(only, default=True), "/b")
    assert not may(decision(only, default=False), "/b")


def test_an_intention_that_only_audits_lets_through_and_says_so() -> None:
    found = admit(decision(Permission("deny", HttpMatch(path_exact="/a")), audit=True), head("/a"))[1]
    assert found.allowed
    assert found.audited


def test_a_rule_about_the_authority_sees_it() -> None:
    rules = decision(Permission("allow", HttpMatch(header=(HeaderMatch("host", exact="api"),))))
    assert may(rules, "/")


def test_without_rules_about_requests_nothing_is_changed() -> None:
    plain = Decision(True, "yes", "id-2")
    odd = head("/a/../%2f")
    assert admit(plain, odd) == (odd, plain)
