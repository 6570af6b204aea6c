"""Services of real agents: registered at a client, seen by a server, found by dig, checked, and kept over restarts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mesh_agent import Mesh, MeshAgent, wait

CONFIGURED = {"name": "db", "port": 5432, "tags": ["primary"], "check": {"ttl": "60s", "status": "passing"}}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("mesh")
    seen = directory / "seen"
    with Mesh.new(directory) as mesh:
        watch = {"type": "key", "key": "watched", "args": ["sh", "-c", f"cat >> {seen}; echo >> {seen}"]}
        mesh.add("server1", 1, server=True, bootstrap=True, watches=[watch]).launch()
        mesh.add(
            "client1", 2, retry_join=[f"{mesh.network}.1"], services=[CONFIGURED], node_meta={"rack": "a"},
            disable_remote_exec=False,
        ).launch()  # fmt: skip
        mesh.wait_alive("server1", "client1")
        wait(lambda: instances(mesh["server1"], "db"), "the configured service is in the catalog")
        yield mesh


def instances(agent: MeshAgent, name: str, query: str = "") -> list[dict[str, Any]]:
    status, text = agent.api(f"/v1/health/service/{name}{query}")
    return json.loads(text) if status == 200 else []


def dig(agent: MeshAgent, *question: str) -> list[str]:
    command = ["dig", "+short", "+time=2", "+tries=1", "-p", "8600", f"@{agent.host}", *question]
    return sorted(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[:-1])


def register(agent: MeshAgent, **body: Any) -> None:
    assert agent.api("/v1/agent/service/register", "PUT", json.dumps(body).encode()) == (200, "")


def test_a_configured_service_is_in_the_catalog_with_its_node(mesh: Mesh) -> None:
    (found,) = instances(mesh["server1"], "db", "?passing")
    assert (found["Node"]["Node"], found["Node"]["Meta"], found["Service"]["Port"]) == (
        "client1",
        {"rack": "a"},
        5432,
    )
    assert {check["CheckID"] for check in found["Checks"]} == {"serfHealth", "service:db"}


@pytest.mark.parametrize("asked", ["server1", "client1"])
def test_dig_finds_nodes_and_services_at_a_server_and_at_a_client(mesh: Mesh, asked: str) -> None:
    agent, host = mesh[asked], mesh["client1"].host
    assert dig(agent, "client1.node.consul") == [host]
    assert dig(agent, "db.service.consul") == [host]
    assert dig(agent, "primary.db.service.dc1.consul") == [host]
    assert dig(agent, "secondary.db.service.consul") == []
    assert dig(agent, "db.service.consul", "SRV") == ["1 1 5432 client1.node.dc1.consul."]
    assert dig(agent, "_db._primary.service.consul", "SRV") == ["1 1 5432 client1.node.dc1.consul."]
    assert dig(agent, "-x", host) == ["client1.node.dc1.consul."]
    assert dig(agent, "consul.service.consul") == [mesh["server1"].host]


def test_a_service_of_the_api_comes_and_goes_with_its_health(mesh: Mesh) -> None:
    client, server = mesh["client1"], mesh["server1"]
    register(client, Name="web", Port=80, Check={"TTL": "60s"})
    wait(lambda: instances(server, "web"), "it is there")
    assert instances(server, "web", "?passing") == []
    assert client.api("/v1/agent/check/pass/service:web", "PUT") == (200, "")
    wait(lambda: instances(server, "web", "?passing"), "it passes")
    wait(lambda: dig(server, "web.service.consul") == [client.host], "dig finds it")
    assert client.cli("maint", "-enable", "-service=web", "-reason=upgrade").returncode == 0
    wait(lambda: dig(server, "web.service.consul") == [], "who is in maintenance is not found")
    assert client.cli("maint", "-disable", "-service=web").returncode == 0
    wait(lambda: dig(server, "web.service.consul") == [client.host], "it is found again")
    assert client.cli("services", "deregister", "-id=web").returncode == 0
    wait(lambda: not instances(server, "web"), "it is gone")


def test_services_and_the_status_of_their_checks_outlive_a_restart(mesh: Mesh) -> None:
    client, server = mesh["client1"], mesh["server1"]
    register(client, Name="cache", Port=6379, Check={"TTL": "600s"})
    assert client.api("/v1/agent/check/warn/service:cache?note=warm", "PUT") == (200, "")
    wait(
        lambda: [c["Status"] for i in instances(server, "cache") for c in i["Checks"][1:]] == ["warning"],
        "warns",
    )
    client.kill()
    client.start()
    mesh.wait_alive("server1", "client1")
    found = client.get("/v1/agent/checks")["service:cache"]
    assert (found["Status"], found["Output"]) == ("warning", "warm")
    assert client.get("/v1/agent/services")["cache"]["Port"] == 6379


def test_what_is_removed_from_the_catalog_by_others_comes_back(mesh: Mesh) -> None:
    client, server = mesh["client1"], mesh["server1"]
    register(client, Name="stubborn", Port=1)
    wait(lambda: instances(server, "stubborn"), "it is there")
    body = json.dumps({"Node": "client1", "ServiceID": "stubborn"}).encode()
    assert server.api("/v1/catalog/deregister", "PUT", body) == (200, "true")
    client.kill()
    client.start()
    wait(lambda: instances(server, "stubborn"), "it is there again after a full sync")


def test_scripts_are_refused_unless_the_configuration_allows_them(mesh: Mesh) -> None:
    body = json.dumps({"Name": "x", "Args": ["true"], "Interval": "10s"}).encode()
    status, text = mesh["client1"].api("/v1/agent/check/register", "PUT", body)
    assert status in (400, 500)
    assert "enable_script_checks" in text


def test_a_watch_of_the_configuration_runs_its_handler(mesh: Mesh) -> None:
    seen = Path(mesh.directory, "seen")
    assert mesh["client1"].api("/v1/kv/watched", "PUT", b"now") == (200, "true")
    wait(lambda: seen.exists() and "bm93" in seen.read_text(), "the handler was run with the value")


def test_exec_runs_where_it_is_allowed_and_nowhere_else(mesh: Mesh) -> None:
    done = mesh["server1"].cli("exec", "-wait=1s", "-wait-repl=200ms", "echo it runs")
    assert done.returncode == 0, done.stderr
    assert "client1: it runs" in done.stdout
    assert "1 / 1 node(s) completed / acknowledged" in done.stdout + done.stderr
    assert "server1" not in done.stdout
