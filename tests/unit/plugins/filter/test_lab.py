"""An inventory becomes the nodes of a lab."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.meshnode.lab.plugins.filter.lab import (
    FilterModule,
    lab_nodes,
    lab_problems,
    lab_summary,
    log_engine,
)

NETWORKS = [{"name": "lan", "subnet": "172.28.77.0/24"}]


def test_a_host_is_a_node_with_its_address_and_what_it_adds() -> None:
    hostvars = {
        "server1": {"mesh_address": "172.28.77.11", "lab_node": {"ports": ["10443:10443"]}},
        "client1": {"mesh_address": "172.28.77.21"},
    }
    assert lab_nodes(["server1", "client1"], hostvars) == [
        {"name": "server1", "address": "172.28.77.11", "ports": ["10443:10443"]},
        {"name": "client1", "address": "172.28.77.21"},
    ]


def test_a_lab_node_that_is_no_mapping_is_refused_by_name() -> None:
    with pytest.raises(AnsibleFilterError, match="server1: lab_node"):
        lab_nodes(["server1"], {"server1": {"lab_node": "10443:10443"}})


def test_problems_are_sentences_and_a_proper_lab_has_none() -> None:
    nodes = lab_nodes(["a", "b"], {"a": {"mesh_address": "172.28.77.11"}, "b": {}})
    assert lab_problems(nodes[:1], "demo", NETWORKS) == []
    assert any(sentence.startswith("b: ") for sentence in lab_problems(nodes, "demo", NETWORKS))
    assert lab_problems([{**nodes[0], "ports": ["x"]}], "demo", NETWORKS) == [
        'a: "x" is not a port: write [ADDRESS:]HOST_PORT:NODE_PORT[/tcp|/udp], such as 10443:10443'
    ]


def test_rows_of_the_final_table_know_servers_from_clients() -> None:
    nodes = [
        {"name": "s", "state": "created", "address": "1"},
        {"name": "c", "state": "unchanged", "address": "2"},
    ]
    assert lab_summary(nodes, ["s"]) == {
        "s": {"role": "server", "state": "container created", "address": "1"},
        "c": {"role": "client", "state": "container unchanged", "address": "2"},
    }


def test_each_filter_has_a_name() -> None:
    assert set(FilterModule().filters()) == {"lab_nodes", "lab_problems", "lab_summary", "log_engine"}


@pytest.mark.parametrize(
    ("wanted", "servers", "engine"),
    [
        ("auto", [], "embedded"),
        ("auto", ["a"], "embedded"),
        ("auto", ["a", "b"], "etcd"),
        ("auto", ["a", "b", "c"], "etcd"),
        ("embedded", ["a", "b", "c"], "embedded"),
        ("etcd", ["a"], "etcd"),
    ],
)
def test_the_engine_of_the_log_follows_the_number_of_servers(
    wanted: str, servers: list[str], engine: str
) -> None:
    assert log_engine(wanted, servers) == engine


def test_an_engine_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        AnsibleFilterError, match="mesh_state_log: 'raft' is not known: write auto, embedded, etcd"
    ):
        log_engine("raft", ["a"])
