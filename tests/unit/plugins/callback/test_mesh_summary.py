"""The callback as a run would call it: phases while it goes on, the table at its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.callback.mesh_summary import CallbackModule

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


class Screen:
    """Takes what would be shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def display(self, text: str, color: str | None = None) -> None:
        self.lines += text.splitlines()

    def banner(self, text: str) -> None:
        self.lines.append(text)


def run(custom: dict[str, Any], failures: int = 0) -> list[str]:
    screen, callback = Screen(), CallbackModule()
    callback._display = screen
    plays = [
        SimpleNamespace(get_name=lambda: "Bring up the lab"),
        SimpleNamespace(get_name=lambda: "Configure"),
    ]
    callback.v2_playbook_on_start(SimpleNamespace(get_plays=lambda: plays))
    host, task = SimpleNamespace(get_name=lambda: "server1"), SimpleNamespace(_uuid="1")
    for play in plays:
        callback.v2_playbook_on_play_start(play)
        callback.v2_runner_on_start(host, task)
        callback.v2_runner_on_ok(SimpleNamespace(_host=host, _task=task))
    summary = {"changed": 2, "failures": failures, "unreachable": 0}
    callback.v2_playbook_on_stats(
        SimpleNamespace(custom=custom, processed={"server1": 1}, summarize=lambda _host: summary)
    )
    return screen.lines


CUSTOM = {
    "_run": {"mesh_summary": {"server1": {"role": "server", "state": "alive"}}, "mesh_next": ["make down"]}
}


def test_phases_are_counted_and_the_table_and_the_next_commands_follow() -> None:
    lines = run(CUSTOM)
    assert "[1/2] Bring up the lab" in lines
    assert "[2/2] Configure" in lines
    assert any(line.split()[:4] == ["server1", "server", "alive", "2"] for line in lines)
    assert lines[-2:] == ["Next:", "  make down"]


def test_who_may_talk_and_what_to_try_come_before_what_is_next() -> None:
    more = {"mesh_flows": ["web => db (allow)"], "mesh_try": ["nc 127.0.0.1 9191"]}
    lines = run({"_run": {**CUSTOM["_run"], **more}})
    said = [line for line in lines if line and not line.startswith(("Took", "["))]
    assert said[said.index("Who may talk to whom:") :] == [
        "Who may talk to whom:", "  web => db (allow)", "Try:", "  nc 127.0.0.1 9191", "Next:", "  make down",
    ]  # fmt: skip
    assert "Try:" not in run({"_run": {**CUSTOM["_run"], **more}}, failures=1)


def test_what_was_changed_what_faults_cost_and_what_probes_saw_is_shown_also_after_a_failure() -> None:
    more = {
        "mesh_before_after": ["node  keys", "a     1f3870be"],
        "mesh_probes": ["node  failed", "a     0 failed"],
        "mesh_chaos": ["fault  times", "kill   1"],
    }
    for failures in (0, 1):
        lines = run({"_run": more}, failures=failures)
        begin = lines.index("Before and after:")
        assert lines[begin : begin + 3] == ["Before and after:", "  node  keys", "  a     1f3870be"]
        begin = lines.index("Probes:")
        assert lines[begin : begin + 3] == ["Probes:", "  node  failed", "  a     0 failed"]
        begin = lines.index("Faults and what they cost:")
        assert lines[begin + 1 : begin + 3] == ["  fault  times", "  kill   1"]


def test_after_a_failure_the_row_says_so_and_nothing_comes_next() -> None:
    lines = run(CUSTOM, failures=1)
    assert any(line.split()[:3] == ["server1", "server", "FAILED"] for line in lines)
    assert "Next:" not in lines


def test_the_ways_on_after_a_failure_are_shown_then_and_only_then() -> None:
    custom = {"_run": {**CUSTOM["_run"], "mesh_if_failed": ["run it again"]}}
    assert run(custom, failures=1)[-2:] == ["Next:", "  run it again"]
    assert run(custom)[-2:] == ["Next:", "  make down"]


def test_without_stats_there_is_no_table() -> None:
    assert "MESH" not in run({})


@pytest.mark.parametrize("field", ["role", "state", "address", "gossip_key", "certificate_expires"])
def test_a_key_in_any_field_is_never_shown(field: str) -> None:
    custom = {"_run": {"mesh_summary": {"server1": {"role": "server", field: KEY}}}}
    assert KEY not in "\n".join(run(custom))


def test_it_is_off_unless_enabled() -> None:
    assert CallbackModule.CALLBACK_NEEDS_ENABLED
