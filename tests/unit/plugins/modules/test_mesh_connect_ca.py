"""C(mesh_connect_ca) against a real agent: the roots are asked of the agent itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._connect_ca import ConnectCa, behind
from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import MeshApi, MeshApiError
from ansible_collections.meshnode.lab.plugins.modules import mesh_connect_ca

from tests.unit.plugins.api_agents import ApiAgent, running
from tests.unit.plugins.module_run import Outcome, run_module

Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiAgent]:
    with running(tmp_path_factory.mktemp("connect"), connect={"enabled": True}) as made:
        yield made


@pytest.fixture
def run(agent: ApiAgent, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(check: bool = False, **args: Any) -> Outcome:
        return run_module(mesh_connect_ca.main, capsys, check=check, **agent.plain, **args)

    return call


def roots(agent: ApiAgent) -> dict[str, Any]:
    found: dict[str, Any] = agent.agent.get("/v1/connect/ca/roots")
    return found


def test_check_rotate_and_settle(run: Run, agent: ApiAgent) -> None:
    agent.agent.get("/v1/agent/connect/ca/leaf/web")  # who holds leafs reports what it trusts
    before = roots(agent)["ActiveRootID"]
    foreseen = run(check=True, state="rotated")
    assert (foreseen["changed"], roots(agent)["ActiveRootID"]) == (True, before)
    done = run(state="rotated", wait_timeout=60)
    now = roots(agent)
    assert (done["changed"], done["before"], done["active"]) == (True, before, now["ActiveRootID"])
    assert done["active"] != before
    assert [root["ID"] for root in now["Roots"]] == [done["active"]]
    assert all(trusted == [done["active"]] for trusted in done["nodes"].values())
    settled = run()
    assert (settled["changed"], settled["active"], settled["phases"]) == (False, done["active"], [])


class Rotating(MeshApi):
    """An agent whose rotation does not get on."""

    paused = False

    def get(self, path: str, **query: Any) -> Any:
        if path.endswith("roots"):
            return {"ActiveRootID": "old"}
        nodes = [
            {"Node": "a", "Roots": ["old", "new"], "LeafRoots": ["old"]},
            {"Node": "b", "Roots": ["old"], "LeafRoots": []},
        ]
        return {
            "Phase": "acknowledge",
            "Paused": self.paused,
            "OldRootID": "old",
            "NewRootID": "new",
            "Nodes": nodes,
        }


def test_a_wait_ends_and_names_the_nodes_that_are_behind() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    authority = ConnectCa(Rotating("127.0.0.1:1"), 5, lambda: now[0], sleep)
    with pytest.raises(
        MeshApiError, match="in the phase acknowledge after 5 s, it waits for b: it goes on by itself"
    ):
        authority.ensure(rotate=True, pretend=False)


def test_a_paused_rotation_is_not_waited_for() -> None:
    api = Rotating("127.0.0.1:1")
    api.paused = True
    with pytest.raises(MeshApiError, match="the rotation is paused: resume it"):
        ConnectCa(api, 5).ensure(rotate=False, pretend=False)


def test_who_is_behind_is_who_lacks_the_root_and_then_who_uses_the_old_one() -> None:
    nodes = [
        {"Node": "a", "Roots": ["new"], "LeafRoots": ["old"]},
        {"Node": "b", "Roots": ["new"], "LeafRoots": []},
    ]
    assert behind({"OldRootID": "old", "NewRootID": "new", "Nodes": nodes}) == ["a"]


def test_without_connect_nothing_rotates_and_nothing_can(
    open_agent: ApiAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    settled = run_module(mesh_connect_ca.main, capsys, **open_agent.plain)
    assert (settled["changed"], settled["active"]) == (False, "")
    refused = run_module(mesh_connect_ca.main, capsys, state="rotated", **open_agent.plain)
    assert "500 Connect must be enabled" in refused["msg"]


class Expired(MeshApi):
    """Servers that begin to lead after a while, and then replace the root that has expired, or do not."""

    replaces = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked = 0
        self.started = 0

    def get(self, path: str, **query: Any) -> Any:
        self.asked += 1
        if self.asked < 5:
            raise MeshApiError("500", 500, "No known Consul servers")
        new = self.replaces and self.asked > 20
        if path.endswith("roots"):
            active, ends = ("new", "2030-01-01T00:00:00Z") if new else ("old", "2020-01-01T00:00:00Z")
            return {"ActiveRootID": active, "Roots": [{"ID": active, "NotAfter": ends}]}
        return {"Phase": "", "Nodes": [{"Node": "a", "Roots": ["new"]}]}

    def put(self, path: str, body: Any = None, **query: Any) -> Any:
        self.started += 1
        raise MeshApiError("500 Vault is sealed", 500, "Vault is sealed")


class Time:
    """A clock of its own; 2026 by the calendar."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def authority(self, api: MeshApi, timeout: float = 60.0) -> ConnectCa:
        return ConnectCa(api, timeout, lambda: self.now, self.sleep, lambda: 1_780_000_000.0 + self.now)


