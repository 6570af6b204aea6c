from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._agent_api import Api, ApiError, Cluster, look
from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import (
    NOT_RUNNING,
    OTHER_CONFIG,
    Drift,
    Layout,
)
from ansible_collections.meshnode.lab.plugins.module_utils._restart import RestartError, Service, Wish, decide

CLEAN, DRIFTED, RENEWED = Drift(), Drift(["configuration"]), Drift([], ["certificates"])
UNREADY = Drift([NOT_RUNNING])
RELOADABLE = Drift([OTHER_CONFIG], ["certificates"])
TABLE = [
    # when, unit, enabled, drift -> verbs
    ("drift", "inactive", "disabled", DRIFTED, ["enable", "start"]),
    ("drift", "failed", "enabled", DRIFTED, ["start"]),
    ("drift", "active", "enabled", CLEAN, []),
    ("drift", "active", "enabled", DRIFTED, ["restart"]),
    ("drift", "active", "enabled", RENEWED, ["reload"]),
    ("drift", "active", "disabled", CLEAN, ["enable"]),
    ("drift", "activating", "enabled", DRIFTED, ["restart"]),
    ("reload", "active", "enabled", RELOADABLE, ["reload"]),
    ("reload", "active", "enabled", RENEWED, ["reload"]),
    ("reload", "active", "enabled", CLEAN, []),
    ("reload", "inactive", "enabled", UNREADY, ["start"]),
    ("always", "active", "enabled", CLEAN, ["restart"]),
    ("always", "inactive", "enabled", CLEAN, ["start"]),
    ("start", "active", "enabled", DRIFTED, []),
    ("start", "active", "disabled", DRIFTED, ["enable"]),
    ("start", "inactive", "enabled", DRIFTED, ["start"]),
    ("start", "activating", "enabled", UNREADY, ["restart"]),
    ("start", "activating", "enabled", DRIFTED, []),
    ("start", "active", "enabled", UNREADY, []),
    ("never", "activating", "enabled", UNREADY, []),
    ("never", "inactive", "disabled", DRIFTED, []),
    ("never", "active", "enabled", DRIFTED, []),
]


@pytest.mark.parametrize(("when", "state", "enabled", "found", "verbs"), TABLE)
def test_what_is_done_follows_the_table(
    when: str, state: str, enabled: str, found: Drift, verbs: list[str]
) -> None:
    done, reasons = decide(Wish(when=when), {"ActiveState": state, "UnitFileState": enabled}, found)
    assert done == verbs
    assert bool(reasons) == bool(verbs)


@pytest.mark.parametrize("more", ["the installed package is not the one that runs", NOT_RUNNING])
def test_a_reload_that_would_not_be_enough_is_refused(more: str) -> None:
    unit = {"ActiveState": "active", "UnitFileState": "enabled"}
    with pytest.raises(RestartError, match=f"a reload is not enough, {more}: restart it"):
        decide(Wish(when="reload"), unit, Drift([OTHER_CONFIG, more]))


