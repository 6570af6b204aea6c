from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent import remote_exec
from meshnode.agent.remote_exec import MAX_JOBS, RemoteExec, ServerJobStore
from meshnode.base.errors import MeshError
from tests.support.asynchronous import asynchronous

TIMEOUT = 20.0
EVENT = b'{"Prefix":"_rexec","Session":"s1"}'
ROOT = "_rexec/s1/"


class Store:
    """Keys in memory; ``refuse`` says what a write answers."""

    def __init__(self, **job: Any) -> None:
        self.keys = {ROOT + "job": json.dumps({"Wait": 10**10, **job}).encode()}
        self.session_alive = True
        self.failures = 0
        self.changed = asyncio.Condition()

    async def read(self, key: str) -> bytes | None:
        return self.keys.get(key)

    async def write(self, key: str, value: bytes, session: str) -> bool:
        assert session == "s1"
        if self.failures:
            self.failures -= 1
            raise MeshError("No cluster leader")
        if not self.session_alive:
            raise MeshError("rpc error making call: invalid session 's1'")
        async with self.changed:
            self.keys[key] = value
            self.changed.notify_all()
        return True

    async def until(self, name: str) -> str:
        """Wait for a key of node n1; its value."""
        async with asyncio.timeout(TIMEOUT), self.changed:
            await self.changed.wait_for(lambda: f"{ROOT}n1/{name}" in self.keys)
        return self.keys[f"{ROOT}n1/{name}"].decode()

    def output(self) -> str:
        return b"".join(self.keys[key] for key in sorted(self.keys) if "/out/" in key).decode()


@asynchronous
async def test_a_job_is_acknowledged_run_and_its_exit_code_told() -> None:
    store = Store(Command="echo out; echo err >&2; exit 4")
    RemoteExec("n1", store).handle_event(EVENT)
    assert await store.until("exit") == "4"
    assert list(store.keys) == [ROOT + key for key in ("job", "n1/ack", "n1/out/00000", "n1/exit")]
    assert (store.keys[ROOT + "n1/ack"], store.output()) == (b"", "out\nerr\n")


@asynchronous
async def test_arguments_run_without_a_shell_and_a_script_as_a_file_that_is_removed() -> None:
    store = Store(Args=["echo", "$HOME"])
    RemoteExec("n1", store).handle_event(EVENT)
    await store.until("exit")
    assert store.output() == "$HOME\n"
    # echo $0; stat -c %a $0
    store = Store(Script="IyEvYmluL3NoCmVjaG8gJDA7IHN0YXQgLWMgJWEgJDAK")
    RemoteExec("n1", store).handle_event(EVENT)
    assert await store.until("exit") == "0"
    path, mode = store.output().split()
    assert (mode, Path(path).exists()) == ("750", False)


@asynchronous
async def test_what_can_not_be_started_is_exit_code_255_with_the_reason() -> None:
    store = Store(Args=["/no/such/program"])
    RemoteExec("n1", store).handle_event(EVENT)
    assert await store.until("exit") == "255"
    assert store.output() == "can't run '/no/such/program': No such file or directory\n"


@asynchronous
async def test_long_output_comes_in_numbered_chunks() -> None:
    store = Store(Command="seq 1 3000")
    RemoteExec("n1", store).handle_event(EVENT)
    await store.until("exit")
    assert store.output() == "".join(f"{number}\n" for number in range(1, 3001))
    chunks = [key for key in store.keys if "/out/" in key]
    assert chunks == [f"{ROOT}n1/out/{number:05x}" for number in range(len(chunks))]
    assert all(len(store.keys[key]) == 4096 for key in chunks[:-1])


@asynchronous
async def test_a_job_killed_by_a_signal_has_the_code_that_shells_give() -> None:
    store = Store(Command="kill -9 $$")
    RemoteExec("n1", store).handle_event(EVENT)
    assert await store.until("exit") == "137"


