from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.remote_exec import RemoteExec
from meshnode.agent.remote_job import parse_job
from meshnode.base.errors import MeshError
from meshnode.cli.exec import parse_signs
from meshnode.control.command import KvAcquire
from meshnode.control.machine import Refusal
from tests.support.http_stub import StubAgent
from tests.support.kv_agent import KvAgent, kv_agent

TIMEOUT = 20.0
#: Where nobody answers, and where somebody does: on a busy machine that takes its time.
QUICK = ("-wait=600ms", "-wait-repl=0s")
PATIENT = ("-wait=1500ms", "-wait-repl=0s")


class Nodes:
    """Agents that answer ``exec``: the real responder, on an event loop of its own, over the agent's store."""

    def __init__(self, agent: KvAgent) -> None:
        self.agent = agent
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.responders: list[RemoteExec] = []
        agent.on_event = self.receive

    async def read(self, key: str) -> bytes | None:
        entry = self.agent.entry(key)
        return entry.value if entry is not None else None

    async def write(self, key: str, value: bytes, session: str) -> bool:
        result = self.agent.apply(KvAcquire(key, value, 0, session, time.time()))
        if isinstance(result, Refusal):
            raise MeshError(result.because)
        return bool(result)

    def add(self, *names: str) -> None:
        self.responders += [RemoteExec(name, self) for name in names]

    def receive(self, name: str, payload: bytes) -> None:
        assert name == "_rexec"
        for responder in self.responders:
            self.loop.call_soon_threadsafe(responder.handle_event, payload)

    def stop(self) -> None:
        async def stop() -> None:
            await asyncio.gather(*(responder.stop() for responder in self.responders))

        asyncio.run_coroutine_threadsafe(stop(), self.loop).result(TIMEOUT)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[KvAgent]:
    with kv_agent() as agent:
        monkeypatch.setenv("CONSUL_HTTP_ADDR", agent.address)
        monkeypatch.delenv("CONSUL_HTTP_TOKEN", raising=False)
        yield agent


@pytest.fixture
def nodes(store: KvAgent) -> Iterator[Nodes]:
    found = Nodes(store)
    yield found
    found.stop()


def test_where_no_agent_allows_it_nobody_answers_and_that_is_no_failure(store: KvAgent, run: Any) -> None:
    done = run("exec", *QUICK, "pwd")
    assert (done.code, done.out, done.err) == (0, "0 / 0 node(s) completed / acknowledged\n", "")
    assert (store.keys(), store.sessions()) == ([], [])


def test_the_output_of_every_node_is_shown_under_its_name(nodes: Nodes, run: Any) -> None:
    nodes.add("n1", "n2")
    done = run("exec", *PATIENT, "echo one; echo two >&2")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    for name in ("n1", "n2"):
        assert [line for line in lines if f" {name}:" in line] == [
            f"    {name}: one",
            f"    {name}: two",
            f"    {name}:",
            f"==> {name}: finished with exit code 0",
        ]
    assert lines[-1] == "2 / 2 node(s) completed / acknowledged"
    assert (nodes.agent.keys(), nodes.agent.sessions()) == ([], [])


def test_a_reader_that_has_ended_ends_it_without_a_word(store: KvAgent) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "meshnode", "exec", *QUICK, "pwd"],
        stdout=writing, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
    assert (store.keys(), store.sessions()) == ([], [])


def test_what_is_left_for_the_nodes_is_consuls(store: KvAgent, run: Any) -> None:
    seen: list[tuple[str, bytes, Any]] = []

    def look(name: str, payload: bytes) -> None:
        (session,) = store.sessions()
        entry = store.entry(f"ops/{session.id}/job")
        assert entry is not None
        assert json.loads(payload) == {"Prefix": "ops", "Session": session.id}
        seen.append((name, entry.value, (session.name, session.ttl, session.behavior, entry.session)))

    store.on_event = look
    assert run("exec", *QUICK, "-prefix=ops", "-node=^n", "-service=web", "-tag=v1", "uptime", "-p").code == 0
    ((name, value, (session_name, ttl, behavior, holder)),) = seen
    assert (name, session_name, ttl, behavior) == ("_rexec", "Remote Exec", "15s", "delete")
    assert holder
    assert json.loads(value) == {"Command": "uptime -p", "Wait": 600_000_000}
    assert store.events[0][1] == {"node": "^n", "service": "web", "tag": "v1"}
    run("exec", *QUICK, "-shell=false", "-prefix=ops", "ls", "a b")
    assert json.loads(seen[1][1]) == {"Args": ["ls", "a b"], "Wait": 600_000_000}


def test_a_node_that_fails_is_exit_code_2(nodes: Nodes, run: Any) -> None:
    nodes.add("n1")
    done = run("exec", *PATIENT, "exit 7")
    assert (done.code, done.out.splitlines()[0]) == (2, "==> n1: finished with exit code 7")
    done = run("exec", *PATIENT, "-shell=false", "/no/such/program")
    assert done.code == 2
    assert "    n1: can't run '/no/such/program': No such file or directory\n" in done.out
    assert "==> n1: finished with exit code 255\n" in done.out