class Module:
    """Answers C(systemctl show) from a script, and notes what was run."""

    check_mode = False

    def __init__(self, *states: str, load: str = "loaded") -> None:
        self.states = list(states)
        self.load = load
        self.ran: list[list[str]] = []

    def run_command(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        if command[1] != "show":
            self.ran.append(command)
            return 0, "", ""
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        restarts = "9" if state == "looping" else "0"
        values = {
            "ActiveState": "activating" if state == "looping" else state,
            "MainPID": "0",
            "NRestarts": restarts,
        }
        values |= {
            "LoadState": self.load,
            "UnitFileState": "enabled",
            "NeedDaemonReload": "yes",
            "SubState": "x",
        }
        return 0, "".join(f"{name}={value}\n" for name, value in values.items()), ""


def service(module: Module, tmp_path: Path, **wish: Any) -> Service:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    layout = Layout(*(str(tmp_path / name) for name in ("etc", "opt", "state", "unit")))
    return Service(module, "consul", layout, Api("http://127.0.0.1:9"), Wish(**wish), lambda: now[0], sleep)


def test_waiting_ends_and_says_what_was_waited_for(tmp_path: Path) -> None:
    with pytest.raises(RestartError, match="not healthy after 2 s") as caught:
        service(Module("inactive", "activating"), tmp_path, timeout=2).run()
    assert caught.value.waited_for == "the unit is activating (x)"


def test_a_unit_that_keeps_dying_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(RestartError, match="does not stay up"):
        service(Module("active", "looping"), tmp_path, timeout=1e9).run()


def test_a_unit_that_failed_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(RestartError, match="does not stay up"):
        service(Module("inactive", "failed"), tmp_path, timeout=1e9).run()


def test_systemd_is_told_of_a_new_unit_before_the_start(tmp_path: Path) -> None:
    module = Module("inactive", "failed")
    with pytest.raises(RestartError):
        service(module, tmp_path).run()
    assert [command[1] for command in module.ran] == ["daemon-reload", "reset-failed", "start"]


def test_a_unit_that_is_not_there_is_an_error_that_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(RestartError, match="run the role mesh_node"):
        service(Module("inactive", load="not-found"), tmp_path).run()


def test_check_mode_on_a_fresh_node_says_what_would_be_done(tmp_path: Path) -> None:
    module = Module("inactive", load="not-found")
    module.check_mode = True
    assert service(module, tmp_path).run().actions == ["enable", "start"]
    assert module.ran == []


def test_a_rolling_restart_waits_for_as_many_as_before_and_knows_the_leader(
    agent: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    address, answers = agent
    members = [{"Name": "a", "Status": 1}, {"Name": "b", "Status": 1}]
    answers |= {"/v1/agent/members": json.dumps(members).encode(), "/v1/status/leader": b'"192.0.2.1:8300"'}
    turn = service(Module("active"), tmp_path, regain=True, node_address="192.0.2.1")
    turn.api = Api(address)
    assert turn.look_before()
    assert (turn.wish.members, turn.wish.leader) == (2, True)
    other = service(Module("active"), tmp_path, regain=True, node_address="192.0.2.11")
    other.api = Api(address)
    assert not other.look_before()


@pytest.mark.parametrize(("next_leader", "handed"), [
    (b'"192.0.2.2:8300"', True), (b'"192.0.2.1:8300"', False), (b'""', False), (None, False),
])  # fmt: skip
def test_leadership_is_handed_over_where_another_server_takes_it(
    agent: tuple[str, dict[str, Any]], tmp_path: Path, next_leader: bytes | None, handed: bool
) -> None:
    address, answers = agent
    answers |= {"/v1/agent/members": b"[]", "/v1/status/leader": b'"192.0.2.1:8300"'}
    answers |= {"next": next_leader} if next_leader is not None else {}
    turn = service(Module("active"), tmp_path, regain=True, node_address="192.0.2.1", hand_over=True)
    turn.api = Api(address)
    assert turn.hand_over() is handed


def test_a_cluster_that_is_broken_raises_no_bar_for_its_repair(tmp_path: Path) -> None:
    turn = service(Module("active"), tmp_path, regain=True, node_address="192.0.2.1")
    assert not turn.look_before()
    assert (turn.wish.members, turn.wish.leader) == (1, False)


def test_what_the_cluster_lacks_is_said_in_names() -> None:
    seen = Cluster(("a", "b"), ("c",), "")
    assert seen.lacks(2, leader=False) == ""
    assert seen.lacks(3, leader=True) == "2 of 3 members alive (a, b; not alive: c); no leader is known"


@pytest.fixture
def agent() -> Iterator[tuple[str, dict[str, Any]]]:
    answers: dict[str, Any] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in answers else 500)
            self.end_headers()
            self.wfile.write(answers.get(self.path, b"No cluster leader"))

        def do_POST(self) -> None:
            answers["/v1/status/leader"] = answers.get("next", answers.get("/v1/status/leader", b'""'))
            self.send_response(200 if "next" in answers else 500)
            self.end_headers()
            self.wfile.write(b'{"Success": true}' if "next" in answers else b"only one server keeps the log")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", answers
        server.shutdown()


def test_members_count_when_they_are_alive(agent: tuple[str, dict[str, Any]]) -> None:
    address, answers = agent
    members = [{"Name": "b", "Status": 1}, {"Name": "a", "Status": 1}, {"Name": "c", "Status": 4}]
    answers |= {"/v1/agent/members": json.dumps(members).encode(), "/v1/status/leader": b'"192.0.2.1:8300"'}
    assert look(Api(address), leader=True) == Cluster(("a", "b"), ("c",), "192.0.2.1:8300")


@pytest.mark.parametrize("body", [b"", b"not json", b'{"a": 1}'])
def test_an_answer_that_is_none_is_an_error_with_the_address(
    agent: tuple[str, dict[str, Any]], body: bytes
) -> None:
    address, answers = agent
    answers["/v1/agent/members"] = body
    with pytest.raises(ApiError, match="/v1/agent/members"):
        look(Api(address), leader=False)


def test_the_words_of_an_error_answer_are_kept(agent: tuple[str, dict[str, Any]]) -> None:
    with pytest.raises(ApiError, match="500 No cluster leader"):
        Api(agent[0]).get("/v1/status/leader")


def test_nobody_listening_is_an_error_of_the_api(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="No such file"):
        Api(f"unix://{tmp_path}/http.sock").get("/v1/agent/members")
    with pytest.raises(ApiError, match="cannot load"):
        Api("https://127.0.0.1:9", ca_file=str(tmp_path / "ca")).get("/v1/agent/members")
