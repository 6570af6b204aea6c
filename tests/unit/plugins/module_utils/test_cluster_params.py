from __future__ import annotations

from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._cluster_params import lab_from

LAN, LINK = {"name": "dc1", "subnet": "172.28.70.0/24"}, {"name": "wan", "subnet": "172.28.72.0/24"}


def addresses(**node: Any) -> Any:
    params = {"name": "demo", "networks": [LAN, LINK], "nodes": [{"name": "n1", "image": "node:1", **node}]}
    (found,) = lab_from(params, "private", ()).nodes
    return found.addresses


def test_an_address_is_of_the_first_network_or_of_the_one_that_the_node_names() -> None:
    assert addresses(address="172.28.70.11") == (("dc1", "172.28.70.11"),)
    assert addresses(address="172.28.70.11", network="") == (("dc1", "172.28.70.11"),)
    assert addresses(address="172.28.72.11", network="wan") == (("wan", "172.28.72.11"),)


def test_further_addresses_are_of_further_networks() -> None:
    found = addresses(address="172.28.70.11", addresses={"wan": "172.28.72.11"})
    assert found == (("dc1", "172.28.70.11"), ("wan", "172.28.72.11"))
