"""Config entries on a real agent with -dev: the commands as the documents have them, bootstrap, and intentions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mesh_agent import MeshAgent, loopback, wait

#: The router stands before what it needs.
BOOTSTRAP = [
    {"kind": "service-router", "name": "shop", "routes": [{"destination": {"service": "api"}}]},
    {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}},
    {"kind": "service-intentions", "name": "api", "sources": [{"name": "*", "action": "deny"}]},
]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[MeshAgent]:
    config = {"data_dir": None, "config_entries": {"bootstrap": BOOTSTRAP}}
    made = MeshAgent("dev", f"{loopback()}.1", tmp_path, config, {}, ("-dev",))
    try:
        made.start()
        yield made
    finally:
        made.kill()


def said(agent: MeshAgent, *args: str) -> tuple[int, str, str]:
    done = agent.cli(*args)
    return done.returncode, done.stdout, done.stderr


def written(agent: MeshAgent, path: Path, text: str, *flags: str) -> tuple[int, str, str]:
    path.write_text(text)
    return said(agent, "config", "write", *flags, str(path))


def test_the_leader_writes_the_entries_of_its_configuration(agent: MeshAgent) -> None:
    wait(lambda: len(agent.get("/v1/config/service-router")) == 1, "the router is written")
    assert agent.get("/v1/discovery-chain/shop")["Chain"]["StartNode"] == "router:shop"
    assert said(agent, "intention", "check", "web", "api") == (1, "Denied\n", "")
    assert agent.get("/v1/config/proxy-defaults/global")["Config"] == {"protocol": "http"}


def test_an_entry_is_written_read_listed_and_deleted(agent: MeshAgent, tmp_path: Path) -> None:
    file = tmp_path / "web.hcl"
    text = 'Kind = "service-defaults"\nName = "web"\nProtocol = "http"\n'
    assert written(agent, file, text) == (0, "Config entry written: service-defaults/web\n", "")
    code, out, _ = said(agent, "config", "read", "-kind", "service-defaults", "-name", "web")
    entry = json.loads(out)
    assert (code, entry["Protocol"]) == (0, "http")
    assert out == json.dumps(entry, indent=4) + "\n"
    assert said(agent, "config", "list", "-kind", "service-defaults") == (0, "web\n", "")
    stale = ("-cas", "-modify-index", str(entry["ModifyIndex"] + 1))
    refused = (1, "", "Config entry not updated: service-defaults/web\n")
    assert written(agent, file, text.replace("http", "grpc"), *stale) == refused
    assert said(agent, "config", "delete", "-kind", "service-defaults", "-name", "web", *stale)[0] == 1
    assert (
        said(agent, "config", "delete", "-filename", str(file))[1]
        == "Config entry deleted: service-defaults/web\n"
    )
    code, out, err = said(agent, "config", "read", "-kind", "service-defaults", "-name", "web")
    assert (code, out) == (1, "")
    assert 'Config entry not found for "service-defaults" / "web"' in err


def test_a_mistake_is_told_with_its_fix(agent: MeshAgent, tmp_path: Path) -> None:
    text = 'kind = "service-splitter"\nname = "web"\nsplits = [{ wieght = 100 }]'
    code, out, err = written(agent, tmp_path / "x.hcl", text)
    assert (code, out) == (1, "")
    assert 'invalid config key "Splits[0].wieght": did you mean Weight?' in err


def test_intentions_are_one_table_seen_twice(agent: MeshAgent, tmp_path: Path) -> None:
    sources = '[{ name = "web" action = "allow" }, { name = "*" action = "deny" }]'
    text = f'kind = "service-intentions"\nname = "db"\nsources = {sources}'
    assert written(agent, tmp_path / "db.hcl", text)[0] == 0
    assert said(agent, "intention", "match", "db") == (0, "web => db (allow)\n* => db (deny)\n", "")
    assert said(agent, "intention", "delete", "web", "db")[0] == 0
    entry: dict[str, Any] = agent.get("/v1/config/service-intentions/db")
    assert [source["Name"] for source in entry["Sources"]] == ["*"]
    assert said(agent, "config", "delete", "-kind", "service-intentions", "-name", "db")[0] == 0
    assert said(agent, "intention", "check", "web", "db") == (0, "Allowed\n", "")
