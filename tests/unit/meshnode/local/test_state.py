"""The local state: what its verbs change, and what readers see of it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from meshnode.base.errors import MeshError
from meshnode.catalog.model import CRITICAL, PASSING, WARNING
from meshnode.local.check_type import TtlCheck
from meshnode.local.definitions import CheckDefinition, ServiceDefinition
from meshnode.local.entries import content_hash
from meshnode.local.state import DEFAULT_MAINTENANCE_NOTES, LocalSettings, LocalState
from tests.support.local_catalog import NODE

WEB = ServiceDefinition("web", "web", tags=("v1",), port=80)


def new_state(**settings: Any) -> LocalState:
    return LocalState(NODE, LocalSettings(**settings), random.Random(1))


def check(check_id: str = "c", service_id: str = "", **more: Any) -> CheckDefinition:
    return CheckDefinition(check_id, "C", TtlCheck(ttl=30.0), service_id=service_id, **more)


def settle(state: LocalState) -> None:
    state.node_in_sync = True
    for entry in (*state.service_entries.values(), *state.check_entries.values()):
        entry.in_sync = True


def in_sync(state: LocalState, check_id: str = "c") -> bool:
    entry = state.check(check_id)
    assert entry is not None
    return entry.in_sync


def test_a_check_begins_critical_or_as_it_is_defined() -> None:
    state = new_state()
    state.add_check(check("a"), 0)
    state.add_check(check("b", status=PASSING), 0)
    assert [c.status for c in state.checks()] == [CRITICAL, PASSING]


def test_a_check_of_a_service_has_its_name_and_tags_and_needs_it() -> None:
    state = new_state()
    with pytest.raises(MeshError, match=r'^ServiceID "web" does not exist$'):
        state.add_check(check(service_id="web"), 0)
    state.add_service(WEB)
    state.add_check(check(service_id="WEB"), 0)
    (found,) = state.checks()
    assert (found.service_id, found.service_name, found.service_tags) == ("web", "web", ("v1",))
    state.add_service(replace(WEB, tags=("v2",)))
    assert state.checks()[0].service_tags == ("v2",)


def test_ids_are_one_whatever_their_case() -> None:
    state = new_state()
    state.add_service(WEB)
    state.add_service(replace(WEB, id="Web", port=81))
    assert [(s.id, s.port) for s in state.services()] == [("Web", 81)]
    assert state.service("wEB") is not None


def test_a_service_goes_with_its_checks_and_leaves_tombstones() -> None:
    state = new_state()
    state.add_service(WEB)
    state.add_check(check("a", "web"), 0)
    state.add_check(check("node"), 0)
    assert state.remove_service("web") == ("a",)
    assert (state.services(), [c.check_id for c in state.checks()]) == ((), ["node"])
    assert state.service_entries["web"].deleted
    assert state.check_entries["a"].deleted
    with pytest.raises(MeshError, match=r'^Service "web" does not exist$'):
        state.remove_service("web")
    assert not state.remove_check("a")


def test_the_same_status_and_output_are_no_change() -> None:
    state = new_state()
    state.add_check(check(), 0)
    before = state.generation
    assert not state.update_check("c", CRITICAL, "", 1)
    assert not state.update_check("other", CRITICAL, "x", 1)
    assert state.generation == before


def test_a_status_that_there_is_not_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="fine"):
        new_state().update_check("c", "fine", "", 0)


def test_a_change_of_status_is_sent_at_once() -> None:
    state = new_state()
    state.add_check(check(), 0)
    settle(state)
    state.update_check("c", CRITICAL, "held back", 1)
    assert state.next_deadline() is not None
    assert state.update_check("c", PASSING, "held back", 2)
    assert (in_sync(state), state.next_deadline()) == (False, None)


def test_a_change_of_output_alone_is_sent_once_in_an_interval() -> None:
    state = new_state(check_update_interval=100.0)
    state.add_check(check(status=PASSING), 0)
    settle(state)
    state.update_check("c", PASSING, "one", 10)
    due = state.next_deadline()
    assert due is not None
    assert 60 <= due <= 160
    state.update_check("c", PASSING, "two", 20)
    assert state.next_deadline() == due
    assert not state.advance(due - 0.1)
    assert in_sync(state)
    assert state.advance(due)
    assert not in_sync(state)
    assert (state.next_deadline(), state.advance(due + 1000)) == (None, False)
    assert state.checks()[0].output == "two"


def test_a_check_that_waits_to_be_sent_has_nothing_to_hold_back() -> None:
    state = new_state()
    state.add_check(check(), 0)
    state.update_check("c", CRITICAL, "one", 10)
    assert state.next_deadline() is None


def test_with_no_interval_outputs_are_sent_at_once() -> None:
    state = new_state(check_update_interval=0.0)
    state.add_check(check(status=PASSING), 0)
    settle(state)
    state.update_check("c", PASSING, "one", 10)
    assert not in_sync(state)


def test_output_can_be_discarded() -> None:
    state = new_state(discard_check_output=True)
    state.add_check(check(), 0)
    state.update_check("c", WARNING, "secret", 0)
    assert (state.checks()[0].status, state.checks()[0].output) == (WARNING, "")


def test_a_check_that_is_registered_again_can_go_on_where_it_was() -> None:
    state = new_state()
    state.add_check(check(), 0)
    state.update_check("c", PASSING, "fine", 1)
    state.add_check(check(notes="new"), 2, keep_status=True)
    assert (state.checks()[0].status, state.checks()[0].output, state.checks()[0].notes) == (
        PASSING,
        "fine",
        "new",
    )
    state.add_check(check(), 3)
    assert (state.checks()[0].status, state.checks()[0].output) == (CRITICAL, "")


def test_maintenance_is_a_critical_check_with_a_reason() -> None:
    state = new_state()
    state.add_service(WEB)
    assert state.enable_maintenance("web", "", "t", 0) is not None
    assert state.enable_maintenance("web", "again", "t", 0) is None
    assert state.enable_maintenance("", "broken disk", "", 0) is not None
    node, service = state.checks()
    assert (node.check_id, node.name, node.status, node.notes) == (
        "_node_maintenance", "Node Maintenance Mode", CRITICAL, "broken disk",
    )  # fmt: skip
    assert (service.check_id, service.name, service.notes, service.service_id) == (
        "_service_maintenance:web", "Service Maintenance Mode", DEFAULT_MAINTENANCE_NOTES["service"], "web",
    )  # fmt: skip
    assert state.disable_maintenance("web")
    assert not state.disable_maintenance("web")
    assert state.disable_maintenance("")
    assert state.checks() == ()


def test_maintenance_of_a_service_that_there_is_not_is_an_error() -> None:
    for act in (lambda s: s.enable_maintenance("db", "", "", 0), lambda s: s.disable_maintenance("db")):
        with pytest.raises(MeshError, match=r'^No service registered with ID "db"$'):
            act(new_state())


def test_a_service_is_overdue_once_a_check_was_critical_for_longer_than_it_allows() -> None:
    state = new_state()
    state.add_service(WEB)
    state.add_service(replace(WEB, id="other"))
    state.add_check(check("a", "web", deregister_critical_service_after=60.0), 0)
    state.add_check(check("b", "other"), 0)
    state.add_check(check("node", deregister_critical_service_after=60.0), 0)
    assert state.overdue_services(60) == []
    assert state.overdue_services(60.1) == [("web", "a")]
    state.update_check("a", WARNING, "", 61)
    assert state.overdue_services(1000) == []
    state.update_check("a", CRITICAL, "", 1000)
    state.update_check("a", CRITICAL, "worse", 1050)
    assert state.overdue_services(1060) == []
    assert state.overdue_services(1061) == [("web", "a")]


def test_lists_are_the_same_object_until_something_changes() -> None:
    state = new_state()
    state.add_service(WEB)
    services, generation = state.services(), state.generation
    assert state.services() is services
    state.update_check("nothing", PASSING, "", 0)
    state.set_node(NODE)
    assert (state.services() is services, state.generation) == (True, generation)
    state.add_service(replace(WEB, port=81))
    assert state.services() is not services
    assert state.generation > generation


def test_the_hash_of_a_service_is_its_contents() -> None:
    one, same, other = WEB.service(), replace(WEB).service(), replace(WEB, port=81).service()
    assert content_hash(one) == content_hash(replace(same, create_index=7, modify_index=9))
    assert content_hash(one) != content_hash(other)
    assert len(content_hash(one)) == 16


def test_it_is_dirty_while_anything_waits() -> None:
    state = new_state()
    assert state.dirty
    settle(state)
    assert not state.dirty
    state.set_node(replace(NODE, address="10.0.0.9"))
    assert state.dirty
    settle(state)
    state.add_service(WEB)
    assert state.dirty
    settle(state)
    state.remove_service("web")
    assert state.dirty
