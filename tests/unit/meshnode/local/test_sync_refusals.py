"""Anti-entropy when servers refuse, and when things change while they are sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshnode.catalog.model import PASSING
from meshnode.local.state import LocalState
from meshnode.local.sync import (
    RegisterCheck,
    RegisterService,
    RemoveCheck,
    RemoveService,
    apply,
    call_of,
    describe,
    steps,
)
from tests.support.local_catalog import NODE, CatalogServer
from tests.unit.meshnode.local.syncing import DENIED, check, full_sync, new_state, send, synced, web


@pytest.mark.parametrize("sentence", ["Permission denied", "rpc error making call: ACL not found"])
def test_what_is_denied_counts_as_done_until_the_next_full_sync(sentence: str) -> None:
    state = new_state()
    state.add_service(web())
    state.add_check(check("node"), 0)
    server = CatalogServer()
    server.refuse["Catalog.Register"] = sentence
    lines = send(state, server)
    assert lines == [
        f'registration of service "web" blocked: {sentence}',
        f'registration of check "node" blocked: {sentence}',
        f'registration of node "web1" blocked: {sentence}',
    ]
    assert not state.dirty
    server.refuse.clear()
    full_sync(state, server)
    assert list(server.services()) == ["web"]


def test_a_check_brings_its_service_when_the_services_own_token_may_not() -> None:
    state = new_state()
    state.add_service(web(token="weak"))
    state.add_check(check("a", "web", token="strong"), 0)
    server = CatalogServer()
    first = next(steps(state))
    assert apply(state, first, DENIED)
    send(state, server)
    assert (list(server.services()), list(server.checks())) == (["web"], ["a"])


def removing() -> tuple[LocalState, CatalogServer]:
    """A service and a check that the catalog has, and that are to go."""
    state = new_state()
    state.add_service(web())
    state.add_check(check("node"), 0)
    server = synced(state)
    state.remove_service("web")
    state.remove_check("node")
    return state, server


def test_a_denied_removal_is_tried_again_at_the_next_full_sync() -> None:
    state, server = removing()
    server.refuse["Catalog.Deregister"] = DENIED
    assert len(send(state, server)) == 2
    assert not state.dirty
    assert list(steps(state)) == []
    server.refuse.clear()
    full_sync(state, server)
    assert (server.services(), server.checks()) == ({}, {})
    assert state.service_entries == {}
    assert state.check_entries == {}


def test_what_the_catalog_does_not_know_is_removed_already() -> None:
    state, server = removing()
    for step, sentence in zip(steps(state), ("Unknown service 'web'", "Unknown check 'node'"), strict=True):
        assert apply(state, step, f"rpc error making call: {sentence}")
    assert not state.dirty
    assert (state.service_entries, state.check_entries) == ({}, {})
    assert server.calls == []


def test_any_other_refusal_leaves_the_step_to_be_done() -> None:
    state = new_state()
    state.add_service(web())
    step = next(steps(state))
    assert not apply(state, step, "No cluster leader")
    assert describe(step) == 'registration of service "web"'
    assert next(steps(state)) == step


def test_what_changed_while_it_was_sent_is_sent_again() -> None:
    state = new_state()
    state.add_service(web())
    state.add_check(check("a", "web"), 0)
    step = next(steps(state))
    state.add_service(replace(web(), port=81))
    state.update_check("a", PASSING, "", 1)
    state.set_node(replace(NODE, meta={}))
    apply(state, step)
    again = next(steps(state))
    assert isinstance(again, RegisterService)
    assert (again.service.port, again.checks[0].status, again.node.meta) == (81, PASSING, {})
    assert not state.node_in_sync


def test_what_is_registered_again_while_its_removal_is_sent_comes_back() -> None:
    state = new_state()
    state.add_service(web())
    state.add_check(check("a", "web"), 0)
    server = synced(state)
    state.remove_service("web")
    removal = next(steps(state))
    assert removal == RemoveService("web", "")
    state.add_service(web())
    state.add_check(check("a", "web"), 0)
    server.call(*call_of(state, removal, ""))
    apply(state, removal)
    send(state, server)
    assert (list(server.services()), list(server.checks())) == (["web"], ["a"])


def test_a_check_that_comes_back_while_its_removal_is_sent_is_registered() -> None:
    state = new_state()
    state.add_check(check("a"), 0)
    server = synced(state)
    state.remove_check("a")
    removal = next(steps(state))
    assert removal == RemoveCheck("a", "")
    state.add_check(check("a"), 0)
    server.call(*call_of(state, removal, ""))
    apply(state, removal)
    assert [type(step) for step in steps(state)] == [RegisterCheck]


def test_a_removal_carries_the_token_of_the_check_or_else_of_its_service() -> None:
    state = new_state()
    state.add_service(web(token="service-token"))
    for definition in (check("a", "web", token="own"), check("b", "web")):
        state.add_check(definition, 0)
    server = synced(state)
    state.remove_check("a")
    state.remove_check("b")
    send(state, server)
    assert [b["Token"] for _, b in server.calls] == ["own", "service-token"]
