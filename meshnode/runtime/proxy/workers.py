"""Several processes that share a proxy's ports (SO_REUSEPORT), and one parent that knows what all of them have open.

Each worker is a whole proxy with its own connections to the agent: the parent passes no bytes and holds no
certificate. On a pipe to each worker go requests, one JSON object a line, and answers come back in order:
``report`` (ledger and counters), ``cut`` (one connection), ``stop``. A worker whose parent is gone drains and ends.
Sessions are resumed within one worker only: ticket keys are its own.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import uvloop

from meshnode.base.errors import MeshError
from meshnode.proxy.config import ProxyConfig
from meshnode.runtime.proxy.host import log
from meshnode.runtime.proxy.sidecar import Sidecar
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["MAX_WORKERS", "SidecarFactory", "Workers"]

MAX_WORKERS: Final = 64
#: One answer; a ledger of 16 384 connections takes about 8 MiB.
MAX_LINE_BYTES: Final = 64 * 1024 * 1024
#: Seconds that a worker has for an answer.
ANSWER_TIMEOUT: Final = 5.0
#: Seconds until a worker that ended is started again.
RESTART_INTERVAL: Final = 1.0

#: Makes the proxy of one worker, inside its process: (first id, step of ids) -> proxy that shares its ports.
#: It has to be a function of a module: a new interpreter imports it.
SidecarFactory: TypeAlias = Callable[[int, int], Sidecar]


@dataclass(slots=True)
class _Worker:
    number: int
    process: Any
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    lock: asyncio.Lock


class Workers:
    """The parent. ``start``, then ``report`` and ``cut`` at will, then ``stop``."""

    def __init__(self, factory: SidecarFactory, config: ProxyConfig, count: int) -> None:
        if not 1 <= count <= MAX_WORKERS:
            raise MeshError(f"{count} workers can't be started: 1 to {MAX_WORKERS}")
        self._factory = factory
        self._config = config
        self._count = count
        self._workers: dict[int, _Worker] = {}
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once every worker listens. Raises :class:`MeshError` with the reason of one that doesn't."""
        try:
            for number in range(1, self._count + 1):
                await self._start_worker(number)
        except BaseException:
            await self.stop(drain_timeout=0.0)
            raise
        self._keeping = spawn(self._keep(), name="proxy workers")

    async def report(self) -> tuple[list[dict[str, Any]], dict[str, int]]:
        """Live connections of all workers, by id, and the sums of their counters."""
        connections: list[dict[str, Any]] = []
        counters: Counter[str] = Counter()
        for answer in await self._ask_all({"ask": "report"}):
            connections += answer["connections"]
            counters.update(answer["counters"])
        return sorted(connections, key=lambda entry: int(entry["id"])), dict(counters)

    async def cut(self, connection: int, cause: str) -> bool:
        """End one live connection. Says whether it lived."""
        answers = await self._ask_all({"ask": "cut", "id": connection, "cause": cause})
        return any(answer["cut"] for answer in answers)

    async def stop(self, *, drain_timeout: float = 10.0) -> None:
        """Let every worker drain, and end those that don't."""
        await cancel_and_wait(self._keeping)
        self._keeping = None
        workers = list(self._workers.values())
        self._workers.clear()
        await asyncio.gather(*(self._stop_worker(worker, drain_timeout) for worker in workers))

    async def _stop_worker(self, worker: _Worker, drain_timeout: float) -> None:
        try:
            await self._ask(
                worker, {"ask": "stop", "drain_timeout": drain_timeout}, drain_timeout + ANSWER_TIMEOUT
            )
        except (MeshError, OSError) as error:
            log.warning("worker %d did not stop: %s", worker.number, error)
        await self._end(worker)

    async def _end(self, worker: _Worker) -> None:
        worker.writer.close()
        await asyncio.to_thread(worker.process.join, ANSWER_TIMEOUT)
        if worker.process.is_alive():
            worker.process.kill()
            await asyncio.to_thread(worker.process.join)

    async def _start_worker(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        spawning = multiprocessing.get_context("spawn")
        process = spawning.Process(
            target=_work,
            args=(theirs, self._factory, self._config, number, self._count),
            name=f"proxy worker {number}",
            daemon=True,
        )
        await asyncio.to_thread(process.start)
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE_BYTES)
        worker = _Worker(number, process, reader, writer, asyncio.Lock())
        first = await self._read(worker, 60.0)
        if failure := first.get("failed"):
            await self._end(worker)
            raise MeshError(f"worker {number}: {failure}")
        self._workers[number] = worker

    async def _keep(self) -> None:
        """Start again what ended."""
        while True:
            await asyncio.sleep(RESTART_INTERVAL)
            for number, worker in list(self._workers.items()):
                if worker.process.is_alive():
                    continue
                log.error("worker %d ended with %s: starting another", number, worker.process.exitcode)
                del self._workers[number]
                worker.writer.close()
                try:
                    await self._start_worker(number)
                except MeshError as error:
                    log.error("%s", error)
                    self._workers[number] = worker

    async def _ask_all(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        workers = list(self._workers.values())
        answers = await asyncio.gather(
            *(self._ask(worker, request, ANSWER_TIMEOUT) for worker in workers), return_exceptions=True
        )
        for worker, answer in zip(workers, answers, strict=True):
            if isinstance(answer, BaseException):
                log.warning("worker %d does not answer: %s", worker.number, answer)
        return [answer for answer in answers if isinstance(answer, dict)]

    async def _ask(self, worker: _Worker, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        async with worker.lock:
            worker.writer.write(json.dumps(request).encode() + b"\n")
            return await self._read(worker, timeout)

    async def _read(self, worker: _Worker, timeout: float) -> dict[str, Any]:
        try:
            line = await asyncio.wait_for(worker.reader.readline(), timeout)
        except TimeoutError:
            # Its answers would be taken for those to later questions.
            worker.process.kill()
            raise MeshError(f"no answer within {timeout:g} s") from None
        if not line:
            raise MeshError("it ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _work(pipe: socket.socket, factory: SidecarFactory, config: ProxyConfig, number: int, count: int) -> None:
    """A worker's process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(pipe, factory, config, number, count))


async def _serve(
    pipe: socket.socket, factory: SidecarFactory, config: ProxyConfig, number: int, count: int
) -> None:
    reader, writer = await asyncio.open_connection(sock=pipe, limit=MAX_LINE_BYTES)

    def answer(body: dict[str, Any]) -> None:
        writer.write(json.dumps(body).encode() + b"\n")

    sidecar = factory(number, count)
    try:
        await sidecar.start(config)
    except MeshError as error:
        answer({"failed": str(error)})
        await writer.drain()
        return
    answer({"started": True})
    while line := await reader.readline():
        request = json.loads(line)
        match request["ask"]:
            case "report":
                entries = [entry.as_dict() for entry in sidecar.ledger.live()]
                answer({"connections": entries, "counters": sidecar.counters()})
            case "cut":
                answer({"cut": sidecar.cut(request["id"], request["cause"])})
            case "stop":
                await sidecar.stop(drain_timeout=request["drain_timeout"])
                answer({"stopped": True})
                await writer.drain()
                return
    await sidecar.stop()
