"""A server made of an engine, a replica and a batcher, whose state machine is a list; and one as a process."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from meshnode.control.log import Entry, LeadershipChange, Log, LogHaltedError, Snapshot
from meshnode.runtime.log_batcher import BatchLimits, LogBatcher
from meshnode.runtime.log_replica import LogReplica
from tests.support.waiting import until

__all__ = ["Server", "WriterProcess", "read_log", "serving"]

ROOT = Path(__file__).parents[2]


@dataclass
class Server:
    """``state`` is every command in order; a result is the command's place in it, which is its index."""

    log: Log
    replica: LogReplica
    batcher: LogBatcher
    state: list[bytes]
    entries: list[Entry] = field(default_factory=list)
    changes: list[LeadershipChange] = field(default_factory=list)
    halts: list[LogHaltedError] = field(default_factory=list)

    @property
    def leads(self) -> bool:
        return self.log.leadership.leader == self.log.node_id

    @property
    def epoch(self) -> int:
        return self.log.leadership.epoch

    async def lead(self) -> int:
        await self.log.campaign()
        await until(lambda: self.leads, f"{self.log.node_id} leads", interval=0.01)
        return self.epoch

    def snapshot(self) -> Snapshot:
        return Snapshot(self.replica.applied, msgpack.packb(self.state))


def _server(log: Log, limits: BatchLimits | None, fail_on: bytes | None) -> Server:
    state: list[bytes] = []
    entries: list[Entry] = []
    halts: list[LogHaltedError] = []

    def apply(entry: Entry) -> Sequence[int]:
        if fail_on is not None and fail_on in entry.commands:
            raise RuntimeError("a bug")
        entries.append(entry)
        state.extend(entry.commands)
        return range(len(state) - len(entry.commands) + 1, len(state) + 1)

    def restore(snapshot: Snapshot) -> None:
        state[:] = msgpack.unpackb(snapshot.data)
        assert len(state) == snapshot.index

    replica = LogReplica(log, apply, restore, halts.append)
    server = Server(log, replica, LogBatcher(log, replica, limits), state, entries, halts=halts)
    log.subscribe(server.changes.append)
    return server


@contextlib.asynccontextmanager
async def serving(
    log: Log, limits: BatchLimits | None = None, *, fail_on: bytes | None = None, campaign: bool = True
) -> AsyncIterator[Server]:
    """A running server, stopped in the right order whatever happens; leads when it returns, if it is to stand."""
    server = _server(log, limits, fail_on)
    try:
        await log.start()
        await server.replica.start()
        server.batcher.start()
        if campaign:
            await server.lead()
        yield server
    finally:
        await server.batcher.stop()
        await server.replica.stop()
        await log.stop()


async def read_log(log: Log, after: int = 0) -> list[Entry]:
    """All that is in ``log`` after index ``after``."""
    entries: list[Entry] = []
    last = await log.barrier()
    if last <= after:
        return entries
    async with aclosing(log.follow(after)) as feed:
        async for entry in feed:
            entries.append(entry)
            if entry.last >= last:
                break
    return entries


@dataclass
class WriterProcess:
    """``tests.support.log_writer`` as a process of its own; ``history`` is what it was told, as we heard it."""

    settings: dict[str, Any]
    process: subprocess.Popen[bytes] = field(init=False)
    acknowledged: dict[bytes, int] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "tests.support.log_writer", json.dumps(self.settings)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not line.endswith(b"\n"):
                break  # killed while it wrote: we have not been told
            word, *rest = line.decode().split()
            if word == "ack":
                self.acknowledged[rest[0].encode()] = int(rest[1])
                self.times.append(time.monotonic())
            else:
                self.events.append(line.decode().strip())

    @property
    def leads(self) -> bool:
        states = [event for event in self.events if event.startswith(("leading", "following"))]
        return bool(states) and states[-1].startswith("leading")

    def send(self, how: signal.Signals) -> None:
        self.process.send_signal(how)

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it, and hear all that it had said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
        self.process.wait(30)
        self._reader.join(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


def check_history(entries: list[Entry], acknowledged: dict[bytes, int]) -> dict[str, int]:
    """No hole, no partial batch, nothing acknowledged is lost or at another index, nothing is there twice."""
    found: dict[bytes, int] = {}
    expected = entries[0].index if entries else 1
    epoch = 0
    for entry in entries:
        assert entry.index == expected, "a hole in the log"
        assert entry.epoch >= epoch, "an old leader wrote after a new one"
        epoch = entry.epoch
        for position, command in enumerate(entry.commands):
            assert command not in found, f"{command!r} was written twice"
            found[command] = entry.index + position
        expected = entry.last + 1
    lost = {command: index for command, index in acknowledged.items() if found.get(command) != index}
    assert not lost, (
        f"{len(lost)} acknowledged writes are lost or elsewhere, such as {next(iter(lost.items()))}"
    )
    return {"acknowledged": len(acknowledged), "in the log": len(found), "entries": len(entries)}


Condition = Callable[[], Any]
