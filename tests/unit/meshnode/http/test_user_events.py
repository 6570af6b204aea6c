"""The buffer of events, its index, and the filters."""

from __future__ import annotations

from uuid import UUID

import pytest

from meshnode.base.errors import MeshError
from meshnode.control.user_event import UserEvent
from meshnode.http.user_events import (
    MAX_EVENTS,
    EventBuffer,
    check_filters,
    concerns,
    event_index,
    parse_filter,
)


def event(
    name: str = "deploy", event_id: str = "00000000-0000-0001-0000-000000000003", **filters: str
) -> UserEvent:
    return UserEvent(event_id, name, b"", **filters)


def test_the_buffer_keeps_the_last_events_in_order() -> None:
    buffer = EventBuffer()
    for number in range(MAX_EVENTS + 1):
        buffer.append(event(name=f"e{number % 2}", event_id=str(UUID(int=number))))
    assert buffer.generation == MAX_EVENTS + 1
    assert len(buffer.named()) == MAX_EVENTS
    assert buffer.named()[0].event_id == str(UUID(int=1))
    assert {e.name for e in buffer.named("e1")} == {"e1"}


def test_the_index_is_both_halves_of_the_last_id_xored() -> None:
    # The pair that Consul's own test uses.
    assert event_index([event(event_id="cb9a81ad-fff6-52ac-92a7-5f70687805ec")]) == 6430540886266763072
    assert event_index([event()]) == 1 ^ 3
    assert event_index([]) == 1
    assert event_index([event(event_id="ffffffff-ffff-ffff-ffff-ffffffffffff")]) == 1
    assert event_index([event(event_id="no uuid")]) == 1


SERVICES = {"web-api": ["v1", "blue"], "db": []}


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, True),
        ({"node_filter": "^node[0-9]$"}, True),
        ({"node_filter": "ode"}, True),
        ({"node_filter": "^other"}, False),
        ({"node_filter": "["}, False),
        ({"node_filter": "(a+)+$"}, False),
        ({"service_filter": "web"}, True),
        ({"service_filter": "cache"}, False),
        ({"service_filter": "web", "tag_filter": "^blue$"}, True),
        ({"service_filter": "db", "tag_filter": "blue"}, False),
        ({"node_filter": "node", "service_filter": "cache"}, False),
    ],
)
def test_an_event_concerns_the_agents_that_its_filters_match(filters: dict[str, str], wanted: bool) -> None:
    assert concerns(event(**filters), "node1", SERVICES) is wanted


@pytest.mark.parametrize(
    "pattern",
    [
        "web.*",
        "^(web|db)-[0-9]+$",
        r"\d{4}-[a-f0-9]{8}",
        r"a\*b\+c\{d",
        "[*+?{|]+",
        "(?:x|y)?z",
        "(?i)web",
        "a" * 1024,
        "(a+)+",
        "(x){9}",
        "|" * 17,
    ],
)
def test_ordinary_filters_are_taken(pattern: str) -> None:
    assert parse_filter(pattern).pattern == pattern


def test_a_filter_that_explodes_elsewhere_is_run_and_one_that_takes_too_long_matches_nothing() -> None:
    services = {"a" * 200: ("blue",)}
    assert concerns(event(service_filter="^(a+)+$"), "node1", services)
    assert not concerns(event(service_filter="^(a+)+b$"), "node1", services)
    assert not concerns(event(service_filter="(.*a){200}$"), "node1", {"a" * 4000: ()})


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?P<n>a)(?P=n)", "(", "a" * 1025, "a**"])
def test_filters_that_are_no_regular_expressions_are_refused(pattern: str) -> None:
    with pytest.raises(MeshError):
        parse_filter(pattern)


def test_a_wrong_filter_is_named() -> None:
    with pytest.raises(MeshError, match='Invalid service filter: the regular expression "\\["'):
        check_filters(event(service_filter="["))
    with pytest.raises(MeshError, match="Cannot provide tag filter without service filter"):
        check_filters(event(tag_filter="x"))
