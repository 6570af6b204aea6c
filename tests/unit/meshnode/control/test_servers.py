"""Servers are read from gossip tags, and the answer to "who leads" is the same wherever the view is."""

from __future__ import annotations

import itertools

import pytest

from meshnode.base.address import Address
from meshnode.control.servers import ServerInfo, elect, parse_server

TAGS = {"role": "consul", "dc": "dc1", "port": "8300", "id": "b", "expect": "3", "wan_join_port": "8302"}


def server(node_id: str, *, alive: bool = True, expect: int = 3, bootstrap: bool = False) -> ServerInfo:
    return ServerInfo(
        f"n-{node_id}", node_id, "dc1", Address("10.0.0.1", 8300), expect, bootstrap, 8302, alive
    )


def test_tags_of_a_server_give_its_rpc_address_and_identity() -> None:
    parsed = parse_server("server1", "10.0.0.2", TAGS, alive=True)
    assert parsed == ServerInfo("server1", "b", "dc1", Address("10.0.0.2", 8300), 3, False, 8302, True)


@pytest.mark.parametrize(
    "tags", [{"role": "node"}, {}, TAGS | {"port": "x"}, TAGS | {"port": "0"}, TAGS | {"port": "65536"}]
)
def test_members_that_are_no_servers_or_have_no_usable_port_are_none(tags: dict[str, str]) -> None:
    assert parse_server("x", "10.0.0.2", tags, alive=True) is None


def test_a_hostile_expect_tag_counts_as_none_expected() -> None:
    parsed = parse_server("x", "10.0.0.2", TAGS | {"expect": "²"}, alive=True)
    assert parsed is not None
    assert parsed.expect == 0


def test_the_smallest_node_id_leads_whatever_the_order_of_the_view() -> None:
    servers = [server("b"), server("a"), server("c")]
    assert {elect(order) for order in itertools.permutations(servers)} == {server("a")}


def test_there_is_no_leader_before_the_expected_servers_were_seen() -> None:
    assert elect([server("a"), server("b")]) is None


def test_one_bootstrap_server_leads_alone() -> None:
    assert elect([server("a", expect=0, bootstrap=True)]) == server("a", expect=0, bootstrap=True)


@pytest.mark.parametrize(("alive", "leads"), [(3, True), (2, True), (1, False), (0, False)])
def test_a_leader_needs_a_majority_of_the_servers_seen(alive: int, leads: bool) -> None:
    servers = [server(node_id, alive=i < alive) for i, node_id in enumerate("abc")]
    assert (elect(servers) is not None) is leads


def test_a_dead_server_never_leads() -> None:
    assert elect([server("a", alive=False), server("b"), server("c")]) == server("b")


def test_an_empty_view_has_no_leader() -> None:
    assert elect([]) is None
