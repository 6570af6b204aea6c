"""The probe against servers that answer, stay silent, lie or hang up: its counts are what happened to its requests."""

from __future__ import annotations

import importlib.util
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROLES = Path(__file__).parents[3] / "roles"
SCRIPT = ROLES / "mesh_probe" / "files" / "probe.py"


def load(path: Path) -> ModuleType:
    """A program that a role brings to its nodes, as a module."""
    spec = importlib.util.spec_from_file_location(f"mesh_{path.stem}_script", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


probe = load(SCRIPT)


class Agent(ThreadingHTTPServer):
    """Keys as an agent has them; ``refuses`` makes it answer 500, ``forgets`` another value than was written."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.refuses = False
        self.forgets = False
        self.keys: dict[str, bytes] = {}
        self.paths: list[str] = []
        self.asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Agent

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        self.server.paths.append(self.path)
        self.server.keys[self.path.partition("?")[0]] = b"other" if self.server.forgets else body
        self.say(
            500 if self.server.refuses else 200, b"No cluster leader" if self.server.refuses else b"true\n"
        )

    def do_GET(self) -> None:
        self.server.asked += 1
        self.server.paths.append(self.path)
        found = self.server.keys.get(self.path.partition("?")[0], b"hello")
        self.say(500 if self.server.refuses else 200, found)

    def say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def agents() -> Iterator[Callable[[], Agent]]:
    made: list[Agent] = []

    def make() -> Agent:
        agent = Agent()
        threading.Thread(target=agent.serve_forever, daemon=True).start()
        made.append(agent)
        return agent

    yield make
    for agent in made:
        agent.shutdown()
        agent.server_close()


class Echo:
    """Sends back what comes, until ``hang_up``."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections: list[socket.socket] = []
        self.answer: Callable[[bytes], bytes] = lambda data: data
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while data := connection.recv(1024):
                connection.sendall(self.answer(data))
        except OSError:
            return

    def hang_up(self) -> None:
        for connection in self.connections:
            connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.connections.clear()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.hang_up()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_an_http_answer_is_good_only_with_a_200(agents: Callable[[], Agent]) -> None:
    agent = agents()
    target = probe.Http({"url": f"{agent.url}/hello?a=b"})
    assert target.ask() == ""
    agent.refuses = True
    assert target.ask() == "answered 500"
    assert "refused" in probe.Http({"url": f"http://{free_address()}/"}).ask()


def test_lines_go_over_one_connection_until_it_ends_and_the_end_is_a_failure(echo: Echo) -> None:
    target = probe.Tcp({"address": echo.address, "timeout": 5})
    assert [target.ask(), target.ask()] == ["", ""]
    assert len(echo.connections) == 1
    echo.hang_up()
    assert "3" in target.ask()
    assert target.ask() == ""
    target.close()


def test_a_fresh_target_has_a_connection_for_each_line(echo: Echo) -> None:
    target = probe.Tcp({"address": echo.address, "fresh": True})
    assert [target.ask(), target.ask()] == ["", ""]
    assert len(echo.connections) == 2
    assert target.tally.name == f"new tcp {echo.address}"
    echo.answer = lambda _data: b""
    late = probe.Tcp({"address": echo.address, "fresh": True, "timeout": 0.1})
    assert late.ask().startswith("TimeoutError")


def test_a_key_of_another_datacenter_is_written_and_read_there(agents: Callable[[], Agent]) -> None:
    agent = agents()
    target = probe.Kv({"agents": [agent.url], "key": "k", "datacenter": "dc2"})
    assert target.ask() == ""
    assert agent.paths == ["/v1/kv/k?dc=dc2", "/v1/kv/k?dc=dc2&raw&consistent"]
    assert target.tally.name == "kv 1 agents, in dc2"
    assert probe.Kv({"agents": [agent.url], "key": "k"}).ask() == ""
    assert agent.paths[2:] == ["/v1/kv/k", "/v1/kv/k?raw&consistent"]


def test_a_line_that_comes_back_changed_or_late_is_a_failure(echo: Echo) -> None:
    echo.answer = lambda data: data.upper()
    assert "line 1 came back as" in probe.Tcp({"address": echo.address}).ask()
    echo.answer = lambda _data: b""
    assert probe.Tcp({"address": echo.address, "timeout": 0.1}).ask().startswith("TimeoutError")


def test_a_key_is_asked_of_the_next_agent_and_that_is_counted(agents: Callable[[], Agent]) -> None:
    first, second = agents(), agents()
    target = probe.Kv({"agents": [first.url, second.url], "key": "meshnode/probe/a", "patience": 5})
    assert target.ask() == ""
    assert (target.tally.asked_again, second.asked) == (0, 0)
    first.refuses = True
    assert target.ask() == ""
    assert (target.tally.asked_again, second.asked) == (1, 2)


@pytest.mark.parametrize("trouble", ["refuses", "forgets"])
def test_a_key_that_nobody_wrote_and_read_in_time_is_a_failure(
    agents: Callable[[], Agent], trouble: str
) -> None:
    agent = agents()
    setattr(agent, trouble, True)
    target = probe.Kv({"agents": [agent.url], "key": "k", "patience": 0.3})
    why = target.ask()
    assert why.startswith(f"nobody answered within 0.3 s, the last was {agent.url}: ")
    assert ("No cluster leader" if trouble == "refuses" else "wrote b'1' and read b'other'") in why


def test_an_agent_that_is_away_is_no_more_than_one_that_refuses(agents: Callable[[], Agent]) -> None:
    target = probe.Kv({"agents": [f"http://{free_address()}", agents().url], "key": "k", "patience": 5})
    assert target.ask() == ""
    assert target.tally.asked_again == 1


def test_all_failures_are_counted_and_the_first_are_kept() -> None:
    tally = probe.Tally("x")
    for number in range(probe.MAX_FAILURES + 5):
        tally.note(number, "why" * 1000, at=1.0)
    tally.note(0.5, "", at=1.0)
    assert (tally.requests, tally.failed, len(tally.failures)) == (26, 25, 20)
    assert (tally.longest, len(tally.failures[0]["why"])) == (24, 300)


def test_the_process_reports_and_ends_when_it_is_told_to(
    agents: Callable[[], Agent], echo: Echo, tmp_path: Path
) -> None:
    agent, report = agents(), tmp_path / "report.json"
    targets = [
        {"kind": "http", "url": agent.url},
        {"kind": "tcp", "address": echo.address},
        {"kind": "kv", "agents": [agent.url], "key": "k"},
    ]
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"targets": targets, "interval": 0.01, "report": str(report)}))
    with subprocess.Popen([sys.executable, str(SCRIPT), str(config)], stderr=subprocess.PIPE) as process:
        while not report.exists():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr
        assert process.stderr.read() == b""
    told = json.loads(report.read_text())
    assert told["running"] is False
    assert [target["name"].split()[0] for target in told["targets"]] == ["http", "tcp", "kv"]
    assert all(target["requests"] > 0 and target["failed"] == 0 for target in told["targets"])


def test_the_process_ends_by_itself_when_nobody_ends_it(echo: Echo, tmp_path: Path) -> None:
    report, config = tmp_path / "report.json", tmp_path / "config.json"
    settings = {
        "targets": [{"kind": "tcp", "address": echo.address}],
        "max_seconds": 0.1,
        "report": str(report),
    }
    config.write_text(json.dumps(settings))
    assert subprocess.run([sys.executable, str(SCRIPT), str(config)], timeout=30, check=False).returncode == 0
    assert json.loads(report.read_text())["running"] is False
