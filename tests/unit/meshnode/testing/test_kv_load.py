"""The load judges itself: what is lost or out of order is told, on values and on a real agent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshnode.prove.linearizability import Kind, Operation, Outcome
from meshnode.testing.history import Connection, Workload
from meshnode.testing.kv_load import gaps, judge, run
from meshnode.testing.mesh import Mesh


def load(**acknowledged: str) -> Workload:
    made = Workload(["127.0.0.1"], "p")
    made.acknowledged |= acknowledged
    return made


def test_times_without_a_write_count_from_a_second_on() -> None:
    assert gaps([1.0, 1.5, 4.0], 0.5, 4.2) == [(1.5, 4.0)]
    assert gaps([], 3.0, 5.0) == [(3.0, 5.0)]
    assert gaps([1.8, 0.9, 2.7], 0.1, 3.5) == []


def test_a_write_that_one_agent_does_not_have_is_lost() -> None:
    verdict = judge(load(a="1", b="2"), {"one": {"a": "1", "b": "2"}, "two": {"a": "1", "b": "other"}})
    assert (verdict["acknowledged"], verdict["lost"]) == (2, 1)
    assert verdict["broken"] == ["two: 1 acknowledged writes are lost, such as b"]


def test_a_history_that_no_order_explains_is_told() -> None:
    made = load()
    made.history += [
        Operation(0, Kind.PUT, "k", "new", Outcome.OK, 1.0, 2.0),
        Operation(1, Kind.GET, "k", None, Outcome.OK, 3.0, 4.0),
    ]
    verdict = judge(made, {})
    assert verdict["violations"] == 1
    assert verdict["broken"][0].startswith("not linearizable: k: no order")


def test_an_agent_that_can_not_be_reached_is_an_answer_that_was_not_sent() -> None:
    answer = Connection("http://127.0.0.1:1", 1.0).ask("GET", "/v1/kv/a")
    assert (answer.status, answer.sent, answer.outcome) == (0, False, Outcome.FAILED)


def test_a_load_has_an_end_of_its_own() -> None:
    assert Workload(["127.0.0.1"], "p").max_operations == 1_000_000


@pytest.mark.timeout(60)
def test_a_load_on_a_real_agent_reports_and_removes_its_keys(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with Mesh() as mesh:
        agent = mesh.servers[0]
        config = {
            "targets": [{"kind": "kv", "agents": [agent.http], "key": "chaos"}],
            "interval": 0.001,
            "max_seconds": 30,
            "report": str(report),
        }

        def enough(_seconds: float) -> bool:
            return b"/ledger/" in agent.request("/v1/kv/chaos?recurse&keys").content

        verdict = run(config, enough)
        kept = agent.request("/v1/kv/chaos?recurse")
    assert verdict["broken"] == []
    assert verdict["acknowledged"] > 0
    assert kept.status == 404
    told = json.loads(report.read_text())
    assert told["running"] is False
    (target,) = told["targets"]
    assert target["verdict"] == verdict
    assert target["requests"] > 0
