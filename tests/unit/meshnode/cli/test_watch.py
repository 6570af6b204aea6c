from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.cli.watch import _Watching
from meshnode.control.command import KvDelete, KvPut
from meshnode.watch.plan import parse_plan
from tests.support.http_stub import StubAgent
from tests.support.kv_agent import KvAgent, kv_agent
from tests.support.processes import is_gone

TIMEOUT = 20.0


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[KvAgent]:
    with kv_agent() as agent:
        monkeypatch.setenv("CONSUL_HTTP_ADDR", agent.address)
        monkeypatch.delenv("CONSUL_HTTP_TOKEN", raising=False)
        yield agent


def test_without_a_child_the_data_is_printed_once(store: KvAgent, run: Any) -> None:
    store.apply(KvPut("a/b", b"x", 5))
    done = run("watch", "-type=key", "-key=a/b")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith('{\n    "Key": "a/b",\n    "CreateIndex": 2,\n')
    assert json.loads(done.out) == {
        "Key": "a/b", "CreateIndex": 2, "ModifyIndex": 2, "LockIndex": 0, "Flags": 5, "Value": "eA==", "Session": "",
    }  # fmt: skip
    assert json.loads(run("watch", "-type=keyprefix", "-prefix=a/").out)[0]["Key"] == "a/b"
    assert run("watch", "-type=key", "-key=none").out == "null\n"


class Watching:
    """A ``watch`` process whose child writes what it gets into a FIFO."""

    def __init__(self, directory: Path, *flags: str, end: str = "") -> None:
        self.news = directory / "news"
        os.mkfifo(self.news)
        script = f"(echo $CONSUL_INDEX; cat) > {self.news}; {end}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "meshnode", "watch", *flags, script],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def next(self) -> tuple[int, Any]:
        """Index and data of the next run of the child."""
        index, document = self.news.read_text().split("\n", 1)
        assert document.endswith("\n")
        return int(index), json.loads(document)

    def end(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, errors


@pytest.fixture
def start(store: KvAgent, tmp_path: Path) -> Iterator[Callable[..., Watching]]:
    started: list[Watching] = []

    def start_it(*flags: str, end: str = "") -> Watching:
        started.append(Watching(tmp_path, *flags, end=end))
        return started[-1]

    yield start_it
    for watching in started:
        watching.process.kill()
        watching.process.communicate()


def test_the_child_runs_for_each_change_with_its_index(
    store: KvAgent, start: Callable[..., Watching]
) -> None:
    watching = start("-type=key", "-key=a")
    assert watching.next() == (1, None)
    store.apply(KvPut("a", b"1"))
    index, data = watching.next()
    assert (index, data["Value"], data["ModifyIndex"]) == (2, "MQ==", 2)
    store.apply(KvPut("other", b"1"))
    store.apply(KvDelete("a"))
    assert watching.next() == (4, None)
    watching.process.send_signal(signal.SIGINT)
    assert watching.end() == (0, "")


def test_a_child_that_fails_ends_the_watch(start: Callable[..., Watching]) -> None:
    watching = start("-type=key", "-key=a", end="exit 3")
    watching.next()
    assert watching.end() == (1, "Error executing handler: exit status 3\n")


def test_sigterm_ends_the_child_too(start: Callable[..., Watching], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ready")
    watching = start("-type=key", "-key=a", end=f"echo $$ > {tmp_path / 'ready'}; cat {tmp_path / 'ready'}")
    watching.next()
    pid = int((tmp_path / "ready").read_text())
    watching.process.send_signal(signal.SIGTERM)
    assert watching.end()[0] == 0
    assert is_gone(pid)


def test_without_a_shell_the_arguments_are_the_programs(store: KvAgent, run: Any) -> None:
    done = run("watch", "-shell=false", "-type=key", "-key=a", sys.executable, "-c", "exit('$HOME')")
    assert (done.code, done.err) == (1, "$HOME\nError executing handler: exit status 1\n")
    done = run("watch", "-shell=false", "-type=key", "-key=a", "/no/such/program")
    assert done.err == "Error executing handler: can't run '/no/such/program': No such file or directory\n"


def test_flags_become_the_question(agent: StubAgent, run: Any) -> None:
    run(
        "watch",
        "-type=service",
        "-service=web",
        "-tag=v1",
        "-passingonly=true",
        "-token=t",
        "-datacenter=dc2",
        "-stale",
    )
    assert agent.last.path == "/v1/health/service/web"
    assert agent.last.query == {"tag": "v1", "passing": "1", "dc": "dc2", "stale": ""}
    assert agent.last.headers["X-Consul-Token"] == "t"


def test_a_proxy_of_the_agent_is_watched(agent: StubAgent, run: Any) -> None:
    run("watch", "-type=connect_proxy_config", "-proxy-service-id=web-proxy")
    assert agent.last.path == "/v1/agent/connect/proxy/web-proxy"


def test_a_refusal_ends_a_watch_that_has_no_child(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/catalog/nodes", b"Permission denied", status=403)
    done = run("watch", "-type=nodes")
    assert (done.code, done.out) == (1, "")
    assert done.err == "Error querying Consul agent: Unexpected response code: 403 (Permission denied)\n"


def test_an_agent_that_is_not_there_is_named(run: Any) -> None:
    done = run("watch", "-type=nodes", "-http-addr=127.0.0.1:1")
    assert done.code == 1
    assert done.err.startswith("Error querying Consul agent: can't reach the agent at http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "Watch type must be specified (-type)"),
        (["-type=connect_roots"], "Type connect_roots is not supported in the CLI tool"),
        (["-type=connect_leaf", "-service=a"], "Type connect_leaf is not supported in the CLI tool"),
        (["-type=connect_proxy_config"], "-proxy-service-id: a watch of type 'connect_proxy_config' needs it"),
        (["-type=keys"], "-type: there is no watch of type 'keys': did you mean key?"),
        (["-type=key"], "-key: a watch of type 'key' needs it"),
        (["-type=agent_service"], "-service-id: a watch of type 'agent_service' needs it"),
        (["-type=nodes", "-tag=x"], "-tag: a watch of type 'nodes' does not take it"),
        (["-type=service", "-service=a", "-passingonly=maybe"], "-passingonly: \"maybe\" is not a boolean"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    agent: StubAgent, run: Any, args: list[str], words: str
) -> None:
    done = run("watch", *args)
    assert (done.code, done.out, agent.asked) == (1, "", [])
    assert words in done.err


def test_a_server_in_trouble_is_asked_again_after_a_pause(store: KvAgent, capfd: Any) -> None:
    import asyncio

    from meshnode.cli.api import ApiClient
    from meshnode.client.settings import ApiSettings

    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            store.broken.clear()

    store.broken["/v1/kv/"] = (500, "No cluster leader")
    client = ApiClient(ApiSettings(address=f"http://{store.address}"))

    async def watch() -> int:
        return await _Watching(parse_plan({"type": "key", "key": "a"}), client, (), sleep).run()

    assert asyncio.run(watch()) == 0
    captured = capfd.readouterr()
    assert pauses == [5.0, 20.0]
    assert captured.out == "null\n"
    assert captured.err.splitlines()[0] == (
        "Watch (type: key) errored: Unexpected response code: 500 (No cluster leader), retry in 5s"
    )
