"""Intentions as values: precedence, order, and how they are shown."""

from __future__ import annotations

import pytest

from meshnode.intentions.model import HttpMatch, Intention, Permission, ServiceName, parse_service

#: source namespace, source, destination namespace, destination -> precedence. All there are.
MATRIX = [
    ("default", "web", "default", "db", 9),
    ("default", "*", "default", "db", 8),
    ("*", "*", "default", "db", 7),
    ("default", "web", "default", "*", 6),
    ("default", "*", "default", "*", 5),
    ("*", "*", "default", "*", 4),
    ("default", "web", "*", "*", 3),
    ("default", "*", "*", "*", 2),
    ("*", "*", "*", "*", 1),
]


@pytest.mark.parametrize(("source_ns", "source", "destination_ns", "destination", "precedence"), MATRIX)
def test_the_precedence_is_consuls(
    source_ns: str, source: str, destination_ns: str, destination: str, precedence: int
) -> None:
    intention = Intention("id", source, destination, "allow", source_ns, destination_ns)
    assert intention.precedence == precedence


def test_of_two_about_the_same_the_one_that_denies_is_looked_at_first() -> None:
    allow, deny = Intention("1", "web", "db", "allow"), Intention("2", "Web", "DB", "deny")
    assert allow.pair == deny.pair
    assert min(allow, deny, key=lambda row: row.order) is deny


def test_an_intention_is_shown_as_consul_shows_it() -> None:
    plain, other = Intention("i1", "web", "db", "deny"), Intention("i2", "web", "*", "allow", source_ns="ns1")
    assert plain.title == "web => db (deny)"
    assert str(plain) == "DENY default/web => default/db (ID: i1, Precedence: 9)"
    assert other.title == "ns1/web => * (allow)"
    assert str(other) == "ALLOW ns1/web => default/* (ID: i2, Precedence: 6)"
    permission = Permission("allow", HttpMatch(methods=("GET",)))
    one = Intention("i3", "web", "db", permissions=(permission,))
    two = Intention("i3", "web", "db", permissions=(permission,) * 2)
    assert (one.title, two.title) == ("web => db (1 permission)", "web => db (2 permissions)")
    assert str(two) == "2 permissions default/web => default/db (ID: i3, Precedence: 9)"


@pytest.mark.parametrize(
    ("text", "service"),
    [("web", ServiceName("web")), ("a/web", ServiceName("web", "a")), ("*/*", ServiceName("*", "*"))],
)
def test_a_service_is_named_alone_or_with_its_namespace(text: str, service: ServiceName) -> None:
    assert parse_service(text) == service
    assert str(service) == text


def test_the_default_namespace_is_not_shown() -> None:
    assert str(parse_service("default/web")) == "web"
