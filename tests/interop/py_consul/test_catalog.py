"""py-consul: the catalog, health, and prepared queries."""

from __future__ import annotations

import threading
from typing import Any

import consul
import pytest
from consul.exceptions import ConsulException

from meshnode.testing import Mesh

# Catalog and health


def test_a_node_with_a_service_is_registered_found_and_deregistered(client: consul.Consul, name: str) -> None:
    node = f"{name}-node"
    service = {"Service": name, "ID": f"{name}-1", "Tags": ["v1"], "Port": 80, "Meta": {"a": "b"}}
    check = {"Name": "ping", "CheckID": f"{name}-ping", "Status": "passing", "ServiceID": f"{name}-1"}
    assert client.catalog.register(
        node, "10.9.8.7", service=service, check=check, tagged_addresses={"wan": "10.9.8.8"}, dc="dc1"
    )
    _, [found] = client.catalog.service(name, tag="v1", near="_agent")
    assert (found["Node"], found["Address"], found["ServicePort"]) == (node, "10.9.8.7", 80)
    assert found["TaggedAddresses"]["wan"] == "10.9.8.8"
    assert found["ServiceMeta"] == {"a": "b"}
    assert client.catalog.service(name, tag="v2")[1] == []
    assert client.catalog.service(name, filter_expr="ServicePort == 80")[1] == [found]
    assert client.catalog.services()[1][name] == ["v1"]
    assert client.catalog.connect(name)[1] == []
    assert node in [entry["Node"] for entry in client.catalog.nodes(near="_agent")[1]]
    assert list(client.catalog.node(node)[1]["Services"]) == [f"{name}-1"]

    [entry] = client.health.service(name, passing=True)[1]
    assert [one["CheckID"] for one in entry["Checks"]] == [f"{name}-ping"]
    assert [one["ServiceTags"] for one in client.health.checks(name)[1]] == [["v1"]]
    assert [one["CheckID"] for one in client.health.node(node)[1]] == [f"{name}-ping"]
    assert f"{name}-ping" in [one["CheckID"] for one in client.health.state("passing")[1]]
    assert client.health.connect(name)[1] == []

    assert client.catalog.deregister(node, check_id=f"{name}-ping")
    assert client.health.checks(name)[1] == []
    assert client.catalog.deregister(node, service_id=f"{name}-1")
    assert client.catalog.service(name)[1] == []
    assert client.catalog.deregister(node)
    assert client.catalog.node(node)[1] is None


def test_an_update_of_a_service_can_leave_its_node_alone(client: consul.Consul, name: str) -> None:
    node = f"{name}-node"
    client.catalog.register(node, "10.1.1.1")
    client.catalog.register(node, "10.2.2.2", service={"Service": name}, skip_node_update=True)
    assert client.catalog.service(name)[1][0]["Address"] == "10.1.1.1"
    client.catalog.deregister(node)


def test_agents_are_nodes_of_the_catalog(client: consul.Consul, cluster: Mesh) -> None:
    assert client.catalog.datacenters() == ["dc1"]
    nodes = {entry["Node"]: entry["Address"] for entry in client.catalog.nodes()[1]}
    assert nodes["server1"] == cluster["server1"].host
    assert client.catalog.services()[1]["consul"] == []
    [entry] = client.health.service("consul", passing=True)[1]
    assert (entry["Node"]["Node"], entry["Service"]["Port"]) == ("server1", 8300)
    assert {one["Name"] for one in client.health.node("server1")[1]} == {"Serf Health Status"}


def test_only_instances_that_pass_and_have_the_tag_are_healthy(client: consul.Consul, name: str) -> None:
    for number, status in enumerate(("passing", "warning", "critical")):
        client.catalog.register(
            f"{name}-{number}",
            "10.0.0.1",
            service={"Service": name, "Tags": ["all", status]},
            check={"Name": "c", "Status": status, "ServiceID": name},
        )
    assert [entry["Node"]["Node"] for entry in client.health.service(name, passing=True)[1]] == [f"{name}-0"]
    assert len(client.health.service(name)[1]) == 3
    assert len(client.health.service(name, tag="warning")[1]) == 1
    assert len(client.health.service(name, tag=["all", "warning"])[1]) == 1
    assert f"{name}-2" in [one["Node"] for one in client.health.state("critical")[1]]
    assert client.health.state("any", filter_expr=f'Node == "{name}-1"')[1][0]["Status"] == "warning"
    for number in range(3):
        client.catalog.deregister(f"{name}-{number}")


def test_a_blocking_question_for_a_service_ends_when_it_is_registered(
    client: consul.Consul, server: consul.Consul, name: str
) -> None:
    index, found = client.health.service(name)
    assert found == []
    seen: list[Any] = []
    reader = threading.Thread(
        target=lambda: seen.extend(client.health.service(name, index=index, wait="20s")[1])
    )
    reader.start()
    # The watch ends early if another service changes; so ask until it is there.
    server.catalog.register(f"{name}-node", "10.0.0.1", service={"Service": name})
    reader.join(20)
    assert [entry["Service"]["Service"] for entry in seen or client.health.service(name)[1]] == [name]
    assert not reader.is_alive()
    server.catalog.deregister(f"{name}-node")


# Prepared queries


def test_a_prepared_query_is_made_run_changed_and_deleted(client: consul.Consul, name: str) -> None:
    client.catalog.register(f"{name}-node", "10.0.0.1", service={"Service": name, "Tags": ["v1"]})
    query = client.query.create(name, name=f"{name}-query", tags=["v1"], ttl="10s", nearestn=1)["ID"]
    [read] = client.query.get(query)
    assert (read["Name"], read["Service"]["Service"], read["DNS"]["TTL"]) == (f"{name}-query", name, "10s")
    assert query in [entry["ID"] for entry in client.query.list()]
    found = client.query.execute(f"{name}-query", limit=5)
    assert [node["Node"]["Node"] for node in found["Nodes"]] == [f"{name}-node"]
    assert (found["Service"], found["Datacenter"], found["Failovers"]) == (name, "dc1", 0)
    # Every query that the library makes is a template of names, and those have no other address.
    with pytest.raises(ConsulException, match="templates can only be resolved up by name, not by ID"):
        client.query.execute(query)
    assert client.query.update(query, name, name=f"{name}-query", tags=["v2"])
    assert client.query.execute(f"{name}-query")["Nodes"] == []
    assert client.query.delete(query)
    assert client.query.get(query) is None
    client.catalog.deregister(f"{name}-node")


def test_a_template_explains_what_a_name_becomes(client: consul.Consul, name: str) -> None:
    query = client.query.create("${match(1)}", name=f"{name}-", regexp=f"^{name}-(.*)$")["ID"]
    assert client.query.explain(f"{name}-web")["Query"]["Service"]["Service"] == "web"
    client.query.delete(query)
