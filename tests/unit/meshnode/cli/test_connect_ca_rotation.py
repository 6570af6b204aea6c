"""``connect ca rotation`` against a canned agent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

PATH = "/v1/connect/ca/rotation"
NONE: dict[str, Any] = {
    "Phase": "", "Paused": False, "Forced": False, "Status": "no rotation is running", "Done": 0, "Total": 0,
    "Waiting": [], "OldRootID": "", "NewRootID": "", "Started": "", "Since": "", "RetiresBy": "", "Nodes": [],
    "ActiveRoot": "Consul CA 1", "ActiveRootEnds": "9999-01-01T00:00:00Z",
}  # fmt: skip
NODES = [
    {"Node": "n1", "Alive": True, "Roots": ["bb:bb", "aa:aa"], "LeafRoots": ["aa:aa"]},
    {"Node": "n2", "Alive": False, "Roots": ["aa:aa"], "LeafRoots": []},
]
RUNNING = NONE | {
    "Phase": "acknowledge", "Paused": True, "Status": "paused: 1 of 1 nodes trust the new root", "Done": 1,
    "Total": 1, "OldRootID": "aa:aa", "NewRootID": "bb:bb", "Started": "2026-01-01T00:00:00Z",
    "Since": "2026-01-01T00:00:01Z", "Nodes": NODES,
}  # fmt: skip


def test_a_rotation_is_shown_with_each_nodes_part(agent: StubAgent, run: Any) -> None:
    agent.answer(f"GET {PATH}", RUNNING)
    done = run("connect", "ca", "rotation", "-stale")
    assert (done.code, done.err, agent.last.query) == (0, "", {"stale": ""})
    assert done.out == (
        "Phase                    acknowledge (paused)\n"
        "Status                   paused: 1 of 1 nodes trust the new root\n"
        "From root                aa:aa\n"
        "To root                  bb:bb\n"
        "Started                  2026-01-01T00:00:00Z\n"
        "In this phase since      2026-01-01T00:00:01Z\n"
        "\n"
        "Node  Alive  Trusts   Leaves of\n"
        "n1    yes    old new  old\n"
        "n2    no     old      -\n"
    )


def test_the_last_moment_of_the_old_root_is_shown(agent: StubAgent, run: Any) -> None:
    agent.answer(f"GET {PATH}", RUNNING | {"RetiresBy": "2026-01-07T00:00:00Z"})
    assert "Old root goes by         2026-01-07T00:00:00Z\n" in run("connect", "ca", "rotation").out


def test_a_root_that_has_expired_is_told_with_what_becomes_of_it(agent: StubAgent, run: Any) -> None:
    agent.answer(f"GET {PATH}", NONE | {"ActiveRootEnds": "2026-01-01T00:00:00Z"})
    out = " ".join(run("connect", "ca", "rotation").out.split())
    assert "The root Consul CA 1 ended at 2026-01-01T00:00:00Z: nobody takes a certificate of it" in out
    assert "its log says what keeps it from that" in out


def test_without_a_rotation_roots_are_named_by_the_beginning_of_their_ids(agent: StubAgent, run: Any) -> None:
    roots = ["0a:1b:2c:3d:4e:5f:60"]
    node = {"Node": "n1", "Alive": True, "Roots": roots, "LeafRoots": roots}
    agent.answer(f"GET {PATH}", NONE | {"Nodes": [node]})
    done = run("connect", "ca", "rotation")
    assert done.out == (
        "No rotation is running.\n\n"
        "Node  Alive  Trusts          Leaves of\n"
        "n1    yes    0a:1b:2c:3d:4e  0a:1b:2c:3d:4e\n"
    )


def test_json_is_what_the_agent_says(agent: StubAgent, run: Any) -> None:
    agent.answer(f"GET {PATH}", RUNNING)
    assert json.loads(run("connect", "ca", "rotation", "-format=json").out) == RUNNING


@pytest.mark.parametrize(
    ("flags", "body", "said"),
    [
        (("-start",), {"Action": "start", "Force": False, "Paused": False}, "Rotation started.\n"),
        (("-start", "-force"), {"Action": "start", "Force": True, "Paused": False}, "Rotation started.\n"),
        (("-start", "-paused"), {"Action": "start", "Force": False, "Paused": True}, "Rotation started.\n"),
        (("-pause",), {"Action": "pause", "Force": False, "Paused": False}, "Rotation paused.\n"),
        (("-resume",), {"Action": "resume", "Force": False, "Paused": False}, "Rotation resumed.\n"),
        (
            ("-abort",),
            {"Action": "abort", "Force": False, "Paused": False},
            "Rotation given up: the root stays as it is.\n",
        ),
        (
            ("-distrust",),
            {"Action": "distrust", "Force": False, "Paused": False},
            "Old root distrusted: nodes ask for new leaves now.\n",
        ),
    ],
)
def test_an_action_is_sent_and_said(
    agent: StubAgent, run: Any, flags: tuple[str, ...], body: dict[str, Any], said: str
) -> None:
    agent.answer(f"PUT {PATH}", b"")
    done = run("connect", "ca", "rotation", *flags)
    assert (done.code, done.out, done.err) == (0, said, "")
    assert json.loads(agent.last.body) == body


@pytest.mark.parametrize("start", [(), ("-start",)])
def test_a_dry_run_prints_the_steps_of_a_start(agent: StubAgent, run: Any, start: tuple[str, ...]) -> None:
    agent.answer(f"PUT {PATH}", {"Plan": ["distribute: a", "switch: b"]})
    done = run("connect", "ca", "rotation", "-dry-run", *start)
    assert (done.code, done.out) == (0, "distribute: a\nswitch: b\n")
    assert (agent.last.query, json.loads(agent.last.body)) == ({"dry-run": ""}, {"Action": "start"})


def test_a_watch_ends_with_the_rotation(agent: StubAgent, run: Any) -> None:
    agent.answer(f"GET {PATH}", NONE)
    done = run("connect", "ca", "rotation", "-watch")
    assert (done.code, done.out) == (0, "no rotation is running\n")
    assert len(agent.asked) == 1


def test_a_watch_of_what_can_not_be_waited_for_ends_with_a_reason(agent: StubAgent, run: Any) -> None:
    agent.answer(f"GET {PATH}", RUNNING)
    done = run("connect", "ca", "rotation", "-watch")
    assert (done.code, done.out) == (1, "acknowledge: paused: 1 of 1 nodes trust the new root\n")
    assert "it sent no X-Consul-Index" in done.err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("-pause", "-resume"), "-pause and -resume exclude each other"),
        (("-force",), "-force belongs to -start"),
        (("-pause", "-paused"), "-paused belongs to -start"),
        (("-dry-run", "-abort"), "leave out -abort"),
        (("-dry-run", "-watch"), "leave out -watch"),
        (("now",), "now"),
    ],
)
def test_flags_that_do_not_belong_together_are_named_before_anything_is_sent(
    agent: StubAgent, run: Any, flags: tuple[str, ...], reason: str
) -> None:
    done = run("connect", "ca", "rotation", *flags)
    assert done.code == 1
    assert reason in done.err
    assert agent.asked == []


@pytest.mark.parametrize("flags", [(), ("-watch",), ("-pause",)])
def test_what_the_agent_refuses_is_told_in_its_words(
    agent: StubAgent, run: Any, flags: tuple[str, ...]
) -> None:
    for method in ("GET", "PUT"):
        agent.answer(f"{method} {PATH}", b"no rotation is running", status=500)
    done = run("connect", "ca", "rotation", *flags)
    assert (done.code, done.out) == (1, "")
    assert "no rotation is running" in done.err
    assert done.err.startswith("Error ")
