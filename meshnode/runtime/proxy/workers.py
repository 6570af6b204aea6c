"""Several processes that share a proxy's ports (SO_REUSEPORT), and one parent that knows what all of them have open.

Each worker is a whole proxy with its own connections to the agent: the parent passes no bytes and holds no
certificate. On a pipe to each worker go requests, one JSON object a line, and answers come back in order:
``report`` (what the agent is told), ``apply`` (a configuration), ``cut`` (one connection), ``stop``. Signals are the
parent's to handle: a terminal sends them to all. A worker whose parent is gone drains and ends. Sessions are resumed
within one worker only: ticket keys are its own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import pickle
import signal
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import uvloop

from meshnode.base.errors import ConfigError, MeshError
from meshnode.proxy.config import ProxyConfig, diff
from meshnode.proxy.report import merge
from meshnode.runtime.proxy.dial import listen
from meshnode.runtime.proxy.host import log
from meshnode.runtime.proxy.sidecar import Sidecar
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["MAX_WORKERS", "SidecarFactory", "Workers"]

MAX_WORKERS: Final = 64
#: One answer; a report is bounded and takes less than a megabyte, unless names are very long.
MAX_LINE_BYTES: Final = 16 * 1024 * 1024
#: Ids of connections left to each life of a worker: one that is started again goes on above.
IDS_PER_LIFE: Final = 1_000_000
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
    """The parent. ``start``, then ``apply``, ``report`` and ``cut`` at will, then ``stop``."""

    def __init__(self, factory: SidecarFactory, config: ProxyConfig, count: int) -> None:
        if not 1 <= count <= MAX_WORKERS:
            raise MeshError(f"{count} workers can't be started: 1 to {MAX_WORKERS}")
        self._factory = factory
        self._config = config
        self._count = count
        self._workers: dict[int, _Worker] = {}
        self._keeping: asyncio.Task[None] | None = None
        self._stopping: list[_Worker] = []
        self._lives: Counter[int] = Counter()

    async def start(self) -> None:
        """Returns once every worker listens. Raises :class:`MeshError` with the reason of one that doesn't."""
        _require_free(None, self._config)
        try:
            for number in range(1, self._count + 1):
                await self._start_worker(number)
        except BaseException:
            await self.stop(drain_timeout=0.0)
            raise
        self._keeping = spawn(self._keep(), name="proxy workers")

    async def apply(self, config: ProxyConfig) -> None:
        """Change the listeners of every worker to ``config``.

        Raises :class:`ConfigError` when one can't listen; the old configuration stays in force with all of them then.
        """
        _require_free(self._config, config)
        before, self._config = self._config, config
        failures = [answer["failed"] for answer in await self._apply_all(config) if answer.get("failed")]
        if failures:
            self._config = before
            await self._apply_all(before)
            raise ConfigError(failures[0])

    async def _apply_all(self, config: ProxyConfig) -> list[dict[str, Any]]:
        return await self._ask_all(_apply_request(config))

    async def report(self) -> dict[str, Any]:
        """What the agent is told of all workers together (``meshnode.proxy.report``); empty when none answers."""
        answers = [answer["report"] for answer in await self._ask_all({"ask": "report"})]
        return merge([answer for answer in answers if answer])

    async def cut(self, connection: int, cause: str) -> bool:
        """End one live connection. Says whether it lived."""
        answers = await self._ask_all({"ask": "cut", "id": connection, "cause": cause})
        return any(answer["cut"] for answer in answers)

    async def stop(self, *, drain_timeout: float = 10.0) -> None:
        """Let every worker drain, and end those that don't."""
        await cancel_and_wait(self._keeping)
        self._keeping = None
        workers = self._stopping = list(self._workers.values())
        self._workers.clear()
        await asyncio.gather(*(self._stop_worker(worker, drain_timeout) for worker in workers))

    def hurry(self) -> None:
        """End the draining of a ``stop`` that is under way, by killing who still drains."""
        for worker in self._stopping:
            worker.process.kill()

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
        """Returns when it listens, which may be long: without an agent there is no certificate."""
        ours, theirs = socket.socketpair()
        spawning = multiprocessing.get_context("spawn")
        config, life = self._config, self._lives[number]
        self._lives[number] += 1
        first_id = number + self._count * IDS_PER_LIFE * life
        process = spawning.Process(
            target=_work,
            args=(theirs, self._factory, config, first_id, self._count),
            name=f"proxy worker {number}",
            daemon=True,
        )
        await asyncio.to_thread(process.start)
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE_BYTES)
        worker = _Worker(number, process, reader, writer, asyncio.Lock())
        try:
            first = await self._read(worker, None)
            if not first.get("failed") and self._config != config:
                first = await self._ask(worker, _apply_request(self._config), ANSWER_TIMEOUT)
        except BaseException:
            process.kill()
            await self._end(worker)
            raise
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
                except (MeshError, OSError) as error:
                    log.error("worker %d can't be started: %s", number, error)
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
        # To its end, whoever gives up waiting: its answer would be taken for that to the next request.
        asking = spawn(self._exchange(worker, request, timeout), name=f"request to worker {worker.number}")
        answer: dict[str, Any] | MeshError | OSError = await asyncio.shield(asking)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _exchange(
        self, worker: _Worker, request: dict[str, Any], timeout: float
    ) -> dict[str, Any] | MeshError | OSError:
        async with worker.lock:
            try:
                worker.writer.write(json.dumps(request).encode() + b"\n")
                return await self._read(worker, timeout)
            except (MeshError, OSError) as error:
                return error

    async def _read(self, worker: _Worker, timeout: float | None) -> dict[str, Any]:
        try:
            async with asyncio.timeout(timeout):
                line = await worker.reader.readline()
        except TimeoutError:
            # Its answers would be taken for those to later questions.
            worker.process.kill()
            raise MeshError(f"no answer within {timeout:g} s") from None
        if not line:
            raise MeshError("it ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _apply_request(config: ProxyConfig) -> dict[str, Any]:
    # Between processes of one program, over a pipe that nobody else has: pickle is what their start uses too.
    return {"ask": "apply", "config": base64.b64encode(pickle.dumps(config)).decode()}


def _require_free(old: ProxyConfig | None, new: ProxyConfig) -> None:
    """Raise :class:`ConfigError` when a new address is in use: another proxy's sockets might share its port."""
    for settings in diff(old, new).start:
        ours = {item.bind.port for item in (old.listeners() if old else ())}
        if settings.bind.path or settings.bind.port in {0, *ours}:
            continue
        try:
            listen(settings.bind, backlog=1, shared=False).close()
        except OSError as error:
            raise ConfigError(
                f"{settings.name} can't listen on {settings.bind}: {error.strerror or error}"
            ) from None


def _applied(sidecar: Sidecar, pickled: str) -> str:
    """Why the configuration can't be used; empty when it is in force."""
    config: ProxyConfig = pickle.loads(base64.b64decode(pickled))
    try:
        sidecar.apply(config)
    except ConfigError as error:
        return str(error)
    return ""


def _work(
    pipe: socket.socket, factory: SidecarFactory, config: ProxyConfig, first_id: int, id_step: int
) -> None:
    """A worker's process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(pipe, factory, config, first_id, id_step))


async def _serve(
    pipe: socket.socket, factory: SidecarFactory, config: ProxyConfig, first_id: int, id_step: int
) -> None:
    reader, writer = await asyncio.open_connection(sock=pipe, limit=MAX_LINE_BYTES)
    sidecar = factory(first_id, id_step)

    def answer(body: dict[str, Any]) -> None:
        writer.write(json.dumps(body).encode() + b"\n")

    # Nobody asks before the start is answered: what comes first is the end of the pipe, or the first request after it.
    asking = spawn(reader.readline(), name="request to the worker")
    starting = spawn(_started(sidecar, config), name="start of the worker")
    await asyncio.wait([asking, starting], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        await cancel_and_wait(starting)
        return
    failure = starting.result()
    answer({"failed": failure})
    if failure:
        await cancel_and_wait(asking)
        await writer.drain()
        return
    while line := await asking:
        request = json.loads(line)
        match request["ask"]:
            case "report":
                answer({"report": sidecar.report()})
            case "apply":
                answer({"failed": _applied(sidecar, request["config"])})
            case "cut":
                answer({"cut": sidecar.cut(request["id"], request["cause"])})
            case "stop":
                await sidecar.stop(drain_timeout=request["drain_timeout"])
                answer({"stopped": True})
                await writer.drain()
                return
        asking = spawn(reader.readline(), name="request to the worker")
    await sidecar.stop()


async def _started(sidecar: Sidecar, config: ProxyConfig) -> str:
    """Why it can't start; empty when it listens."""
    try:
        await sidecar.start(config)
    except MeshError as error:
        return str(error)
    return ""
