"""An agent that leaves for good, with a systemd that follows a script."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._agent_api import ApiError
from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import Layout
from ansible_collections.meshnode.lab.plugins.module_utils._leave import LEAVE, Goodbye
from ansible_collections.meshnode.lab.plugins.module_utils._restart import (
    TRANSFER,
    RestartError,
    Service,
    Wish,
)


class Node:
    """A systemd and an agent; a leave ends the agent after some looks at its unit."""

    def __init__(
        self, state: str = "active", *, looks: float = 2, load: str = "loaded", leads: bool = False
    ) -> None:
        self.check_mode = False
        self.state, self.looks, self.load = state, looks, load
        self.leader = "10.0.0.1:8300" if leads else "10.0.0.2:8300"
        self.left = False
        self.enabled = "enabled"
        self.did: list[str] = []
        self.answer: Callable[[], None] = lambda: None

    def run_command(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        if command[1] == "show":
            if self.left:
                self.looks -= 1
            state = "inactive" if self.left and self.looks < 0 else self.state
            values = {"ActiveState": state, "UnitFileState": self.enabled, "LoadState": self.load}
            return 0, "".join(f"{name}={value}\n" for name, value in values.items()), ""
        self.did.append(command[1])
        if command[1] == "disable":
            self.enabled = "disabled"
        if command[1] == "stop":
            self.state = "inactive"
        return 0, "", ""

    def get(self, path: str) -> Any:
        return self.leader if path == "/v1/status/leader" else []

    def call(self, method: str, path: str) -> Any:
        self.did.append(f"{method} {path}")
        if path == TRANSFER:
            self.leader = "10.0.0.2:8300"
        if path == LEAVE:
            self.left = True
            self.answer()


def goodbye(node: Node, tmp_path: Path, *, graceful: bool = True) -> Goodbye:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    layout = Layout(*(str(tmp_path / name) for name in ("etc", "opt", "state", "unit")))
    wish = Wish(node_address="10.0.0.1", timeout=20)
    api: Any = node
    return Goodbye(Service(node, "consul", layout, api, wish, lambda: now[0], sleep), graceful=graceful)


def test_an_agent_leaves_and_stays_away(tmp_path: Path) -> None:
    node = Node()
    left = goodbye(node, tmp_path).run()
    assert (left.actions, left.handed_over) == (["leave", "disable"], False)
    assert node.did == [f"PUT {LEAVE}", "stop", "disable"]


def test_a_leader_hands_over_before_it_leaves(tmp_path: Path) -> None:
    node = Node(leads=True)
    assert goodbye(node, tmp_path).run().handed_over
    assert node.did[:2] == [f"POST {TRANSFER}", f"PUT {LEAVE}"]


def test_an_agent_that_is_gone_already_is_only_disabled_and_then_left_alone(tmp_path: Path) -> None:
    node = Node("inactive")
    assert goodbye(node, tmp_path).run().actions == ["disable"]
    assert goodbye(node, tmp_path).run().actions == []
    assert node.did == ["disable"]


def test_a_node_without_the_unit_has_nothing_to_leave(tmp_path: Path) -> None:
    assert goodbye(Node(load="not-found"), tmp_path).run().actions == []


def test_one_that_waits_for_its_start_is_stopped(tmp_path: Path) -> None:
    node = Node("activating")
    goodbye(node, tmp_path).run()
    assert node.did == ["stop", "disable"]


def test_without_grace_the_others_are_not_told(tmp_path: Path) -> None:
    node = Node()
    assert goodbye(node, tmp_path, graceful=False).run().actions == ["stop", "disable"]
    assert node.did == ["stop", "disable"]


def test_an_agent_that_ends_before_it_answers_has_left(tmp_path: Path) -> None:
    node = Node()

    def ends() -> None:
        raise ApiError("connection reset")

    node.answer = ends
    assert goodbye(node, tmp_path).run().actions == ["leave", "disable"]


def test_an_agent_that_refuses_to_leave_is_told_at_once(tmp_path: Path) -> None:
    node = Node(looks=float("inf"))

    def denies() -> None:
        raise ApiError("/v1/agent/leave: 403 Permission denied", 403)

    node.answer = denies
    with pytest.raises(RestartError, match=r"does not leave: .*403 Permission denied"):
        goodbye(node, tmp_path).run()
    assert (node.enabled, node.did) == ("enabled", [f"PUT {LEAVE}"])


def test_a_server_that_drains_its_calls_longer_than_the_answer_is_waited_for(tmp_path: Path) -> None:
    node = Node(looks=80)

    def late() -> None:
        raise ApiError("timed out")

    node.answer = late
    assert goodbye(node, tmp_path).run().actions == ["leave", "disable"]


def test_one_that_never_ends_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(RestartError, match="it still runs after 20 s"):
        goodbye(Node(looks=float("inf")), tmp_path).run()


def test_a_check_promises_and_changes_nothing(tmp_path: Path) -> None:
    node = Node()
    node.check_mode = True
    assert goodbye(node, tmp_path).run().actions == ["leave", "disable"]
    assert node.did == []
