"""Consul's modules of community.general against a running agent: clients that we did not write."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.testing import Mesh

COLLECTION = "ansible_collections.community.general"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Mesh]:
    with Mesh(servers=1, acl=True) as cluster:
        yield cluster


def run_module(cluster: Mesh, module: str, /, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """Run a module once, as a process with its arguments on standard input; returns what it prints."""
    server = cluster.servers[0]
    given = {"host": server.host, "port": server.listen.http, "token": cluster.token, **arguments}
    wanted = json.dumps({"ANSIBLE_MODULE_ARGS": {**given, "_ansible_check_mode": check}})
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CONSUL_")}
    done = subprocess.run(
        [sys.executable, "-m", f"{COLLECTION}.plugins.modules.{module}"],
        input=wanted, capture_output=True, text=True, check=False, timeout=60, env=environment,
    )  # fmt: skip
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_key_is_set_once_read_and_removed_once(cluster: Mesh) -> None:
    planned = run_module(cluster, "consul_kv", key="a/b", value="x", check=True)
    assert planned["changed"] is True
    assert cluster.servers[0].request("/v1/kv/a/b").status == 404
    assert [run_module(cluster, "consul_kv", key="a/b", value="x")["changed"] for _ in range(2)] == [
        True,
        False,
    ]
    assert run_module(cluster, "consul_kv", key="a/b")["data"]["Value"] == "x"
    gone = [
        run_module(cluster, "consul_kv", key="a/", state="absent", recurse=True)["changed"] for _ in range(2)
    ]
    assert gone == [True, False]


def test_a_key_is_written_only_over_what_was_read(cluster: Mesh) -> None:
    run_module(cluster, "consul_kv", key="cas", value="x")
    assert run_module(cluster, "consul_kv", key="cas", value="y", cas="1")["changed"] is False
    assert cluster.servers[0].api("/v1/kv/cas?raw") == "x"


def test_a_session_is_made_listed_and_removed_and_holds_a_lock(cluster: Mesh) -> None:
    made = run_module(cluster, "consul_session", name="lock", delay=0, ttl=60, behavior="delete")
    session = made["session_id"]
    assert made["changed"] is True
    listed = run_module(cluster, "consul_session", state="list")["sessions"]
    assert [(one["ID"], one["Name"], one["TTL"]) for one in listed] == [(session, "lock", "60s")]
    assert run_module(cluster, "consul_session", state="info", id=session)["sessions"][0]["ID"] == session
    # The module wants a name here and asks with the node.
    on_node = run_module(cluster, "consul_session", state="node", name="server1", node="server1")
    assert on_node["sessions"] == listed
    lock = {"key": "lock", "value": "me", "session": session}
    assert run_module(cluster, "consul_kv", state="acquire", **lock)["changed"] is True
    assert cluster.servers[0].api("/v1/kv/lock")[0]["Session"] == session
    assert run_module(cluster, "consul_session", state="absent", id=session)["changed"] is True
    assert cluster.servers[0].request("/v1/kv/lock").status == 404


def test_without_a_token_the_module_tells_the_words_of_the_agent(cluster: Mesh) -> None:
    refused = run_module(cluster, "consul_kv", key="a", value="x", token="")
    assert refused["failed"] is True
    assert "Permission denied" in refused["msg"]


def test_a_policy_a_role_and_a_token_are_made_once(cluster: Mesh) -> None:
    rules = 'key_prefix "app/" { policy = "write" }'
    wanted: list[tuple[str, dict[str, Any]]] = [
        ("consul_policy", {"name": "app", "rules": rules}),
        ("consul_role", {"name": "app", "policies": [{"name": "app"}]}),
        (
            "consul_token",
            {"accessor_id": "00000000-0000-4000-8000-00000000000a", "roles": [{"name": "app"}]},
        ),
    ]
    for module, arguments in wanted:
        first, second = (run_module(cluster, module, **arguments) for _ in range(2))
        assert first["changed"] is True, first
        # The module compares {"Name"} with the {"ID", "Name"} of the answer, so a role with policies always differs.
        assert second["changed"] is (module == "consul_role"), second
    secret = first["token"]["SecretID"]
    server = cluster.servers[0]
    assert server.api("/v1/kv/app/a", method="PUT", body="x", token=secret) is True
    assert server.request("/v1/kv/else", method="PUT", body="x", token=secret).status == 403
    for module, arguments in reversed(wanted):
        key = "accessor_id" if module == "consul_token" else "name"
        gone = [
            run_module(cluster, module, state="absent", **{key: arguments[key]})["changed"] for _ in range(2)
        ]
        assert gone == [True, False], module


def test_a_service_and_its_check_are_registered_once(cluster: Mesh) -> None:
    service = {"name": "web", "id": "web-1", "service_port": 8080, "tags": ["a"]}
    check = {"name": "alive", "id": "web-alive", "service_id": "web-1", "ttl": "60s"}
    assert run_module(cluster, "consul_agent_service", **service)["changed"] is True
    assert run_module(cluster, "consul_agent_service", **service)["changed"] is False
    assert run_module(cluster, "consul_agent_check", **check)["changed"] is True
    found = cluster.servers[0].wait_for("/v1/health/service/web")
    assert found[0]["Service"]["Port"] == 8080
    assert [one["CheckID"] for one in found[0]["Checks"] if one["ServiceID"]] == ["web-alive"]
    assert run_module(cluster, "consul_agent_check", state="absent", id="web-alive")["changed"] is True
    assert run_module(cluster, "consul_agent_service", state="absent", id="web-1")["changed"] is True
    assert cluster.servers[0].api("/v1/agent/services") == {}


def test_the_collection_that_is_tested_is_the_installed_one() -> None:
    spec = importlib.util.find_spec(COLLECTION)
    assert spec is not None
    assert "site-packages" in str(Path(next(iter(spec.submodule_search_locations or ()))))
