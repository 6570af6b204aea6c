from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

NODES = [
    {
        "ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Node": "alpha", "Address": "10.0.0.1", "Datacenter": "dc1",
        "TaggedAddresses": {"wan": "1.2.3.4", "lan": "10.0.0.1"}, "Meta": {"rack": "r1", "os": "linux"},
        "CreateIndex": 5, "ModifyIndex": 7,
    },
    {"ID": "", "Node": "b", "Address": "fd00::1", "Datacenter": "dc1", "TaggedAddresses": None, "Meta": None},
]  # fmt: skip
TABLE = "Node   ID        Address   DC\nalpha  40e4a748  10.0.0.1  dc1\nb                fd00::1   dc1\n"


def test_datacenters_are_printed_in_the_order_of_the_answer(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/catalog/datacenters", ["dc2", "dc1"])
    done = run("catalog", "datacenters")
    assert (done.code, done.out, done.err) == (0, "dc2\ndc1\n", "")
    assert json.loads(run("catalog", "datacenters", "-format=json").out) == ["dc2", "dc1"]


def test_nodes_are_a_table(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/catalog/nodes", NODES)
    done = run("catalog", "nodes")
    assert (done.code, done.out, done.err) == (0, TABLE, "")
    whole, tagged, meta = NODES[0]["ID"], "lan=10.0.0.1, wan=1.2.3.4", "os=linux, rack=r1"
    assert run("catalog", "nodes", "-detailed").out == (
        f"Node   {'ID':36}  Address   DC   {'TaggedAddresses':25}  Meta\n"
        f"alpha  {whole}  10.0.0.1  dc1  {tagged}  {meta}\n"
        f"b      {'':36}  fd00::1   dc1\n"
    )


def test_every_metadata_filter_is_sent(agent: StubAgent, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.http_stub.parse_qs", lambda text, **_options: {"all": [text]})
    agent.answer("GET /v1/catalog/nodes", NODES)
    run("catalog", "nodes", "-node-meta=a=b", "-node-meta", "c=d")
    assert agent.last.query == {"all": "node-meta=a%3Ab&node-meta=c%3Ad"}


def test_nodes_as_json_have_the_fields_of_the_api(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/catalog/nodes", NODES)
    records = json.loads(run("catalog", "nodes", "-format=json").out)
    assert [record["Node"] for record in records] == ["alpha", "b"]
    assert records[1] == {
        "ID": "", "Node": "b", "Address": "fd00::1", "Datacenter": "dc1", "TaggedAddresses": {}, "Meta": {},
    }  # fmt: skip


def test_every_filter_is_passed_on(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/catalog/nodes", NODES)
    run("catalog", "nodes", "-near=_agent", "-node-meta=rack=a=b", "-stale", "-datacenter=dc2")
    assert agent.last.query == {"near": "_agent", "node-meta": "rack:a=b", "stale": "", "dc": "dc2"}


def test_nodes_of_a_service_show_the_metadata_of_the_node(agent: StubAgent, run: Any) -> None:
    row = NODES[0] | {"NodeMeta": {"os": "linux"}, "ServiceName": "web"}
    del row["Meta"]
    agent.answer("GET /v1/catalog/service/web%2F1", [row])
    done = run("catalog", "nodes", "-service=web/1", "-detailed")
    assert done.out.splitlines()[1].endswith("  os=linux")


@pytest.mark.parametrize(
    ("command", "what"),
    [(["nodes"], "nodes"), (["nodes", "-service=x"], "nodes"), (["services"], "services")],
)
def test_that_nothing_matches_is_said_and_no_failure(
    agent: StubAgent, run: Any, command: list[str], what: str
) -> None:
    agent.answer("GET /v1/catalog/nodes", [])
    agent.answer("GET /v1/catalog/service/x", [])
    agent.answer("GET /v1/catalog/services", {})
    done = run("catalog", *command)
    assert (done.code, done.out) == (0, "")
    assert done.err == f"No {what} match the given query - try expanding your search.\n"
    as_json = run("catalog", *command, "-format=json")
    assert (as_json.code, as_json.out.strip(), as_json.err) == (0, "{}" if what == "services" else "[]", "")


def test_services_are_sorted_and_their_tags_too(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/catalog/services", {"web": ["v2", "v1"], "consul": [], "a": ["x"]})
    assert run("catalog", "services").out == "a\nconsul\nweb\n"
    assert run("catalog", "services", "-tags").out == "a           x\nconsul      \nweb         v1,v2\n"
    assert json.loads(run("catalog", "services", "-format=json").out) == {
        "a": ["x"], "consul": [], "web": ["v1", "v2"],
    }  # fmt: skip


def test_services_of_a_node_join_the_tags_of_its_instances(agent: StubAgent, run: Any) -> None:
    services = {"w1": {"Service": "web", "Tags": ["b"]}, "w2": {"Service": "web", "Tags": ["a"]}}
    agent.answer("GET /v1/catalog/node/n1", {"Node": {}, "Services": services})
    assert run("catalog", "services", "-node=n1", "-tags", "-node-meta=a=b").out == "web      a,b\n"
    assert agent.last.query == {"node-meta": "a:b"}
    agent.answer("GET /v1/catalog/node/n1", None)
    assert run("catalog", "services", "-node=n1").code == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nodes", "x"], "Too many arguments (expected 0, got 1)"),
        (["services", "x"], "Too many arguments (expected 0, got 1)"),
        (["datacenters", "x"], "Too many arguments (expected 0, got 1)"),
        (["nodes", "-node-meta=x"], '-node-meta: Missing "=" value in argument: x'),
        (["services", "-node-meta", "x"], '-node-meta: Missing "=" value in argument: x'),
        (["nodes", "-format=xml"], "-format: 'xml' is not a format: write pretty or json"),
    ],
)
def test_bad_arguments_are_refused(agent: StubAgent, run: Any, args: list[str], words: str) -> None:
    done = run("catalog", *args)
    assert (done.code, done.out, agent.asked) == (1, "", [])
    assert words in done.err


@pytest.mark.parametrize(
    ("args", "failing"),
    [
        (["datacenters"], "Error listing datacenters"),
        (["nodes"], "Error listing nodes"),
        (["nodes", "-service=x"], "Error listing nodes for service"),
        (["services"], "Error listing services"),
        (["services", "-node=x"], "Error listing services for node"),
    ],
)
def test_a_refusal_begins_as_consuls_does(agent: StubAgent, run: Any, args: list[str], failing: str) -> None:
    assert run("catalog", *args).err == f"{failing}: Unexpected response code: 404 (no such path)\n"
