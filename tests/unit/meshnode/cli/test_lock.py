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

from meshnode.lock.mutex import MUTEX_FLAGS
from meshnode.lock.semaphore import SEMAPHORE_FLAGS
from tests.support.kv_agent import KvAgent, kv_agent
from tests.support.processes import is_gone

TIMEOUT = 20.0
KEY = "svc/web/.lock"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[KvAgent]:
    with kv_agent() as agent:
        monkeypatch.setenv("CONSUL_HTTP_ADDR", agent.address)
        monkeypatch.delenv("CONSUL_HTTP_TOKEN", raising=False)
        yield agent


class Locking:
    """``lock`` commands as processes of their own; each child waits for its gate, a FIFO, to be opened."""

    def __init__(self, store: KvAgent, directory: Path) -> None:
        self.store = store
        self.log = directory / "log"
        self.log.touch()
        self.directory = directory
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, name: str, *flags: str, child: str = "") -> subprocess.Popen[str]:
        """A child that writes that it has begun, waits for ``open(name)``, and writes that it ends."""
        gate = self.directory / name
        os.mkfifo(gate)
        script = child or f"echo +{name} >> {self.log}; cat {gate}; echo -{name} >> {self.log}"
        return self.run(*flags, "svc/web", script)

    def run(self, *args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "meshnode", "lock", *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def open(self, name: str) -> None:
        """Let a child go on; waits until it stands at its gate."""
        (self.directory / name).write_text("")

    def lines(self) -> list[str]:
        return self.log.read_text().split()

    def held(self) -> None:
        """Wait until somebody holds the lock."""
        self.store.await_state(lambda: bool((entry := self.store.entry(KEY)) and entry.session), TIMEOUT)

    def contenders(self, count: int) -> None:
        self.store.await_state(lambda: len(self.store.sessions()) == count, TIMEOUT)


@pytest.fixture
def locking(store: KvAgent, tmp_path: Path) -> Iterator[Locking]:
    found = Locking(store, tmp_path)
    yield found
    for process in found.processes:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def test_the_child_runs_while_the_lock_is_held_and_nothing_is_left_behind(locking: Locking) -> None:
    process = locking.start("a", child="")
    locking.held()
    entry = locking.store.entry(KEY)
    assert entry is not None
    assert entry.flags == MUTEX_FLAGS
    (session,) = locking.store.sessions()
    assert (session.ttl, session.behavior) == ("15s", "release")
    assert session.name.startswith("Consul lock for 'echo +a")
    assert session.name.endswith("at 'svc/web'")
    locking.open("a")
    assert process.wait(TIMEOUT) == 0
    assert locking.lines() == ["+a", "-a"]
    assert (locking.store.keys(), locking.store.sessions()) == ([], [])


def test_two_commands_never_run_their_children_at_a_time(locking: Locking) -> None:
    first = locking.start("a")
    locking.held()
    second = locking.start("b")
    locking.contenders(2)
    assert locking.lines() in ([], ["+a"])
    locking.open("a")
    assert first.wait(TIMEOUT) == 0
    locking.open("b")
    assert second.wait(TIMEOUT) == 0
    assert locking.lines() == ["+a", "-a", "+b", "-b"]
    assert locking.store.keys() == []


def test_a_semaphore_lets_as_many_in_as_it_says_and_the_next_when_one_leaves(locking: Locking) -> None:
    processes = {name: locking.start(name, "-n=2") for name in ("a", "b")}
    locking.store.await_state(lambda: len(holders(locking.store)) == 2, TIMEOUT)
    entry = locking.store.entry(KEY)
    assert entry is not None
    assert (entry.flags, json.loads(entry.value)["Limit"], entry.session) == (SEMAPHORE_FLAGS, 2, "")
    processes["c"] = locking.start("c", "-n=2")
    locking.contenders(3)
    locking.open("b")
    assert processes["b"].wait(TIMEOUT) == 0
    locking.open("c")
    assert processes["c"].wait(TIMEOUT) == 0
    assert "-a" not in locking.lines()
    assert locking.lines().index("-b") < locking.lines().index("+c")
    locking.open("a")
    assert processes["a"].wait(TIMEOUT) == 0
    assert (locking.store.keys(), locking.store.sessions()) == ([], [])


def holders(store: KvAgent) -> dict[str, bool]:
    entry = store.entry(KEY)
    return dict(json.loads(entry.value)["Holders"]) if entry is not None else {}


def test_contenders_have_to_agree_on_the_limit(locking: Locking) -> None:
    first = locking.start("a", "-n=2")
    locking.store.await_state(lambda: len(holders(locking.store)) == 1, TIMEOUT)
    second = locking.start("b", "-n=3")
    _, errors = second.communicate(timeout=TIMEOUT)
    assert second.returncode == 1
    assert "Lock acquisition failed: semaphore limit conflict (lock: 2, local: 3)" in errors
    locking.open("a")
    assert first.wait(TIMEOUT) == 0


@pytest.mark.parametrize("flags", [(), ("-n=2",)])
def test_a_lock_that_is_lost_ends_the_child_and_all_that_it_started(
    locking: Locking, flags: tuple[str, ...]
) -> None:
    pids = locking.directory / "pids"
    script = f"cat {locking.directory / 'never'} & echo $! > {pids}; cat {locking.directory / 'a'}; wait"
    os.mkfifo(locking.directory / "never")
    process = locking.start("a", *flags, child=script)
    locking.open("a")
    (session,) = locking.store.sessions()
    locking.store.expire(session.id)
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert errors.startswith("Lock lost, the child was ended: ")
    assert is_gone(int(pids.read_text()))


def test_a_second_signal_kills_a_child_that_ignores_the_first(locking: Locking) -> None:
    ready, never = locking.directory / "a", locking.directory / "b"
    os.mkfifo(never)
    script = f"trap '' TERM; echo ready > {ready}; while :; do read x < {never}; done"
    process = locking.start("a", "-verbose", child=script)
    assert ready.read_text() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert "Shutdown triggered, killing child\n" in iter(process.stdout.readline, "")
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT) == 0
    assert locking.store.sessions() == []


