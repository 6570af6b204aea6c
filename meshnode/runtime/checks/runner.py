"""All checks of the agent: started, paced, stopped; what they find goes through their thresholds to a callback.

Each check is one task, so it never overlaps itself; how many are in flight at once is bounded, and the others wait for
their turn. A check that was stopped reports nothing any more, and one that takes its place waits until it has ended.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from meshnode.base.duration import format_duration
from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.later import Later
from meshnode.local.check_alias import AliasSource
from meshnode.local.check_status import CRITICAL, PASSING, Result, StatusGate, bounded_report, first_delay
from meshnode.local.check_type import (
    MIN_INTERVAL,
    AliasCheck,
    CertificateCheck,
    CheckType,
    DockerCheck,
    GrpcCheck,
    H2PingCheck,
    HttpCheck,
    IntervalCheck,
    ScriptCheck,
    TcpCheck,
    TtlCheck,
    UdpCheck,
    effective_interval,
    fault,
)
from meshnode.runtime.checks.clock import Clock
from meshnode.runtime.checks.tls_words import CheckContexts
from meshnode.runtime.checks.ttl import TtlTimer

if TYPE_CHECKING:
    from meshnode.runtime.checks import alias as aliases
    from meshnode.runtime.checks import certificate, docker, grpc, h2ping, http, script, tcp, udp
else:
    # One check of a kind loads what runs that kind.
    aliases = Later("meshnode.runtime.checks.alias")
    certificate = Later("meshnode.runtime.checks.certificate")
    docker = Later("meshnode.runtime.checks.docker")
    grpc = Later("meshnode.runtime.checks.grpc")
    h2ping = Later("meshnode.runtime.checks.h2ping")
    http = Later("meshnode.runtime.checks.http")
    script = Later("meshnode.runtime.checks.script")
    tcp = Later("meshnode.runtime.checks.tcp")
    udp = Later("meshnode.runtime.checks.udp")

__all__ = [
    "DOCKER_SOCKET",
    "MAX_FRAME_BYTES",
    "MAX_IN_FLIGHT",
    "CheckRunners",
    "NotTtlError",
    "OnResult",
    "Spawn",
]

_log = logging.getLogger("meshnode.agent")
DOCKER_SOCKET: Final = "/var/run/docker.sock"
#: Checks that run at the same moment: each may be a process, or a connection or two.
MAX_IN_FLIGHT: Final = 256
#: Bytes of text around the output that a check keeps, such as a URL or a reason that a server gave.
MAX_FRAME_BYTES: Final = 4096

#: Takes a status and the output; called in the event loop, and never after the check was stopped.
OnResult: TypeAlias = Callable[[str, str], None]


class Spawn(Protocol):
    """:func:`meshnode.runtime.tasks.spawn`."""

    def __call__(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run ``coroutine`` as a named task."""


class NotTtlError(MeshError):
    """The check that was updated isn't a TTL check, or there is none of that id."""


@dataclass(slots=True)
class _Watch:
    """One check that was started."""

    key: str
    check: CheckType
    gate: StatusGate
    on_result: OnResult
    timer: TtlTimer | None = None
    task: asyncio.Task[Any] | None = None
    stopped: bool = False
    at_once: bool = False

    def report(self, result: Result) -> None:
        """A result of a run: it counts, and may not be believed yet."""
        if result.status == PASSING:
            _log.debug('Check "%s" is passing', self.key)
        else:
            _log.warning('Check "%s" is now %s', self.key, result.status)
        if (believed := self.gate.admit(result)) is not None:
            self.tell(believed)

    def expire(self, result: Result) -> None:
        """A TTL ran out: there is nothing to count."""
        _log.warning('Check "%s" missed TTL, is now critical', self.key)
        self.tell(result)

    def tell(self, result: Result) -> None:
        """A result that holds. What the callback raises is its own trouble, not the check's."""
        if self.stopped:
            return
        try:
            self.on_result(result.status, result.output)
        except Exception:  # noqa: BLE001 - whatever it is, the check goes on
            _log.exception('what check "%s" found could not be taken in', self.key)


