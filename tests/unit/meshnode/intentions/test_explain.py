"""A decision in words."""

from __future__ import annotations

import pytest

from meshnode.intentions.decide import DefaultDecision, decide
from meshnode.intentions.explain import condition, explain
from meshnode.intentions.model import HeaderMatch, HttpMatch, Intention, Permission, ServiceName
from meshnode.intentions.request import HttpRequest

WEB, DB = ServiceName("web"), ServiceName("db")
DEFAULT = DefaultDecision(True, "ACLs disabled, access is allowed by default")
LAST = "Where none fits: allowed (ACLs disabled, access is allowed by default)"


def told(intentions: list[Intention], request: HttpRequest | None = None) -> list[str]:
    return explain(decide(intentions, WEB, DB, DEFAULT, request), WEB, DB, DEFAULT, request)


def test_the_winner_is_marked_and_the_others_are_below_it() -> None:
    intentions = [Intention("i2", "*", "db", "allow"), Intention("i1", "web", "db", "deny")]
    assert told(intentions) == [
        "web => db: denied",
        "Reason: Matched intention: DENY default/web => default/db (ID: i1, Precedence: 9)",
        "",
        "Intentions that fit, in the order they are looked at:",
        "-> 9  web => db (deny)  i1  decides",
        "   8  * => db (allow)  i2  not reached",
        LAST,
    ]


def test_without_an_intention_the_default_is_the_reason() -> None:
    assert told([]) == [
        "web => db: allowed",
        "Reason: ACLs disabled, access is allowed by default",
        "",
        "No intention fits.",
        LAST,
    ]


def test_the_permission_that_decides_is_marked() -> None:
    permissions = (
        Permission("deny", HttpMatch(path_prefix="/admin")),
        Permission("allow", HttpMatch(methods=("GET", "HEAD"))),
    )
    lines = told([Intention("i", "web", "db", permissions=permissions)], HttpRequest("get", "/x"))
    assert lines[0] == "web => db, GET /x: allowed"
    assert lines[4:] == [
        "-> 9  web => db (2 permissions)  i  decides",
        "      0. deny any method /admin*",
        "      1. allow GET|HEAD any path  <- decides",
        LAST,
    ]


def test_an_audit_is_told_first() -> None:
    lines = told([Intention("i", "web", "db", "deny", audit=True)])
    assert lines[0] == "web => db: audited: denied, but let through"
    assert lines[4] == "-> 9  web => db (deny)  i  decides, audit only"


def test_no_line_moves_the_cursor() -> None:
    lines = told([], HttpRequest("GET\x1b[2J", "/a\n\x1b]0;x\x07\u202e"))
    assert lines
    assert [line for line in lines if not line.isprintable()] == []


@pytest.mark.parametrize(
    ("http", "text"),
    [
        (HttpMatch("/a"), "any method /a"),
        (HttpMatch("", "/a"), "any method /a*"),
        (HttpMatch("", "", "/a.*"), "any method path ~ /a.*"),
        (HttpMatch(header=(HeaderMatch("x", present=True),)), "any method any path, header x is there"),
        (
            HttpMatch(header=(HeaderMatch("x", present=True, invert=True),)),
            "any method any path, header x not: is there",
        ),
        (HttpMatch(header=(HeaderMatch("x", exact="1"),)), 'any method any path, header x is "1"'),
        (HttpMatch(header=(HeaderMatch("x", prefix="1"),)), 'any method any path, header x begins with "1"'),
        (HttpMatch(header=(HeaderMatch("x", suffix="1"),)), 'any method any path, header x ends in "1"'),
        (HttpMatch(header=(HeaderMatch("x", regex="1"),)), 'any method any path, header x ~ "1"'),
    ],
)
def test_each_condition_has_words(http: HttpMatch, text: str) -> None:
    assert condition(Permission("allow", http)) == text
