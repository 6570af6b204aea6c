"""C(mesh_lock) against a real agent: who holds the lock is asked of the agent itself."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _lock
from ansible_collections.meshnode.lab.plugins.module_utils._durations import parse_duration
from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import MeshApi, MeshApiError
from ansible_collections.meshnode.lab.plugins.modules import mesh_lock

from tests.unit.plugins.api_agents import ApiAgent
from tests.unit.plugins.module_run import Outcome, run_module

Run = Callable[..., Outcome]


@pytest.fixture
def run(open_agent: ApiAgent, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(check: bool = False, **args: Any) -> Outcome:
        given = {"lock_delay": "0s", "wait_timeout": 0, **open_agent.plain, **args}
        return run_module(mesh_lock.main, capsys, check=check, **given)

    return call


@pytest.fixture
def key() -> str:
    return f"locks/{uuid.uuid4()}"


def holder(agent: ApiAgent, key: str) -> str:
    status, text = agent.agent.api(f"/v1/kv/{key}")
    return json.loads(text)[0].get("Session", "") if status == 200 else ""


def sessions(agent: ApiAgent) -> dict[str, dict[str, Any]]:
    return {one["ID"]: one for one in agent.agent.get("/v1/session/list")}


def lock_of(agent: ApiAgent, key: str, **wish: Any) -> _lock.Lock:
    given = {"session": None, "owner": None, "ttl": 60.0, "lock_delay": 0.0, "wait_timeout": 20.0, **wish}
    return _lock.Lock(MeshApi(**agent.plain), _lock.Wish(key=key, **given))


def test_an_owner_takes_renews_and_frees_the_lock(run: Run, open_agent: ApiAgent, key: str) -> None:
    outcomes = [run(check, key=key, owner="deploy", ttl="20s") for check in (True, False, True, False)]
    assert [one["changed"] for one in outcomes] == [True, True, False, False]
    session = outcomes[1]["session"]
    assert holder(open_agent, key) == session == outcomes[3]["session"]
    assert sessions(open_agent)[session]["TTL"] == "20000ms"
    gone = [run(check, key=key, owner="deploy", state="released") for check in (True, False, True, False)]
    assert [one["changed"] for one in gone] == [True, True, False, False]
    assert holder(open_agent, key) == ""
    assert session not in sessions(open_agent)


def test_a_session_holds_the_lock_across_tasks(run: Run, open_agent: ApiAgent, key: str) -> None:
    session = run(key=key)["session"]
    assert holder(open_agent, key) == session
    assert not run(key=key, session=session)["changed"]
    freed = run(key=key, session=session, state="released")
    assert (freed["changed"], freed["holder"]["session"]) == (True, session)
    assert holder(open_agent, key) == ""


def test_somebody_else_gets_a_no_that_names_the_holder_and_leaves_no_session(
    run: Run, open_agent: ApiAgent, key: str
) -> None:
    session = run(key=key, owner="first")["session"]
    before = set(sessions(open_agent))
    refused = run(key=key, owner="second")
    assert refused["msg"] == (
        f"mesh_lock: key: {key} is held by session {session} (first) without waiting: raise wait_timeout, or end "
        "the session when its play is dead"
    )
    assert set(sessions(open_agent)) == before
    assert not run(key=key, owner="second", state="released")["changed"]
    assert holder(open_agent, key) == session


def test_who_waits_gets_the_lock_when_it_is_freed(open_agent: ApiAgent, key: str) -> None:
    first = lock_of(open_agent, key, owner="first")
    first.hold(pretend=False)
    outcomes: list[_lock.Outcome] = []
    waiting = threading.Event()

    class Told(_lock.Lock):
        def _wait_for_change(self, path: str, index: int, seconds: float) -> None:
            waiting.set()
            super()._wait_for_change(path, index, seconds)

    second = Told(MeshApi(**open_agent.plain), lock_of(open_agent, key, owner="second").wish)
    thread = threading.Thread(target=lambda: outcomes.append(second.hold(pretend=False)), daemon=True)
    thread.start()
    assert waiting.wait(20)
    first.release(pretend=False)
    thread.join(20)
    assert [one.session for one in outcomes] == [holder(open_agent, key)]
    assert outcomes[0].before
    assert outcomes[0].before.name == "first"


def test_the_lock_of_a_play_that_died_is_free_when_its_session_ends(
    run: Run, open_agent: ApiAgent, key: str
) -> None:
    dead = run(key=key, owner="dead")["session"]
    # What the end of the TTL does, done by hand.
    assert open_agent.agent.api(f"/v1/session/destroy/{dead}", "PUT")[0] == 200
    assert run(key=key, owner="next")["changed"]


def test_a_play_that_is_started_again_takes_over_its_own_lock(run: Run, key: str) -> None:
    session = run(key=key, owner="again")["session"]
    taken = run(key=key, owner="again")
    assert (taken["changed"], taken["session"]) == (False, session)


def test_during_the_lock_delay_it_is_waited_and_told(run: Run, open_agent: ApiAgent, key: str) -> None:
    dead = run(key=key, lock_delay="30s")["session"]
    assert open_agent.agent.api(f"/v1/session/destroy/{dead}", "PUT")[0] == 200
    slept: list[float] = []
    ticks = iter(range(1000))
    lock = lock_of(open_agent, key, wait_timeout=4.0)
    lock.clock, lock.sleep = (lambda: float(next(ticks))), slept.append
    with pytest.raises(
        MeshApiError, match="is not free yet after 4 s, its lock delay runs: raise wait_timeout"
    ):
        lock.hold(pretend=False)
    assert slept
    assert set(slept) == {1.0}


def test_a_session_that_ended_is_a_lost_lock(run: Run, open_agent: ApiAgent, key: str) -> None:
    session = run(key=key)["session"]
    open_agent.agent.api(f"/v1/session/destroy/{session}", "PUT")
    assert (
        "is gone, its TTL ran out or its node failed, and the lock with it"
        in run(key=key, session=session)["msg"]
    )
    assert not run(key=key, session=session, state="released")["changed"]


def test_a_key_with_a_value_is_not_made_a_lock(run: Run, open_agent: ApiAgent, key: str) -> None:
    open_agent.agent.api(f"/v1/kv/{key}", "PUT", b"precious")
    assert "holds a value that is no lock: take another key for the lock" in run(key=key)["msg"]
    assert open_agent.agent.api(f"/v1/kv/{key}?raw")[1] == "precious"


def test_meshnode_lock_and_this_one_respect_each_other(run: Run, open_agent: ApiAgent, key: str) -> None:
    run(key=f"{key}/.lock", owner="module")
    refused = open_agent.agent.cli("lock", "-timeout=1s", key, "true")
    assert refused.returncode != 0
    run(key=f"{key}/.lock", owner="module", state="released")
    taken = open_agent.agent.cli("lock", "-timeout=10s", key, "true")
    assert taken.returncode == 0, taken.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"key": ""}, "key: is empty: name a key, such as locks/deploy"),
        ({"key": "/a"}, "key: '/a' starts with a slash"),
        ({"key": "a", "ttl": "5s"}, "ttl: 5s is out of range: write a duration from 10s to 86400s"),
        ({"key": "a", "ttl": "x"}, "ttl: 'x' is not a duration: write one such as 15s, 10m or 1h30m"),
        ({"key": "a", "lock_delay": "2m"}, "lock_delay: 2m is out of range"),
        ({"key": "a", "wait_timeout": -1}, "wait_timeout: is negative"),
        ({"key": "a", "owner": " "}, "owner: is empty: leave it out"),
        ({"key": "a", "state": "released"}, "session, owner"),
        ({"key": "a", "session": "not a uuid"}, "session"),
    ],
)
def test_a_bad_value_is_named_with_its_fix(run: Run, args: dict[str, Any], message: str) -> None:
    outcome = run(**args)
    assert outcome["failed"]
    assert message in outcome["msg"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15s", 15), ("10m", 600), ("1h30m", 5400), ("500ms", 0.5), ("20", 20), (" 1.5s ", 1.5)],
)
def test_durations_are_read_as_consul_reads_them(text: str, seconds: float) -> None:
    assert parse_duration(text, "x") == seconds


@pytest.mark.parametrize("text", ["", "s", "1x", "-1s", "1s2", "1" * 100, "0x1s", "\u0661s", "1e3s"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(MeshApiError, match=r"^x: .* is not a duration: write one such as 15s"):
        parse_duration(text, "x")