def test_an_interrupt_is_passed_on_and_the_lock_given_back(locking: Locking) -> None:
    ready, never = locking.directory / "a", locking.directory / "b"
    os.mkfifo(never)
    trap = f"trap 'echo told >> {locking.log}; exit 3' INT TERM"
    script = f"{trap}; echo on > {ready}; while :; do read x < {never}; done"
    process = locking.start("a", "-child-exit-code", child=script)
    assert ready.read_text() == "on\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT) == 2
    assert locking.lines() == ["told"]
    assert (locking.store.keys(), locking.store.sessions()) == ([], [])


def test_waiting_ends_with_its_timeout_and_leaves_no_session(locking: Locking, run: Any) -> None:
    first = locking.start("a")
    locking.held()
    done = run("lock", "-timeout=300ms", "svc/web", "true")
    assert (done.code, done.out) == (1, "")
    assert done.err == "Shutdown triggered or timeout during lock acquisition\n"
    assert len(locking.store.sessions()) == 1
    locking.open("a")
    assert first.wait(TIMEOUT) == 0


@pytest.mark.parametrize(
    ("flags", "child", "code"),
    [
        ((), "exit 7", 0),
        (("-child-exit-code",), "exit 7", 2),
        (("-child-exit-code",), "exit 0", 0),
        (("-child-exit-code",), "kill -9 $$", 2),
        ((), "test $CONSUL_LOCK_HELD = true && exit 0", 0),
        (("-child-exit-code",), "test $CONSUL_LOCK_HELD = true", 0),
    ],
)
def test_exit_codes(store: KvAgent, run: Any, flags: tuple[str, ...], child: str, code: int) -> None:
    assert run("lock", *flags, "svc/web", child).code == code
    assert (store.keys(), store.sessions()) == ([], [])


def test_without_a_shell_the_arguments_are_the_programs(store: KvAgent, run: Any) -> None:
    done = run("lock", "-shell=false", "svc/web", "echo", "$HOME", "a  b")
    assert (done.code, done.out) == (0, "$HOME a  b\n")
    done = run("lock", "-shell=false", "svc/web", "/no/such/program")
    assert (done.code, done.err) == (
        1,
        "Error executing handler: can't run '/no/such/program': No such file or directory\n",
    )
    assert (store.keys(), store.sessions()) == ([], [])


def test_standard_input_is_the_childs_only_when_asked_for(store: KvAgent) -> None:
    def output(*flags: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "meshnode", "lock", *flags, "svc/web", "cat"],
            input="words", capture_output=True, text=True, timeout=TIMEOUT, check=True,
        ).stdout  # fmt: skip

    assert output() == ""
    assert output("-pass-stdin") == "words"


def test_verbose_tells_each_step(store: KvAgent, run: Any) -> None:
    assert run("lock", "-verbose", "svc/web", "true").out.splitlines() == [
        "Attempting lock acquisition",
        "Starting handler " + repr(f"{os.environ.get('SHELL') or '/bin/sh'} -c true"),
        "Child terminated, releasing lock",
        "Cleanup succeeded",
    ]


def test_a_key_that_is_used_for_something_else_is_left_alone(store: KvAgent, run: Any) -> None:
    from meshnode.control.command import KvPut

    store.apply(KvPut(KEY, b"mine", 0))
    for flags, use in (((), "lock"), (("-n=2",), "semaphore")):
        done = run("lock", *flags, "svc/web", "true")
        assert done.code == 1
        assert f"Lock acquisition failed: existing key does not match {use} use" in done.err
    entry = store.entry(KEY)
    assert entry is not None
    assert entry.value == b"mine"
    assert store.sessions() == []


def test_a_refusal_says_what_failed(store: KvAgent, run: Any) -> None:
    store.broken["/v1/session/create"] = (403, "Permission denied")
    done = run("lock", "svc/web", "true")
    assert (done.code, done.err) == (
        1,
        "Lock setup failed: failed to create session: Unexpected response code: 403 (Permission denied)\n",
    )
    store.broken = {"/v1/kv/": (500, "rpc error making call: No cluster leader")}
    done = run("lock", "svc/web", "true")
    assert done.err == (
        "Lock acquisition failed: failed to read lock: Unexpected response code: 500 "
        "(rpc error making call: No cluster leader)\n"
    )
    assert store.sessions() == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["svc/web"], "Key prefix and child command must be specified"),
        (["-n=0", "svc/web", "true"], "Lock holder limit must be positive"),
        (["-monitor-retry=-1", "svc/web", "true"], "must be >= 0"),
        (["-timeout=-1s", "svc/web", "true"], "Timeout must be positive"),
        (["-try=0s", "svc/web", "true"], "Timeout must be positive"),
        (["-try=1s", "-timeout=1s", "svc/web", "true"], "give one of them"),
        (["/", "true"], "the prefix is empty"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    store: KvAgent, run: Callable[..., Any], args: list[str], words: str
) -> None:
    done = run("lock", *args)
    assert (done.code, done.out, store.sessions()) == (1, "", [])
    assert words in done.err
