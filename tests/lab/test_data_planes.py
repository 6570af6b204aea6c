"""Sidecars that are Envoy beside the built-in one, by the inventory: they talk both ways, and are swapped one by one.

The tests follow each other on one lab and are run in the order of this file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.labs import MAX_REMOTE_CALLS, Lab, private_copy, until
from tests.lab.quickstart import CALLS_WHEN_CONVERGED, NOTHING, calls, changed_processes, processes
from tests.support.programs import needs

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600), needs("envoy")]

SOCAT, FRONTEND = "client2 mesh-sidecar-socat.service", "client2 mesh-sidecar-frontend.service"


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    """web and api on client1 have the built-in proxy, socat and frontend on client2 have Envoy."""
    made = private_copy(checkout, "quickstart", "planes", "172.28.234", 18900)
    made.fresh()
    write(made, "client2", mesh_services_data_plane="envoy")
    try:
        yield made
    finally:
        made.down()


def write(lab: Lab, node: str, **variables: Any) -> None:
    name = f"host_vars/{node}.yml"
    lab.write(name, {**lab.read(name), **variables})


def choose(lab: Lab, service: str, plane: str) -> None:
    """For one service of client2."""
    rows = lab.read("host_vars/client2.yml")["mesh_services"]
    write(
        lab,
        "client2",
        mesh_services=[{**row, "data_plane": plane} if row["name"] == service else row for row in rows],
    )


def echoed(lab: Lab) -> str:
    """web, built in, asks socat."""
    return lab.said("client1", "sh", "-c", "echo hello | timeout 20 nc -N localhost 9191").strip()


def page(lab: Lab) -> str:
    """frontend asks api, built in."""
    return lab.said("client2", "curl", "-s", "127.0.0.1:8083/hello")


def both_ways(lab: Lab) -> None:
    until("socat answers web", lambda: echoed(lab) == "hello", 30)
    until("api answers frontend", lambda: '"path": "/hello"' in page(lab), 30)


def test_fresh_nodes_get_envoy_in_one_run_and_its_sidecars_talk_with_built_in_ones(lab: Lab) -> None:
    run = lab.play("-vvv")
    made = calls(lab, run)
    assert all(0 < count <= MAX_REMOTE_CALLS for count in made.values()), made
    assert lab.printed_secrets(run) == []
    assert lab.on("client2", "sh", "-c", "ls /tmp/meshnode-* 2>/dev/null || true") == ""
    assert "envoy" not in lab.on("client1", "ls", "/usr/local/lib/meshnode")
    programs = {name: program for name, (_pid, program) in processes(lab).items() if "sidecar" in name}
    assert {name: program == "envoy" for name, program in programs.items()} == {
        SOCAT: True,
        FRONTEND: True,
        "client1 mesh-sidecar-web.service": False,
        "client1 mesh-sidecar-api.service": False,
    }
    both_ways(lab)


def test_the_agent_knows_its_envoys_and_tells_them_everything_on_loopback_only(lab: Lab) -> None:
    shown = json.loads(lab.on("client2", "curl", "-s", "http://127.0.0.1:8500/v1/agent/connect/envoys"))
    assert {"socat-sidecar-proxy", "frontend-sidecar-proxy"} <= set(json.dumps(shown).split('"'))
    assert lab.on("client2", "ss", "-Htln", "sport = :8502").split()[3] == "127.0.0.1:8502"
    assert lab.on("client1", "ss", "-Htln", "sport = :8502") == ""


def test_the_second_run_changes_nothing(lab: Lab) -> None:
    before = processes(lab)
    run = lab.play("-vvv")
    assert run.changed == NOTHING
    assert calls(lab, run) == CALLS_WHEN_CONVERGED
    assert lab.play("--check", "--diff").changed == NOTHING
    assert changed_processes(lab, before) == set()


def test_the_nodes_pass_the_tests_from_outside(lab: Lab) -> None:
    lab.play(playbook="playbooks/verify.yml")


def test_what_passes_between_them_is_encrypted(lab: Lab) -> None:
    run = lab.play("-e", "mesh_capture_seconds=2", playbook="playbooks/capture.yml")
    assert "21000" in run.output.partition("PROVED: everything on ports")[2].partition(" is encrypted")[0]


def test_an_intention_denies_and_allows_whoever_carries_the_bytes(lab: Lab) -> None:
    for source, destination in (("web", "socat"), ("frontend", "api")):
        lab.on("client1", "consul", "intention", "create", "-replace", "-deny", source, destination)
    until("socat denies web", lambda: echoed(lab) == "", 15)
    until("api denies frontend", lambda: '"path"' not in page(lab), 15)
    lab.play()
    both_ways(lab)


def test_another_choice_swaps_that_sidecar_and_nothing_else_and_back(lab: Lab) -> None:
    for plane in ("builtin", "envoy"):
        before = processes(lab)
        choose(lab, "socat", plane)
        run = lab.play("-vvv")
        assert run.changed == NOTHING | {"client2": 1}
        assert all(count <= MAX_REMOTE_CALLS for count in calls(lab, run).values())
        assert changed_processes(lab, before) == {SOCAT}
        assert (processes(lab)[SOCAT][1] == "envoy") is (plane == "envoy")
        both_ways(lab)
        assert lab.play().changed == NOTHING


def test_what_cannot_be_is_said_and_changes_nothing_on_that_node(lab: Lab) -> None:
    before = processes(lab)
    choose(lab, "socat", "nginx")
    run = lab.play(fails=True)
    assert 'client2, service socat: data_plane is "nginx": write builtin or envoy.' in run.output
    choose(lab, "socat", "envoy")
    run = lab.play("-e", "mesh_services_envoy=/nowhere/envoy", fails=True)
    assert "there is no program /nowhere/envoy on the controller" in run.output
    run = lab.play("-e", "mesh_services_envoy=", fails=True)
    assert "there is no Envoy on this node: let mesh_services_envoy name one" in run.output
    run = lab.play("-e", "mesh_http_enabled=false", "--limit", "client2", fails=True)
    assert "mesh_http_enabled is false, and Envoy has no certificate to show to the agent" in run.output
    assert changed_processes(lab, before) == set()


def test_the_last_envoy_of_a_node_takes_the_agents_port_with_it(lab: Lab) -> None:
    choose(lab, "socat", "builtin")
    write(lab, "client2", mesh_services_data_plane="builtin")
    before = processes(lab)
    run = lab.play("-vvv")
    assert all(count <= MAX_REMOTE_CALLS for count in calls(lab, run).values())
    assert changed_processes(lab, before) == {SOCAT, FRONTEND, "client2 consul.service"}
    assert lab.on("client2", "ss", "-Htln", "sport = :8502") == ""
    both_ways(lab)
    assert lab.play().changed == NOTHING
