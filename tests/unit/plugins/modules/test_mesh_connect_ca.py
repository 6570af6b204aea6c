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