def test_a_script_comes_from_standard_input(nodes: Nodes, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.add("n1")
    script = b"#!/bin/sh\necho script of $0\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(script)))
    done = run("exec", *PATIENT, "-")
    assert done.code == 0
    path = done.out.split("script of ")[1].splitlines()[0]
    assert not Path(path).exists()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert "Must specify a command to execute" in run("exec", "-").err


def test_output_is_whole_and_in_order_however_long_it_is(nodes: Nodes, run: Any) -> None:
    nodes.add("n1")
    done = run("exec", *PATIENT, "seq 1 5000")
    shown = "".join(line.removeprefix("    n1: ") for line in done.out.splitlines()[:-2])
    assert shown.replace("    n1:", "") == "".join(map(str, range(1, 5001)))


def test_a_silent_node_is_waited_for_while_its_heart_beats(nodes: Nodes, run: Any, tmp_path: Path) -> None:
    nodes.add("n1")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    beats: list[str] = []

    def open_gate() -> None:
        nodes.agent.await_state(
            lambda: any(key.endswith("/out/00001") for key in nodes.agent.keys("_rexec/")), TIMEOUT
        )
        beats.append("two")
        gate.write_text("late\n")

    opener = threading.Thread(target=open_gate)
    opener.start()
    done = run("exec", *PATIENT, "-verbose", f"cat {gate}")
    opener.join()
    assert (done.code, beats) == (0, ["two"])
    assert "n1: acknowledged event\n" in done.out
    assert done.out.count("n1: heartbeat received\n") >= 2
    assert "    n1: late\n" in done.out


def test_a_node_that_never_ends_is_missed(store: KvAgent, run: Any) -> None:
    def acknowledge(name: str, payload: bytes) -> None:
        session = json.loads(payload)["Session"]
        store.apply(KvAcquire(f"_rexec/{session}/n9/ack", b"", 0, session, time.time()))

    store.on_event = acknowledge
    done = run("exec", *QUICK, "true")
    assert (done.code, done.out) == (2, "0 / 1 node(s) completed / acknowledged\n")
    assert store.keys() == []


def test_an_interrupt_ends_the_session_and_with_it_the_jobs(nodes: Nodes, tmp_path: Path) -> None:
    nodes.add("n1")
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    process = subprocess.Popen(
        [sys.executable, "-m", "meshnode", "exec", *PATIENT, f"echo $$ > {pids}; exec cat {tmp_path / 'never'}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.mkfifo(tmp_path / "never")
    pid = int(pids.read_text())
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, errors.startswith("Interrupted")) == (1, True)
    assert nodes.agent.sessions() == []
    descriptor = os.pidfd_open(pid) if Path(f"/proc/{pid}").exists() else None
    if descriptor is not None:
        import select

        ready, _, _ = select.select([descriptor], [], [], TIMEOUT)
        os.close(descriptor)
        assert ready, "the job goes on"


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("/v1/session/create", "Failed to create session: failed to create session: Unexpected response code: 500"),
        ("/v1/kv/", "Failed to upload the remote execution spec: Unexpected response code: 500"),
        ("/v1/event/", "Failed to fire the remote execution event: Unexpected response code: 500"),
    ],
)  # fmt: skip
def test_what_can_not_be_set_up_is_exit_code_1(store: KvAgent, run: Any, broken: str, words: str) -> None:
    store.broken[broken] = (500, "No cluster leader")
    done = run("exec", *QUICK, "true")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(words)
    assert store.sessions() == []


def test_for_another_datacenter_the_session_is_one_of_a_server_there(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/agent/self", {"Config": {"Datacenter": "dc1"}})
    agent.answer("GET /v1/health/service/consul", [{"Node": {"Node": "s9"}}])
    done = run("exec", "-datacenter=dc2", "true")
    assert done.err.startswith("Failed to create session: failed to create session: ")
    *_, found, create = agent.asked
    assert found.query == {"passing": "1", "dc": "dc2"}
    assert create.query == {"dc": "dc2"}
    assert json.loads(create.body) == {
        "Name": "Remote Exec via s9@dc2", "Behavior": "delete", "TTL": "15s", "Node": "s9", "Checks": [],
    }  # fmt: skip
    agent.answer("GET /v1/health/service/consul", [])
    assert "no server of datacenter dc2 is passing its checks" in run("exec", "-datacenter=dc2", "true").err
    agent.asked.clear()
    run("exec", "-datacenter=dc1", "true")
    assert "Node" not in json.loads(agent.last.body)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "Must specify a command to execute"),
        (["-tag=v1", "true"], "Cannot provide tag filter without service filter."),
        (["-wait=0s", "true"], "-wait: 0s is too short"),
        (["-wait-repl=-1s", "true"], "-wait-repl"),
        (["-prefix=/", "true"], "-prefix: it is empty"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    store: KvAgent, run: Callable[..., Any], args: list[str], words: str
) -> None:
    done = run("exec", *args)
    assert (done.code, done.out, store.sessions()) == (1, "", [])
    assert words in done.err


def test_signs_are_told_in_order_and_other_keys_left_out() -> None:
    root = "_rexec/s/"
    keys = [
        "job",
        "n1/ack",
        "n1/exit",
        "n1/out/00001",
        "n1/out/00000",
        "n1/other",
        "n1/out",
        "n1/exit/1",
        "n2/ack",
    ]
    signs = parse_signs([root + key for key in keys] + ["elsewhere/n1/ack"], root)
    assert [(sign.node, sign.kind, sign.key.removeprefix(root)) for sign in signs] == [
        ("n1", "ack", "n1/ack"),
        ("n2", "ack", "n2/ack"),
        ("n1", "out", "n1/out/00000"),
        ("n1", "out", "n1/out/00001"),
        ("n1", "exit", "n1/exit"),
    ]


def test_the_job_that_is_uploaded_is_one_that_agents_read(store: KvAgent, run: Any) -> None:
    values: list[bytes] = []
    store.on_event = lambda _name, payload: values.append(
        getattr(store.entry(f"_rexec/{json.loads(payload)['Session']}/job"), "value", b"")
    )
    run("exec", *QUICK, "-shell=false", "a", "b")
    assert parse_job(values[0]).args == ("a", "b")
