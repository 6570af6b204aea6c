"""Remote execution, the agent's side: the user event ``_rexec`` runs a job that somebody left in the KV store.

Off unless ``disable_remote_exec`` is false. A job is killed when its session ends (``exec`` was interrupted), when
its answers can't be written, and when the agent stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from meshnode.agent.remote_job import (
    START_FAILED,
    Invitation,
    Job,
    OutputChunks,
    parse_invitation,
    parse_job,
)
from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.runtime.child import TRAILING_OUTPUT_TIMEOUT, Child, ChildError, shell_program, start_program
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["MAX_JOBS", "JobStore", "RemoteExec", "ServerJobStore"]

_log = logging.getLogger("meshnode.agent")
#: Jobs that run at a time; a flood of events starts no more.
MAX_JOBS: Final = 16
#: How often a write is tried while no server answers, and the seconds between: well within a session's TTL.
WRITE_ATTEMPTS: Final = 4
WRITE_RETRY_INTERVAL: Final = 1.0
#: Seconds that a job has to end after SIGTERM.
JOB_GRACE: Final = 2.0
#: More than pipe and reader hold: what comes after is from something that the job left running.
MAX_TRAILING_BYTES: Final = 256 * 1024


class JobStore(Protocol):
    """The KV store, as far as jobs need it. Both raise :class:`MeshError` when no server answers."""

    async def read(self, key: str) -> bytes | None:
        """The value of ``key``, ``None`` when there is none."""

    async def write(self, key: str, value: bytes, session: str) -> bool:
        """Write ``key`` and lock it with ``session``; false when the lock isn't to be had."""


class _Caller(Protocol):
    async def __call__(
        self, method: str, body: Mapping[str, object], datacenter: str, *, repeatable: bool
    ) -> Any:
        """Call a server."""


class ServerJobStore:
    """The store behind the server RPCs ``KVS.Get`` and ``KVS.Apply``."""

    def __init__(self, call: _Caller, datacenter: str, token: str = "") -> None:
        self._call = call
        self._datacenter = datacenter
        self._token = token

    async def read(self, key: str) -> bytes | None:
        """See :class:`JobStore`."""
        body = {"Datacenter": self._datacenter, "Key": key, "Token": self._token}
        reply = await self._call("KVS.Get", body, self._datacenter, repeatable=True)
        entries = reply.get("Entries") if isinstance(reply, dict) else None
        if not entries:
            return None
        value = entries[0].get("Value")
        return value if isinstance(value, bytes) else str(value or "").encode()

    async def write(self, key: str, value: bytes, session: str) -> bool:
        """See :class:`JobStore`."""
        entry = {"Key": key, "Value": value, "Session": session}
        body = {"Datacenter": self._datacenter, "Op": "lock", "DirEnt": entry, "Token": self._token}
        return bool(await self._call("KVS.Apply", body, self._datacenter, repeatable=True))


class _JobLostError(MeshError):
    """Nobody waits for the answers of this job any more."""


class RemoteExec:
    """Runs jobs for ``node``."""

    def __init__(self, node: str, store: JobStore) -> None:
        self._node = node
        self._store = store
        self._running: set[asyncio.Task[None]] = set()

    def handle_event(self, payload: bytes) -> None:
        """A ``_rexec`` event that concerns this node has come; wrong ones are logged and dropped."""
        try:
            invitation = parse_invitation(payload)
        except RemoteProtocolError as error:
            _log.warning("remote exec dropped: %s", error)
            return
        if len(self._running) >= MAX_JOBS:
            _log.warning("remote exec dropped: %d jobs are running already", MAX_JOBS)
            return
        task = spawn(self._serve(invitation), name=f"remote exec {invitation.session}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def stop(self) -> None:
        """Kill every job and wait until it is gone."""
        await cancel_and_wait(*self._running)

    async def _serve(self, invitation: Invitation) -> None:
        try:
            value = await self._store.read(invitation.job_key)
            if value is None:
                raise RemoteProtocolError(f"there is no job at {invitation.job_key}")
            job = parse_job(value)
            await self._write(invitation, "ack", b"")
            _log.info("remote exec: %s", job.summary)
            code = await self._run(invitation, job)
            await self._write(invitation, "exit", str(code).encode())
        except MeshError as error:
            _log.error("remote exec for session %s failed: %s", invitation.session, error)

    async def _write(self, invitation: Invitation, name: str, value: bytes) -> None:
        key = invitation.node_key(self._node, name)
        for attempt in range(1, WRITE_ATTEMPTS + 1):
            try:
                if await self._store.write(key, value, invitation.session):
                    return
                raise _JobLostError(f"{key} can't be locked by session {invitation.session}")
            except _JobLostError:
                raise
            except MeshError as error:
                if attempt == WRITE_ATTEMPTS or "session" in str(error).lower():
                    raise
                await asyncio.sleep(WRITE_RETRY_INTERVAL)

    async def _run(self, invitation: Invitation, job: Job) -> int:
        """Run the job and write its output; returns the exit code."""
        with _program(job) as arguments:
            try:
                child = await start_program(arguments)
            except ChildError as error:
                await self._write(invitation, "out/00000", f"{error}\n".encode())
                return START_FAILED
            finished = False
            try:
                code = await self._follow(invitation, job, child)
                finished = True
            finally:
                # What a finished job left running in the background is meant to stay.
                try:
                    if not finished:
                        await child.end(JOB_GRACE)
                finally:
                    await child.close()
            return code if code >= 0 else 128 - code

    async def _follow(self, invitation: Invitation, job: Job, child: Child) -> int:
        now = asyncio.get_running_loop().time
        chunks = OutputChunks(job.heartbeat_interval, now())
        written = trailing = 0
        exited: asyncio.Task[int] = spawn(child.wait(), name=f"remote exec {invitation.session} exit")

        async def write(values: list[bytes]) -> None:
            nonlocal written
            for value in values:
                await self._write(invitation, f"out/{written:05x}", value)
                written += 1

        try:
            while True:
                patience = TRAILING_OUTPUT_TIMEOUT if exited.done() else max(0.0, chunks.deadline - now())
                try:
                    async with asyncio.timeout(patience):
                        data = await child.read()
                except TimeoutError:
                    if exited.done() and patience == TRAILING_OUTPUT_TIMEOUT:
                        break  # something that it started keeps its output open
                    await write(chunks.handle_timer(now()))
                    continue
                trailing += len(data) if exited.done() else 0
                if not data or trailing > MAX_TRAILING_BYTES:
                    break
                await write(chunks.handle_output(data, now()))
                await write(chunks.handle_timer(now()))
            await write(chunks.finish())
            while not exited.done():
                # It has closed its output and goes on.
                await asyncio.wait({exited}, timeout=max(0.0, chunks.deadline - now()))
                await write([] if exited.done() else chunks.handle_timer(now()))
            return exited.result()
        finally:
            exited.cancel()


@contextlib.contextmanager
def _program(job: Job) -> Iterator[Sequence[str]]:
    """The arguments to run; a script is a file for as long as it runs."""
    if not job.script:
        yield job.args or shell_program(job.command)
        return
    descriptor, path = tempfile.mkstemp(prefix="rexec-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o750)
            file.write(job.script)
        yield (path,)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