@asynchronous
async def test_a_program_left_in_the_background_does_not_keep_the_job_open_and_lives_on(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "never")
    store = Store(Command=f"cat {tmp_path / 'never'} & echo $!")
    RemoteExec("n1", store).handle_event(EVENT)
    assert await store.until("exit") == "0"
    os.kill(int(store.output()), 9)


@asynchronous
async def test_the_end_of_the_session_kills_the_job(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "never")
    store = Store(Command=f"echo $$; exec cat {tmp_path / 'never'}", Wait=200_000_000)
    responder = RemoteExec("n1", store)
    responder.handle_event(EVENT)
    descriptor = os.pidfd_open(int(await store.until("out/00000")))
    store.session_alive = False
    await ended(descriptor)


@asynchronous
async def test_stopping_kills_the_jobs_and_waits_for_them(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "never")
    store = Store(Command=f"echo $$; exec cat {tmp_path / 'never'}")
    responder = RemoteExec("n1", store)
    responder.handle_event(EVENT)
    descriptor = os.pidfd_open(int(await store.until("out/00000")))
    await responder.stop()
    await ended(descriptor)
    assert f"{ROOT}n1/exit" not in store.keys


async def ended(descriptor: int) -> None:
    done = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, done.set)
    await asyncio.wait_for(done.wait(), TIMEOUT)
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)


@asynchronous
async def test_a_write_is_tried_again_while_there_is_no_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_exec, "WRITE_RETRY_INTERVAL", 0.0)
    store = Store(Command="true")
    store.failures = remote_exec.WRITE_ATTEMPTS - 1
    RemoteExec("n1", store).handle_event(EVENT)
    assert await store.until("exit") == "0"


@asynchronous
async def test_what_is_wrong_is_logged_and_nothing_is_run(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store = Store(Command="true")
    responder = RemoteExec("n1", store)
    responder.handle_event(b"{}")
    assert "remote exec dropped" in caplog.text
    responder.handle_event(b'{"Prefix":"_rexec","Session":"other"}')
    await settled()
    assert "there is no job at _rexec/other/job" in caplog.text
    store.keys[ROOT + "job"] = b"nonsense"
    responder.handle_event(EVENT)
    await settled()
    assert "is not JSON" in caplog.text
    assert list(store.keys) == [ROOT + "job"]


async def settled() -> None:
    """Wait until no remote execution is under way."""
    tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith("remote exec")]
    await asyncio.wait_for(asyncio.gather(*tasks), TIMEOUT)


@asynchronous
async def test_a_flood_of_events_starts_no_more_jobs_than_the_bound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(tmp_path / "never")
    store = Store(Command=f"exec cat {tmp_path / 'never'}")
    responder = RemoteExec("n1", store)
    for _ in range(MAX_JOBS):
        responder.handle_event(EVENT)
    assert "dropped" not in caplog.text
    responder.handle_event(EVENT)
    assert f"remote exec dropped: {MAX_JOBS} jobs are running already" in caplog.text
    await responder.stop()


@asynchronous
async def test_the_servers_store_speaks_consuls_rpcs() -> None:
    calls: list[tuple[str, Mapping[str, Any], str]] = []
    replies: list[Any] = [{"Entries": [{"Value": b"v"}]}, {"Entries": []}, {"Entries": None}, True, False]

    async def call(method: str, body: Mapping[str, Any], datacenter: str, *, repeatable: bool) -> Any:
        assert repeatable
        calls.append((method, body, datacenter))
        return replies.pop(0)

    store = ServerJobStore(call, "dc1", "token")
    assert [await store.read("a/job") for _ in range(3)] == [b"v", None, None]
    assert [await store.write("a/ack", b"x", "s1") for _ in range(2)] == [True, False]
    assert calls[0] == ("KVS.Get", {"Datacenter": "dc1", "Key": "a/job", "Token": "token"}, "dc1")
    entry = {"Key": "a/ack", "Value": b"x", "Session": "s1"}
    assert calls[3] == (
        "KVS.Apply",
        {"Datacenter": "dc1", "Op": "lock", "DirEnt": entry, "Token": "token"},
        "dc1",
    )
