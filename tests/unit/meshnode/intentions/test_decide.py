"""The decision: the whole matrix of precedence, a naive reference, permissions, path tricks, audit, and bad data."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.intentions.decide import DefaultDecision, decide, default_decision
from meshnode.intentions.model import HeaderMatch, HttpMatch, Intention, Permission, ServiceName
from meshnode.intentions.request import HttpRequest

WEB, DB = ServiceName("web"), ServiceName("db")
ALLOWED, DENIED = DefaultDecision(True, "by default yes"), DefaultDecision(False, "by default no")
#: Every way to name web, and every way to name db, the most exact first.
SOURCES = [("default", "web"), ("default", "*"), ("*", "*")]
DESTINATIONS = [("default", "db"), ("default", "*"), ("*", "*")]
#: Every intention about web => db, in the order they are looked at.
FITTING = list(itertools.product(DESTINATIONS, SOURCES))


def made(source: tuple[str, str], destination: tuple[str, str], action: str, number: int = 0) -> Intention:
    return Intention(f"i{number}", source[1], destination[1], action, source[0], destination[0])


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(("strong", "weak"), list(itertools.combinations(range(9), 2)))
def test_of_two_that_fit_the_one_with_the_higher_precedence_decides(
    strong: int, weak: int, order: int
) -> None:
    for action, other in (("allow", "deny"), ("deny", "allow")):
        first = made(FITTING[strong][1], FITTING[strong][0], action, 1)
        second = made(FITTING[weak][1], FITTING[weak][0], other, 2)
        decision = decide([first, second][::order], WEB, DB, DefaultDecision(action == "deny", ""))
        assert decision.allowed is (action == "allow")
        assert (decision.intention, decision.candidates) == (first, (first, second))
        assert decision.because == f"Matched intention: {first}"


@pytest.mark.parametrize("default", [ALLOWED, DENIED])
def test_where_none_fits_the_default_decides_and_says_where_it_comes_from(default: DefaultDecision) -> None:
    word = "deny" if default.allowed else "allow"
    others = [
        Intention("1", "api", "db", word),
        Intention("2", "web", "api", word),
        Intention("3", "db", "web", word),
        Intention("4", "web", "db", word, source_ns="other"),
        Intention("5", "web", "db", word, destination_ns="other"),
    ]
    decision = decide(others, WEB, DB, default)
    assert (decision.allowed, decision.because) == (default.allowed, default.because)
    assert (decision.intention, decision.candidates, decision.audited) == (None, (), False)


def test_case_does_not_count_in_names() -> None:
    assert not decide([Intention("1", "Web", "DB", "deny")], ServiceName("wEB"), DB, ALLOWED).allowed


def test_of_two_about_the_same_the_one_that_denies_decides() -> None:
    both = [Intention("1", "web", "db", "allow"), Intention("2", "WEB", "db", "deny")]
    assert not decide(both, WEB, DB, ALLOWED).allowed
    assert not decide(both[::-1], WEB, DB, ALLOWED).allowed


_names = st.sampled_from(["web", "db", "api", "*"])
_intentions = st.builds(
    Intention,
    st.uuids().map(str),
    _names,
    _names,
    st.sampled_from(["allow", "deny"]),
    st.sampled_from(["default", "other", "*"]),
    st.sampled_from(["default", "other", "*"]),
)


def reference(
    intentions: list[Intention], source: ServiceName, destination: ServiceName, default: bool
) -> bool:
    """As the documentation puts it: exact before wildcard, destination before source, else the default."""
    for destination_ns, destination_name in (
        (destination.namespace, destination.name),
        (destination.namespace, "*"),
        ("*", "*"),
    ):
        for source_ns, source_name in ((source.namespace, source.name), (source.namespace, "*"), ("*", "*")):
            wanted = (source_ns, source_name, destination_ns, destination_name)
            for intention in intentions:
                names = (
                    intention.source_ns,
                    intention.source_name,
                    intention.destination_ns,
                    intention.destination_name,
                )
                if names == wanted:
                    return intention.action == "allow"
    return default


def _storable(intention: Intention) -> bool:
    ends = (
        (intention.source_ns, intention.source_name),
        (intention.destination_ns, intention.destination_name),
    )
    return all(namespace != "*" or name == "*" for namespace, name in ends)


@given(
    st.lists(_intentions.filter(_storable), max_size=8, unique_by=lambda row: row.pair),
    st.sampled_from(["web", "db", "api", "new"]),
    st.sampled_from(["web", "db", "api", "new"]),
    st.booleans(),
)
def test_it_decides_as_the_naive_reference_does(
    intentions: list[Intention], source: str, destination: str, default: bool
) -> None:
    ends = ServiceName(source), ServiceName(destination)
    decision = decide(intentions, *ends, DefaultDecision(default, ""))
    assert decision.allowed is reference(intentions, *ends, default)
    assert [row.precedence for row in decision.candidates] == sorted(
        (row.precedence for row in decision.candidates), reverse=True
    )


# Permissions


def http(action: str, **conditions: object) -> Permission:
    return Permission(action, HttpMatch(**conditions))  # type: ignore[arg-type]


def layered(*permissions: Permission, **fields: object) -> Intention:
    return Intention("i", "web", "db", permissions=permissions, **fields)  # type: ignore[arg-type]


ONLY_PUBLIC = layered(http("allow", path_prefix="/public/"), http("deny", path_prefix="/"))
NOT_ADMIN = layered(
    http("deny", path_exact="/admin"), http("deny", path_prefix="/admin/"), http("allow", path_prefix="/")
)


def test_the_first_permission_that_fits_decides() -> None:
    intention = layered(
        http("deny", path_prefix="/v1/kv/", methods=("DELETE",)),
        http("allow", path_prefix="/v1/kv/"),
        http("deny", path_prefix="/v1/kv/secret"),
    )
    results = [
        decide([intention], WEB, DB, DENIED, HttpRequest(method, path))
        for method, path in (("DELETE", "/v1/kv/a"), ("GET", "/v1/kv/secret"), ("GET", "/v2"))
    ]
    assert [(result.allowed, result.permission) for result in results] == [
        (False, 0),
        (True, 1),
        (False, None),
    ]
    assert results[0].because.endswith("Permission 0 (deny) is about DELETE /v1/kv/a")
    assert results[2].because.endswith(
        "No permission is about GET /v2, so the default decides: by default no"
    )


@pytest.mark.parametrize("default", [ALLOWED, DENIED])
def test_a_request_that_no_permission_is_about_gets_the_default_and_not_the_next_intention(
    default: DefaultDecision,
) -> None:
    intentions = [
        layered(http("deny", path_exact="/x")),
        Intention("2", "*", "*", "deny" if default.allowed else "allow"),
    ]
    decision = decide(intentions, WEB, DB, default, HttpRequest("GET", "/y"))
    assert decision.allowed is default.allowed
    assert len(decision.candidates) == 2


def test_a_connection_alone_is_denied_where_permissions_decide() -> None:
    decision = decide([layered(http("allow", path_prefix="/"))], WEB, DB, ALLOWED)
    assert not decision.allowed
    assert decision.because.endswith("It is about HTTP requests, and a connection alone is denied")


def test_a_request_over_an_intention_without_permissions_is_as_its_connection() -> None:
    for action in ("allow", "deny"):
        decision = decide([Intention("1", "web", "db", action)], WEB, DB, DENIED, HttpRequest("GET", "/%zz"))
        assert decision.allowed is (action == "allow")


@pytest.mark.parametrize(
    "path",
    [
        "/admin", "/admin/", "/admin/x", "//admin", "///admin//x", "/./admin", "/public/../admin", "/public/./../admin",
        "/public/../../admin", "/public/..//admin",
        "/public/%2e%2e/admin", "/public/.%2e/admin", "/public/%2E%2E/admin",
        "/public/..%2fadmin", "/public%2f..%2fadmin", "/public/..%5cadmin", "/public\\..\\admin", "/public/..\\admin",
        "/public/%252e%252e/admin", "/public/%252e%252e%252fadmin", "/public/%25252e%25252e/admin", "/%61dmin",
        "/%61%64%6d%69%6e", "/%2561dmin", "/public/..;/admin", "/public/..;x=1/admin", "/public/%2e%2e;/admin",
        "/admin;x", "/admin;/x", "/admin?x", "/admin#x", "/admin%3fx",
        "/public/%c0%ae%c0%ae/admin", "/public/%uff0e/admin", "/admin%23x", "/admin%253fx",
        "/public/..%00/admin", "/admin%00", "/public/%0d%0a/admin", "/public/\n/admin", "admin", "*", "",
        "http://db/admin", "\\admin", "/\\admin", "/%5cadmin", "/%2fadmin", "/%2f%2fadmin", "/public/%", "/public/%zz",
        "/admin%3bx", "/admin%2f", "/admin%252f",
    ],
)  # fmt: skip
def test_no_path_trick_gets_past_a_permission(path: str) -> None:
    for default in (ALLOWED, DENIED):
        assert not decide([ONLY_PUBLIC], WEB, DB, default, HttpRequest("GET", path)).allowed
        assert not decide([NOT_ADMIN], WEB, DB, default, HttpRequest("GET", path)).allowed


@pytest.mark.parametrize(
    "path",
    [
        "/public/",
        "/public/a",
        "//public//a",
        "/public/%61",
        "/public/a%2fb",
        "/x/../public/a",
        "/public/é",
        "/public/a;b",
    ],
)
def test_an_honest_path_is_let_through(path: str) -> None:
    assert decide([ONLY_PUBLIC], WEB, DB, DENIED, HttpRequest("GET", path)).allowed


@given(
    st.lists(
        st.sampled_from(["/", ".", "..", "public", "admin", "%2e", "%2f", "%5c", "\\", ";", "%25", "a"])
    ).map("".join)
)
def test_what_is_let_through_below_public_ends_below_public_however_it_is_resolved(tail: str) -> None:
    path = "/public/" + tail
    if decide([ONLY_PUBLIC], WEB, DB, DENIED, HttpRequest("GET", path)).allowed:
        text = path
        for _ in range(5):  # a server that undoes every escape, and takes a backslash for a slash
            text = text.replace("%2e", ".").replace("%2f", "/").replace("%5c", "\\").replace("%25", "%")
        kept: list[str] = []
        for segment in text.replace("\\", "/").split("/"):
            name = segment.split(";")[0]
            if name == "..":
                del kept[-1:]
            elif name not in {"", "."}:
                kept.append(name)
        assert kept[:1] == ["public"]


def test_a_header_that_is_sent_twice_does_not_get_past_a_permission() -> None:
    intention = layered(
        http("deny", header=(HeaderMatch("X-Role", exact="guest"),)),
        http("allow", header=(HeaderMatch("x-role", present=True),)),
    )
    for values in (("guest",), ("guest", "admin"), ("admin", "guest")):
        headers = tuple(("X-ROLE", value) for value in values)
        assert not decide([intention], WEB, DB, ALLOWED, HttpRequest("GET", "/", headers)).allowed
    assert decide([intention], WEB, DB, DENIED, HttpRequest("GET", "/", (("x-Role", "admin"),))).allowed


def test_the_work_of_one_decision_is_bounded_over_all_permissions_and_what_is_left_undone_is_denied() -> None:
    slow = HttpMatch(path_regex="/(a|b|ab)*c")
    intention = layered(*[Permission("deny", slow)] * 20, http("allow", path_prefix="/"))
    assert decide([intention], WEB, DB, ALLOWED, HttpRequest("GET", "/" + "ab" * 10)).allowed
    decision = decide([intention], WEB, DB, ALLOWED, HttpRequest("GET", "/" + "ab" * 2000))
    assert not decision.allowed
    assert "can't be tried: the regular expression takes too long" in decision.because


# Audit


@pytest.mark.parametrize(
    ("intention", "request_", "audited"),
    [
        (Intention("i", "web", "db", "deny"), None, True),
        (Intention("i", "web", "db", "allow"), None, False),
        (layered(http("deny", path_prefix="/")), HttpRequest("GET", "/"), True),
        (layered(http("deny", path_prefix="/")), None, True),
        (layered(http("deny", path_prefix="/")), HttpRequest("GET", "/%zz"), True),
        (layered(http("allow", path_exact="/a")), HttpRequest("GET", "/b"), True),
        (layered(http("allow", path_exact="/a")), HttpRequest("GET", "/a"), False),
    ],
)
def test_an_audited_denial_is_let_through_and_says_so(
    intention: Intention, request_: HttpRequest | None, audited: bool
) -> None:
    real = decide([intention], WEB, DB, DENIED, request_)
    trial = decide([replace(intention, audit=True)], WEB, DB, DENIED, request_)
    assert real.allowed is not audited
    assert (trial.allowed, trial.audited, trial.permission) == (True, audited, real.permission)
    assert trial.because == real.because + (
        ". Let through all the same: the intention only audits" if audited else ""
    )


def test_an_audited_denial_does_not_hide_what_is_below_it() -> None:
    intentions = [Intention("1", "web", "db", "deny", audit=True), Intention("2", "*", "db", "deny")]
    assert decide(intentions, WEB, DB, DENIED).audited
    assert not decide(intentions, ServiceName("api"), DB, ALLOWED).allowed


# What can't be


@pytest.mark.parametrize("audit", [False, True])
@pytest.mark.parametrize(
    "broken",
    [
        Intention("i", "web", "db", ""),
        Intention("i", "web", "db", "Allow"),
        Intention("i", "web", "db", "allow", source_type="other"),
        layered(http("allow", path_prefix="/"), action="allow"),
        layered(http("perhaps", path_prefix="/")),
        layered(http("allow", path_prefix="/"), http("", path_prefix="/")),
    ],
)
def test_an_intention_that_says_nothing_sound_denies_whatever_the_default(
    broken: Intention, audit: bool
) -> None:
    decision = decide([replace(broken, audit=audit)], WEB, DB, ALLOWED, HttpRequest("GET", "/"))
    assert not decision.allowed
    assert decision.because.startswith("The intention says neither allow nor deny: ")


@pytest.mark.parametrize(
    "permission",
    [
        http("deny", path_regex="("),
        http("deny", path_regex="a)|(b"),
        http("deny", header=(HeaderMatch("a"),)),
    ],
)
def test_a_condition_that_cannot_be_tried_denies(permission: Permission) -> None:
    request = HttpRequest("GET", "/", (("a", "1"),))
    decision = decide([layered(permission, http("allow", path_prefix="/"))], WEB, DB, ALLOWED, request)
    assert (decision.allowed, decision.permission) == (False, 0)
    assert "Permission 0 can't be tried" in decision.because


@pytest.mark.parametrize(
    "ends",
    [
        (ServiceName(""), DB),
        (WEB, ServiceName("")),
        (ServiceName("web", ""), DB),
        (WEB, ServiceName("db", "")),
    ],
)
def test_a_service_without_a_name_is_denied(ends: tuple[ServiceName, ServiceName]) -> None:
    decision = decide([Intention("1", "*", "*", "allow", "*", "*")], *ends, ALLOWED)
    assert not decision.allowed
    assert decision.because.endswith("has no name")


def test_a_service_called_by_a_wildcard_is_only_what_a_wildcard_is_about() -> None:
    star = ServiceName("*")
    assert decide([Intention("1", "web", "db", "allow")], star, DB, DENIED).candidates == ()
    assert decide([Intention("1", "*", "db", "allow")], star, DB, DENIED).allowed


@pytest.mark.parametrize(
    ("policy", "enabled", "allow", "expected"),
    [
        ("", False, True, (True, "ACLs disabled, access is allowed by default")),
        ("", False, False, (True, "ACLs disabled, access is allowed by default")),
        ("", True, True, (True, "Default behavior configured by ACLs")),
        ("", True, False, (False, "Default behavior configured by ACLs")),
        ("allow", True, False, (True, "Default behavior configured by default_intention_policy")),
        ("deny", False, True, (False, "Default behavior configured by default_intention_policy")),
        ("Allow", False, True, (False, "Default behavior configured by default_intention_policy")),
    ],
)
def test_the_default_has_one_origin(
    policy: str, enabled: bool, allow: bool, expected: tuple[bool, str]
) -> None:
    found = default_decision(policy, acls_enabled=enabled, acls_allow=allow)
    assert (found.allowed, found.because) == expected