class CheckRunners:
    """Owns every check that runs. All methods are for the event loop's thread."""

    def __init__(
        self,
        spawn: Spawn,
        rng: random.Random,
        clock: Clock,
        tls: CheckContexts,
        *,
        alias: AliasSource,
        docker_socket: str = DOCKER_SOCKET,
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        """``tls`` makes a client context, given whether verification is skipped; it is called in a thread."""
        self._spawn = spawn
        self._rng = rng
        self._clock = clock
        self._tls = tls
        self._alias = alias
        self._docker_socket = docker_socket
        self._slots = asyncio.Semaphore(max_in_flight)
        self._watches: dict[str, _Watch] = {}
        self._ending: dict[str, set[asyncio.Task[Any]]] = {}

    def start(
        self,
        key: str,
        check: CheckType,
        on_result: OnResult,
        *,
        last_output: str = "",
        ttl_remaining: float | None = None,
        at_once: bool = False,
    ) -> None:
        """Run ``check`` from now on under ``key`` (its check id), in place of the one that ran there.

        The first run comes after a random part of the interval, unless ``at_once``. ``last_output`` and
        ``ttl_remaining`` are what a TTL check had before a restart. Raises :class:`ConfigError` for a definition with a
        fault; nothing changes then.
        """
        if problem := fault(check):
            raise ConfigError(problem)
        if isinstance(check, IntervalCheck) and check.interval < MIN_INTERVAL:
            _log.warning("check '%s' has interval below minimum of %s", key, format_duration(MIN_INTERVAL))
        self.stop(key)
        watch = _Watch(key, check, StatusGate(check), on_result, at_once=at_once)
        if isinstance(check, TtlCheck):
            watch.timer = TtlTimer(check, self._clock, remaining=ttl_remaining, last_output=last_output)
        self._watches[key] = watch
        before = frozenset(self._ending.get(key, ()))
        watch.task = self._spawn(self._run(watch, before), name=f"check {key}")

    def stop(self, key: str) -> None:
        """End the check: nothing is reported from now on, its processes are killed. Unknown keys are passed over."""
        watch = self._watches.pop(key, None)
        if watch is None or watch.task is None:
            return
        watch.stopped = True
        watch.task.cancel()
        self._ending.setdefault(key, set()).add(watch.task)
        watch.task.add_done_callback(lambda task: self._ended(key, task))

    async def stop_all(self) -> None:
        """End every check, and return once no process and no connection of any is left."""
        for key in list(self._watches):
            self.stop(key)
        while tasks := [task for ending in self._ending.values() for task in ending]:
            await asyncio.wait(tasks)
            # The callbacks that take ended tasks out run in the next turn of the loop.
            await asyncio.sleep(0)

    def ttl_update(self, key: str, status: str, output: str) -> None:
        """Somebody reports ``status`` for a TTL check: it is reported on, and the TTL starts again.

        Raises :class:`NotTtlError` (Consul's words) when ``key`` isn't a TTL check.
        """
        watch = self._watches.get(key)
        if watch is None or watch.timer is None:
            raise NotTtlError(f'CheckID "{key}" does not have associated TTL')
        watch.report(watch.timer.update(status, output))

    def ttl_remaining(self, key: str) -> float | None:
        """Seconds until a TTL check runs out, to be kept for a restart; ``None`` when ``key`` isn't one."""
        watch = self._watches.get(key)
        return watch.timer.remaining if watch and watch.timer else None

    def _ended(self, key: str, task: asyncio.Task[Any]) -> None:
        ending = self._ending[key]
        ending.discard(task)
        if not ending:
            del self._ending[key]

    async def _run(self, watch: _Watch, before: frozenset[asyncio.Task[Any]]) -> None:
        if before:
            await asyncio.wait(before)
        match watch.check:
            case TtlCheck():
                assert watch.timer is not None, "a TTL check has its timer from the start"
                await watch.timer.run(watch.expire)
            case AliasCheck() as alias:
                await aliases.follow_alias(alias, watch.key, self._alias, self._clock, watch.report)
            case check:
                await self._repeat(watch, check)

    async def _repeat(self, watch: _Watch, check: IntervalCheck) -> None:
        interval = effective_interval(check)
        if not watch.at_once:
            await self._clock.sleep(first_delay(interval, self._rng))
        while True:
            async with self._slots:
                result = await self._attempt(watch)
            text = bounded_report(result.output, check.output_max_size + MAX_FRAME_BYTES)
            watch.report(Result(result.status, text))
            await self._clock.sleep(interval)

    async def _attempt(self, watch: _Watch) -> Result:
        try:
            return await self._probe(watch.check)
        except Exception as error:  # noqa: BLE001 - a failure that the check doesn't know: it is critical
            _log.exception('check "%s" could not be run', watch.key)
            return Result(CRITICAL, f"the check could not be run: {error}")

    async def _probe(self, check: CheckType) -> Result:
        match check:
            case ScriptCheck():
                return await script.check_script(check)
            case HttpCheck():
                return await http.check_http(check, self._tls)
            case TcpCheck():
                return await tcp.check_tcp(check, self._tls)
            case UdpCheck():
                return await udp.check_udp(check)
            case H2PingCheck():
                return await h2ping.check_h2ping(check, self._tls)
            case GrpcCheck():
                return await grpc.check_grpc(check, self._tls)
            case DockerCheck():
                return await docker.check_docker(check, self._docker_socket)
            case CertificateCheck():
                return await certificate.check_certificate(check, self._clock)
            case TtlCheck() | AliasCheck():
                raise AssertionError("these wait for others")
