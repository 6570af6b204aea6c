from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_stub import StubAgent


def coordinate(*vec: float, height: float = 0.0, adjustment: float = 0.0) -> dict[str, Any]:
    return {"Vec": list(vec), "Error": 1.0, "Adjustment": adjustment, "Height": height}


@pytest.fixture
def lan(agent: StubAgent) -> StubAgent:
    agent.answer("GET /v1/agent/self", {"Config": {"NodeName": "me", "Datacenter": "dc1"}})
    agent.answer(
        "GET /v1/coordinate/nodes",
        [
            {"Node": "me", "Segment": "", "Coord": coordinate(0, 0)},
            {"Node": "A", "Segment": "", "Coord": coordinate(0.003, 0.004, height=0.001)},
            {"Node": "near", "Segment": "", "Coord": coordinate(0.0001, 0, adjustment=-5)},
            {"Node": "elsewhere", "Segment": "x", "Coord": coordinate(1, 1)},
            {"Node": "odd", "Segment": "", "Coord": coordinate(1)},
        ],
    )
    return agent


@pytest.mark.parametrize(
    ("nodes", "out"),
    [
        (["a", "me"], "Estimated a <-> me rtt: 6.000 ms (using LAN coordinates)\n"),
        (["a"], "Estimated a <-> me rtt: 6.000 ms (using LAN coordinates)\n"),
        (["near"], "Estimated near <-> me rtt: 0.100 ms (using LAN coordinates)\n"),
    ],
)
def test_the_distance_of_two_nodes_is_printed(lan: StubAgent, run: Any, nodes: list[str], out: str) -> None:
    done = run("rtt", *nodes)
    assert (done.code, done.out, done.err) == (0, out, "")


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (["none"], 'Could not find a coordinate for node "none"'),
        (["a", "none"], 'Could not find a coordinate for node "none"'),
        (["a", "elsewhere"], 'Could not find a coordinate for node "a"'),
        (["a", "odd"], "have different dimensions"),
    ],
)
def test_nodes_that_cannot_be_compared_are_named(
    lan: StubAgent, run: Any, nodes: list[str], words: str
) -> None:
    done = run("rtt", *nodes)
    assert (done.code, done.out) == (1, "")
    assert words in done.err


def test_servers_are_compared_across_datacenters(lan: StubAgent, run: Any) -> None:
    lan.answer(
        "GET /v1/coordinate/datacenters",
        [
            {"Datacenter": "dc1", "AreaID": "WAN", "Coordinates": [{"Node": "me", "Coord": coordinate(0, 0)}]},
            {"Datacenter": "dc2", "AreaID": "WAN", "Coordinates": [{"Node": "s2", "Coord": coordinate(0, 0.05)}]},
            {"Datacenter": "dc3", "AreaID": "other", "Coordinates": [{"Node": "s3", "Coord": coordinate(0, 1)}]},
            {"Datacenter": "dc4", "AreaID": "WAN", "Coordinates": None},
        ],
    )  # fmt: skip
    assert run("rtt", "-wan", "s2.dc2").out == (
        "Estimated s2.dc2 <-> me.dc1 rtt: 50.000 ms (using WAN coordinates)\n"
    )
    assert run("rtt", "-wan", "s3.dc3", "s2.dc2").code == 1
    assert run("rtt", "-wan", "s2").err == (
        "Node names must be specified as <node name>.<datacenter> with -wan\n"
    )


@pytest.mark.parametrize("nodes", [[], ["a", "b", "c"]])
def test_one_or_two_nodes_are_taken(agent: StubAgent, run: Any, nodes: list[str]) -> None:
    done = run("rtt", *nodes)
    assert (done.code, done.err) == (1, "One or two node names must be specified\n")


def test_a_refusal_begins_as_consuls_does(agent: StubAgent, run: Any) -> None:
    assert run("rtt", "a").err.startswith("Unable to look up agent info: Unexpected response code: 404")
    assert run("rtt", "a", "b").err.startswith("Error getting coordinates: Unexpected response code: 404")
