"""The inventory of a large lab, and what its drill makes of what it sees, without containers."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.api_agents import ROOT
from tests.unit.plugins.test_probe_script import load

made_of = load(ROOT / "inventories" / "scale" / "hosts.py")
scale = load(ROOT / "scripts" / "scale.py")
POSSIBLE = st.integers(made_of.MIN_NODES, made_of.MAX_NODES)


def clients(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: told["_meta"]["hostvars"][name] for name in told["mesh_clients"]["hosts"]}


@given(POSSIBLE)
def test_there_are_as_many_nodes_as_asked_for_each_with_an_address_of_its_own(nodes: int) -> None:
    told = made_of.inventory(nodes)
    names = [*told["mesh_servers"]["hosts"], *told["mesh_clients"]["hosts"]]
    addresses = {ipaddress.ip_address(told["_meta"]["hostvars"][name]["mesh_address"]) for name in names}
    assert len(names) == len(set(names)) == len(addresses) == nodes
    assert len(told["mesh_servers"]["hosts"]) == 3
    network = ipaddress.ip_network(f"{made_of.NETWORK}.0/24")
    assert all(address in list(network.hosts())[1:] for address in addresses)


@given(POSSIBLE)
def test_every_application_is_talked_to_by_one_other_and_that_pair_is_allowed(nodes: int) -> None:
    told = made_of.inventory(nodes)
    pairs = set()
    for variables in clients(told).values():
        (service,) = variables["mesh_services"]
        (upstream,) = service["connect"]["sidecar_service"]["proxy"]["upstreams"]
        pairs.add((service["name"], upstream["destination_name"]))
    assert {source for source, _ in pairs} == {target for _, target in pairs}
    assert len(pairs) == nodes - 3
    assert all(source != target for source, target in pairs)
    *allowed, last = told["mesh"]["vars"]["mesh_intentions"]
    assert {(one["source"], one["destination"]) for one in allowed} == pairs
    assert last == {"source": "*", "destination": "*", "action": "deny"}


@pytest.mark.parametrize(("text", "nodes"), [("", 25), ("5", 5), ("233", 233), ("0040", 40)])
def test_a_number_of_nodes_that_is_possible_is_taken(text: str, nodes: int) -> None:
    assert made_of.count(text) == nodes


@pytest.mark.parametrize("text", ["4", "234", "-5", "many", "1e2", "٤٠", "9" * 5000, " "])
def test_a_number_of_nodes_that_is_not_possible_is_named_with_what_to_write(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NODES", text)
    assert made_of.main() == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("is not possible: write a number from 5 to 233\n")
    assert said.err.startswith(f"NODES: {text[:40]!r}")


def test_the_inventory_is_what_ansible_reads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NODES", "6")
    assert made_of.main() == 0
    assert json.loads(capsys.readouterr().out) == made_of.inventory(6)


@pytest.mark.parametrize(
    ("unit", "node", "kind"),
    [
        ("consul.service", "server2", "agent of a server"),
        ("consul.service", "client12", "agent of a client"),
        ("etcd.service", "server1", "etcd"),
        ("mesh-sidecar-echo7.service", "client7", "sidecar"),
        ("mesh-app-echo7.service", "client7", "application"),
        ("dbus.service", "client7", ""),
        ("", "client7", ""),
    ],
)
def test_a_unit_counts_for_the_part_of_the_mesh_that_it_is(unit: str, node: str, kind: str) -> None:
    assert scale.kind_of(unit, node) == kind


def test_costs_are_added_up_by_kind_and_containers_come_last() -> None:
    found = [
        scale.Cost("whole container", 0.5, 100),
        scale.Cost("sidecar", 0.01, 30),
        scale.Cost("sidecar", 0.03, 50),
    ]
    assert scale.table(found)[2:] == [
        "| sidecar | 2 | 2.00 % (3.00 %) | 40 MiB (50 MiB) | 4 %, 80 MiB |",
        "| whole container | 1 | 50.00 % (50.00 %) | 100 MiB (100 MiB) | 50 %, 100 MiB |",
    ]


RECAP = "client1   : ok=4    changed={}    unreachable=0    failed=0\n"


def test_a_second_run_that_changes_something_or_tells_nothing_is_a_failure() -> None:
    scale.unchanged("again", RECAP.format(0))
    with pytest.raises(scale.FailedError, match="again: a second run has nothing to change: client1 2"):
        scale.unchanged("again", RECAP.format(2))
    with pytest.raises(scale.FailedError, match="it told nothing"):
        scale.unchanged("again", "no recap")
