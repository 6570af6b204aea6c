"""What the watchers saw, held against the faults: broken promises are found, and what a fault explains is none."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._chaos import ChaosError
from ansible_collections.meshnode.lab.plugins.module_utils._chaos_verdict import (
    MAX_REQUEST_SECONDS,
    MAX_TOLD,
    subject_of,
    verdict,
    watched,
)

NODES, CLIENTS = ["server1", "client1", "client2"], ["client1", "client2"]
BOUNDS = {"writes": 20.0, "pair": 10.0, "agent": 15.0, "members": 40.0}
KILL = {"fault": "kill", "service": "consul", "node": "client1", "began": 100.0, "ended": 110.0}
ELSEWHERE = {**KILL, "node": "server1", "ended": 160.0}
NAMES = {
    "writes": "keys of 4 agents",
    "pair": "tcp 127.0.0.1:9191",
    "agent": "http http://127.0.0.1:8500/v1/agent/self",
    "members": "members of 3",
}


def target(
    name: str, *outages: tuple[float, float | None], requests: int = 50, **more: Any
) -> dict[str, Any]:
    found = [{"began": began, "ended": ended, "why": "refused"} for began, ended in outages]
    return {
        "name": name,
        "requests": requests,
        "failed": len(found),
        "failures": [],
        "outages": found,
        **more,
    }


def judged(
    *targets: dict[str, Any], node: str = "client1", faults: tuple[dict[str, Any], ...] = (KILL,)
) -> Any:
    seen = watched([{"node": node, "targets": list(targets)}], NODES, CLIENTS)
    return verdict(faults, seen, BOUNDS, 300.0)


@pytest.mark.parametrize(("subject", "name"), NAMES.items())
def test_an_outage_that_ends_within_the_bound_after_the_healing_is_explained(subject: str, name: str) -> None:
    assert judged(target(name, (101.0, 110.0 + BOUNDS[subject])))["broken"] == []


@pytest.mark.parametrize(("subject", "name"), NAMES.items())
def test_an_outage_that_ends_later_breaks_the_promise(subject: str, name: str) -> None:
    (why,) = judged(target(name, (101.0, 110.0 + BOUNDS[subject] + 0.5)))["broken"]
    assert f"after the healing of kill of consul on client1, more than {BOUNDS[subject]:g} s" in why
    assert "client1 " + name in why


@pytest.mark.parametrize("name", [NAMES["writes"], NAMES["agent"]])
def test_a_fault_of_another_node_costs_no_more_than_the_bound(name: str) -> None:
    assert judged(target(name, (101.0, 110.0)), faults=(ELSEWHERE,))["broken"] == []
    (why,) = judged(target(name, (101.0, 130.0)), faults=(ELSEWHERE,))["broken"]
    assert "which is another node's" in why


def test_members_may_miss_a_node_for_as_long_as_it_is_away() -> None:
    assert judged(target(NAMES["members"], (101.0, 170.0)), faults=(ELSEWHERE,))["broken"] == []


def test_an_outage_without_a_fault_is_told() -> None:
    name = NAMES["pair"]
    for began, ended in ((50.0, 52.0), (121.0, 122.0), (100.0 - MAX_REQUEST_SECONDS - 1, 105.0)):
        (why,) = judged(target(name, (began, ended)))["broken"]
        assert "no fault explains it" in why


def test_a_request_that_was_under_way_when_the_fault_began_is_explained() -> None:
    assert judged(target(NAMES["pair"], (98.0, 111.0)))["broken"] == []


def test_an_outage_that_never_ends_is_told() -> None:
    (why,) = judged(target(NAMES["agent"], (101.0, None)))["broken"]
    assert "190.0 s after the healing" in why


def test_an_outage_that_goes_on_into_the_next_fault_is_measured_from_that_one() -> None:
    later = {**KILL, "began": 115.0, "ended": 125.0}
    assert judged(target(NAMES["members"], (101.0, 160.0)), faults=(KILL, later))["broken"] == []


def test_a_denied_pair_that_connects_once_breaks_the_promise_whatever_is_broken() -> None:
    failures = [{"at": 105.0, "why": "17 bytes came through"}]
    denied = {**target("denied 127.0.0.1:9393"), "failures": failures, "failed": 1}
    (why,) = judged(denied)["broken"]
    assert why == (
        "client1 denied 127.0.0.1:9393: a denied pair was connected 1 times, first: 17 bytes came through"
    )


def test_a_watcher_that_asked_nothing_proves_nothing() -> None:
    (why,) = judged(target("denied 127.0.0.1:9393", requests=0))["broken"]
    assert "nothing was asked" in why


def test_what_the_judge_of_the_history_found_is_told() -> None:
    load = target(NAMES["writes"], verdict={"broken": ["3 acknowledged writes are lost"], "lost": 3})
    found = judged(load)
    assert found["broken"] == [f"client1 {NAMES['writes']}: 3 acknowledged writes are lost"]
    assert any("3 lost" in line for line in found["totals"])


def test_many_broken_promises_are_counted_and_not_all_told() -> None:
    outages = [(float(at), at + 0.5) for at in range(200, 200 + 2 * (MAX_TOLD + 5), 2)]
    broken = judged(target(NAMES["pair"], *outages))["broken"]
    assert len(broken) == MAX_TOLD + 1
    assert broken[-1] == "and 5 more"


def test_the_table_has_a_row_for_each_class_of_fault() -> None:
    found = judged(
        target(NAMES["writes"], (102.0, 104.5)),
        target(NAMES["pair"], (103.0, 106.0)),
        target(NAMES["agent"], (100.0, 113.0)),
    )
    assert found["rows"][1:] == [["kill consul", "1", "10 s", "2.5 s", "3.0 s", "3.0 s", "0.0 s"]]


WATCHERS = [
    *((name, subject) for subject, name in NAMES.items()),
    ("dns a.node.consul", "agent"),
    ("http http://127.0.0.1:9292/hello", "pair"),
    ("denied 127.0.0.1:1", "denied"),
]


@pytest.mark.parametrize(("name", "subject"), WATCHERS)
def test_a_watcher_is_known_by_its_name(name: str, subject: str) -> None:
    assert subject_of(name) == subject


def test_a_fault_without_its_times_is_refused() -> None:
    with pytest.raises(ChaosError, match="faults: KeyError\\('ended'\\)"):
        verdict([{"fault": "kill", "node": "a", "service": "consul", "began": 1.0}], [], BOUNDS, 1.0)