def test_an_expired_root_that_the_leader_replaces_is_waited_for_and_no_second_rotation_begins() -> None:
    api = Expired("127.0.0.1:1")
    done = Time().authority(api).ensure(rotate=True, pretend=False)
    assert (done.changed, done.before, done.active, api.started) == (True, "old", "new", 0)


def test_a_leader_that_can_not_replace_it_is_asked_why() -> None:
    api = Expired("127.0.0.1:1")
    api.replaces = False
    with pytest.raises(MeshApiError, match="Vault is sealed"):
        Time().authority(api).ensure(rotate=True, pretend=False)


def test_servers_that_never_lead_are_not_waited_for_without_end() -> None:
    with pytest.raises(MeshApiError) as refused:
        Time().authority(Expired("127.0.0.1:1"), 0.5).ensure(rotate=True, pretend=False)
    assert refused.value.body == "No known Consul servers"


class Node(MeshApi):
    """An agent with a sidecar of C(web), and what it has in memory."""

    rows: tuple[dict[str, Any], ...] = ()
    wrong = ""
    status = 0

    def get(self, path: str, **query: Any) -> Any:
        if self.wrong:
            raise MeshApiError(self.wrong, self.status)
        if path.endswith("services"):
            return {"p": {"Kind": "connect-proxy", "Proxy": {"DestinationServiceName": "web"}}, "web": {}}
        if path.endswith("roots"):
            return {"Roots": [{"ID": "new"}]}
        return list(self.rows)


def row(kind: str, name: str, left: float) -> dict[str, Any]:
    return {"Kind": kind, "Name": name, "DaysLeft": left}


@pytest.mark.parametrize(("rows", "root", "troubles"), [
    ((row("root", "r", 1.0), row("leaf", "web", 0.1)), "new", []),
    ((row("root", "r", 1.0), row("leaf", "web", 0.1)), "newer", ["the root newer is not trusted"]),
    ((row("root", "r", 1.0), row("leaf", "db", 0.1)), "", ["web has no valid certificate"]),
    (
        (row("root", "r", -1.0), row("agent", "a", 9.0)),
        "",
        ["no root that is trusted is valid now", "web has no valid certificate"],
    ),
])  # fmt: skip
def test_what_keeps_sidecars_from_connecting_is_said(
    rows: tuple[dict[str, Any], ...], root: str, troubles: list[str]
) -> None:
    api = Node("127.0.0.1:1")
    api.rows = rows
    assert Time().authority(api).troubles(root) == troubles


def test_a_node_that_does_not_become_well_is_given_up_with_the_reason() -> None:
    api = Node("127.0.0.1:1")
    api.wrong = "127.0.0.1:1: refused"
    with pytest.raises(MeshApiError, match=r"can't connect after 5 s: 127\.0\.0\.1:1: refused"):
        Time().authority(api, 5).ensure_well("new")


def test_what_the_token_may_not_see_and_a_sidecar_that_does_not_run_keep_nobody() -> None:
    api = Node("127.0.0.1:1")
    api.rows = (row("root", "r", 1.0),)
    Time().authority(api, 5).ensure_well("new")
    api.wrong, api.status = "403 Permission denied", 403
    assert Time().authority(api).troubles("new") == []


def test_a_node_is_seen_and_is_well(run: Run, agent: ApiAgent) -> None:
    active = roots(agent)["ActiveRootID"]
    assert run(state="seen")["troubles"] == []
    assert run(state="seen", root="zz")["troubles"] == ["the root zz is not trusted"]
    agent.agent.get("/v1/agent/connect/ca/leaf/web")
    well = run(state="well", root=active)
    assert (well["changed"], well["troubles"]) == (False, [])
