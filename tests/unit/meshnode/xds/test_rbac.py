from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.base.spiffe import ServiceId
from meshnode.intentions.decide import DefaultDecision, decide
from meshnode.intentions.model import HeaderMatch, HttpMatch, Intention, Permission, ServiceName
from meshnode.intentions.request import HttpRequest
from meshnode.xds.rbac import compile_rules
from tests.support.rbac import Call, allows

DOMAIN = "11111111-2222-3333-4444-555555555555.consul"
DB = ServiceName("db")
ALLOWED, DENIED = DefaultDecision(True, "by default"), DefaultDecision(False, "by default")


def uri(name: str, datacenter: str = "dc1", domain: str = DOMAIN) -> str:
    return str(ServiceId(domain, datacenter, name))


def rules(*intentions: Intention, default: DefaultDecision = DENIED, http: bool = False) -> Any:
    return compile_rules(intentions, DB, default, trust_domain=DOMAIN, http=http).enforced


names = st.sampled_from(["web", "Web", "api", "db", "a.b", "ünder", "x y", "*"])
paths = st.sampled_from(["/", "/a", "/a/b", "/admin", "/admin/x"])
header_matches = st.builds(
    HeaderMatch, st.just("X-Key"), exact=st.sampled_from(["a", "b"]), invert=st.booleans()
) | st.builds(HeaderMatch, st.just("x-key"), present=st.just(True), invert=st.booleans())
matches = (
    st.builds(
        HttpMatch,
        path_exact=st.just("") | paths,
        header=st.lists(header_matches, max_size=2).map(tuple),
        methods=st.sampled_from([(), ("GET",), ("GET", "put")]),
    )
    | st.builds(HttpMatch, path_prefix=paths)
    | st.builds(HttpMatch, path_regex=st.just("/a(/.*)?"))
)
permissions = st.lists(
    st.builds(Permission, st.sampled_from(["allow", "deny"]), matches), min_size=1, max_size=3
).map(tuple)
ends = {"source_name": names, "destination_name": st.sampled_from(["db", "DB", "*", "other"])}
plain = st.builds(
    Intention, id=st.just("x"), action=st.sampled_from(["allow", "deny"]), audit=st.booleans(), **ends
)
detailed = st.builds(Intention, id=st.just("x"), permissions=permissions, audit=st.booleans(), **ends)
tables = st.lists(plain | detailed, max_size=5).map(
    lambda found: [replace(each, id=f"id-{number}") for number, each in enumerate(found)]
)


@settings(max_examples=400, deadline=None)
@given(tables, st.sampled_from(["web", "WEB", "api", "ÜNDER", "x y", "axb"]), st.booleans())
def test_connections_are_decided_as_the_agent_decides_them(
    table: list[Intention], source: str, default: bool
) -> None:
    fallback = DefaultDecision(default, "")
    table = list({each.pair: each for each in table}.values())
    compiled = compile_rules(table, DB, fallback, trust_domain=DOMAIN, http=False)
    call = Call(uri(source))
    assert allows(compiled.enforced, call) == decide(table, ServiceName(source), DB, fallback).allowed
    strict = [replace(each, audit=False) for each in table]
    if compiled.shadow is not None:
        assert allows(compiled.shadow, call) == decide(strict, ServiceName(source), DB, fallback).allowed
    else:
        assert not any(each.audit and each.destination_name.lower() in ("db", "*") for each in table)


@settings(max_examples=400, deadline=None)
@given(
    tables,
    st.sampled_from(["web", "api"]),
    st.booleans(),
    st.sampled_from(["GET", "PUT", "DELETE"]),
    paths,
    st.sampled_from([{}, {"x-key": "a"}, {"x-key": "c"}]),
)
def test_requests_are_decided_as_the_agent_decides_them(
    table: list[Intention], source: str, default: bool, method: str, path: str, headers: dict[str, str]
) -> None:
    fallback = DefaultDecision(default, "")
    table = list({each.pair: each for each in table}.values())
    compiled = compile_rules(table, DB, fallback, trust_domain=DOMAIN, http=True)
    request = HttpRequest(method, path, tuple(headers.items()))
    expected = decide(table, ServiceName(source), DB, fallback, request).allowed
    assert allows(compiled.enforced, Call(uri(source), method, path, headers)) == expected


@settings(max_examples=300, deadline=None)
@given(permissions, st.booleans(), st.text("/a.%2fF;\\ b?", max_size=8))
def test_a_path_that_servers_read_in_two_ways_is_never_allowed_where_the_agent_denies_it(
    found: tuple[Permission, ...], default: bool, path: str
) -> None:
    table = [Intention("x", "web", "db", permissions=found)]
    fallback = DefaultDecision(default, "")
    compiled = compile_rules(table, DB, fallback, trust_domain=DOMAIN, http=True)
    if allows(compiled.enforced, Call(uri("web"), "GET", f"/{path}")):
        request = HttpRequest("GET", f"/{path}")
        assert decide(table, ServiceName("web"), DB, fallback, request).allowed or not any(
            each.http.path_exact or each.http.path_prefix or each.http.path_regex for each in found
        )


@pytest.mark.parametrize("default", [ALLOWED, DENIED])
@pytest.mark.parametrize(
    "peer",
    [
        uri("web", domain="other.consul"),
        uri("web", domain="11111111-2222-3333-4444-555555555555xconsul"),
        f"spiffe://{DOMAIN}/agent/client/dc/dc1/id/web",
        f"spiffe://{DOMAIN}",
        f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/web/more",
        "",
    ],
)
def test_who_is_no_service_of_the_trust_domain_is_never_allowed(peer: str, default: DefaultDecision) -> None:
    table = [Intention("a", "*", "db", "allow", source_ns="*"), Intention("b", "web", "db", "allow")]
    assert not allows(rules(*table, default=default), Call(peer))


def test_the_exact_intention_comes_before_the_one_about_everybody() -> None:
    found = rules(Intention("a", "web", "db", "deny"), Intention("b", "*", "*", "allow"))
    assert not allows(found, Call(uri("web")))
    assert allows(found, Call(uri("api", "dc2")))


def test_a_dot_in_a_name_is_a_dot() -> None:
    found = rules(Intention("a", "a.b", "db", "allow"))
    assert allows(found, Call(uri("a.b")))
    assert not allows(found, Call(uri("axb")))


def test_permissions_deny_connections_where_requests_are_not_looked_at() -> None:
    table = Intention("a", "web", "db", permissions=(Permission("allow", HttpMatch()),))
    assert not allows(rules(table, default=ALLOWED), Call(uri("web")))
    assert allows(rules(table, http=True), Call(uri("web"), "GET", "/"))


def test_a_repeated_header_that_a_permission_looks_at_is_denied() -> None:
    match = HttpMatch(header=(HeaderMatch("x-role", exact="admin"),))
    table = Intention("a", "web", "db", permissions=(Permission("deny", match),))
    found = rules(table, default=ALLOWED, http=True)
    assert allows(found, Call(uri("web"), "GET", "/", {"x-role": "user"}))
    assert not allows(found, Call(uri("web"), "GET", "/", {"x-role": "admin"}))
    assert not allows(found, Call(uri("web"), "GET", "/", {"x-role": "user,admin"}))
