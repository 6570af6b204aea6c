"""Runs the managed proxies of this agent's services: starts them, starts them again, ends them with their service.

With a data directory they outlive the agent, so that a restart of it breaks no connection: ``proxy/snapshot.json`` has
those that run, and the next run takes over what is still there. With ``-dev`` they end with the agent.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from meshnode.agent.local_changes import LocalChanges
from meshnode.agent.managed_tokens import ManagedTokens
from meshnode.base.errors import MeshError
from meshnode.local.definitions import ManagedProxy
from meshnode.local.managed import HEALTHY_AFTER, document_hash, proxy_document, restart_delay
from meshnode.local.state import LocalState
from meshnode.runtime.child import ChildError, run_program
from meshnode.runtime.daemon import Daemon, adopt_daemon, start_daemon
from meshnode.runtime.json_file import load_record, write_record
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["Launcher", "ManagedProxies", "ManagedSettings", "Process"]

_log = logging.getLogger("meshnode.agent.proxy")
#: Of the output of a script, the last that is logged.
MAX_SCRIPT_OUTPUT: Final = 4096
MAX_FILE_NAME_CHARS: Final = 120


class Process(Protocol):
    """A process that runs: :class:`~meshnode.runtime.daemon.Daemon`."""

    @property
    def pid(self) -> int:
        """Its id."""

    @property
    def started(self) -> int:
        """When it began, in clock ticks."""

    async def wait(self) -> int | None:
        """Its exit code, when it has ended."""

    async def end(self) -> None:
        """End it; return when it is gone."""


class Launcher(Protocol):
    """What starts and finds processes."""

    def start(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        stdout: Path | None,
        stderr: Path | None,
    ) -> Process:
        """Raises :class:`~meshnode.runtime.child.ChildError`."""

    def adopt(self, pid: int, started: int) -> Process | None:
        """A process of an earlier run, if it is there."""


class _Daemons:
    def start(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        stdout: Path | None,
        stderr: Path | None,
    ) -> Daemon:
        return start_daemon(arguments, environment, stdout, stderr)

    def adopt(self, pid: int, started: int) -> Daemon | None:
        return adopt_daemon(pid, started)


@dataclass(frozen=True, slots=True)
class ManagedSettings:
    """``environment`` is what every proxy gets, without its token; ``directory`` is ``None`` with ``-dev``.

    ``refusal``: why none is run at all, empty: they are.
    """

    environment: Mapping[str, str]
    directory: Path | None
    refusal: str = ""


@dataclass(slots=True, eq=False)
class _Running:
    proxy_id: str
    proxy: ManagedProxy
    process: Process | None = None
    task: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class ManagedProxies:
    """``start`` first, ``stop`` last. ``clock`` is monotonic seconds, ``sleep`` waits between failures."""

    def __init__(
        self,
        state: LocalState,
        changes: LocalChanges,
        settings: ManagedSettings,
        *,
        clock: Callable[[], float],
        launcher: Launcher | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.tokens = ManagedTokens(state)
        self._state: Final = state
        self._changes: Final = changes
        self._settings: Final = settings
        self._clock: Final = clock
        self._launcher: Final[Launcher] = launcher or _Daemons()
        self._sleep: Final = sleep
        self._running: dict[str, _Running] = {}
        #: What runs since an earlier run and nobody has taken over: its record, and the process.
        self._adopted: dict[str, tuple[Mapping[str, Any], Process]] = {}
        self._refused: set[str] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Take over what an earlier run left, and follow the services from now on."""
        self._restore()
        self._unsubscribe = self._changes.subscribe(self._wake.set)
        self._task = spawn(self._follow(), name="managed proxies")

    async def stop(self) -> None:
        """Look after them no more; end them when nobody could find them again."""
        self._unsubscribe()
        if self._task is None:
            return
        await cancel_and_wait(self._task)
        running = list(self._running.values())
        if self._settings.directory is None:
            await asyncio.gather(*(self._end(one) for one in running))
        else:
            self._save()
            await cancel_and_wait(*(one.task for one in running))
        self._running.clear()

    @property
    def pids(self) -> dict[str, int]:
        """Proxy id -> process id, of those that run now."""
        return {one.proxy_id: one.process.pid for one in self._running.values() if one.process is not None}

    async def _follow(self) -> None:
        while True:
            self._wake.clear()
            await self._reconcile()
            await self._wake.wait()

    async def _reconcile(self) -> None:
        wanted = self._wanted()
        self.tokens.keep(wanted)
        ends, self._refused = [], self._refused & wanted.keys()
        for proxy_id, one in list(self._running.items()):
            proxy = wanted.get(proxy_id)
            if proxy is None or _launch(proxy) != _launch(one.proxy):
                ends.append(self._end(self._running.pop(proxy_id)))
            elif proxy != one.proxy:
                one.proxy = proxy
                one.changed.set()
        kept = set() if self._settings.refusal else wanted.keys()
        ends += [self._adopted.pop(proxy_id)[1].end() for proxy_id in self._adopted.keys() - kept]
        if ends:
            # A successor wants the port: it comes after its predecessor is gone.
            await asyncio.gather(*ends)
        for proxy_id, proxy in wanted.items():
            if proxy_id not in self._running:
                self._begin(proxy_id, proxy)
        self._save()

    def _wanted(self) -> dict[str, ManagedProxy]:
        entries = (entry.definition for entry in self._state.service_entries.values() if not entry.deleted)
        return {one.id: one.managed for one in entries if one.managed is not None}

    def _begin(self, proxy_id: str, proxy: ManagedProxy) -> None:
        if self._settings.refusal:
            if proxy_id not in self._refused:
                self._refused.add(proxy_id)
                _log.error('the managed proxy "%s" is not started: %s', proxy_id, self._settings.refusal)
            return
        one = self._running[proxy_id] = _Running(proxy_id, proxy)
        run = self._script(one) if proxy.exec_mode == "script" else self._daemon(one)
        one.task = spawn(run, name=f"managed proxy {proxy_id}")

    async def _end(self, one: _Running) -> None:
        await cancel_and_wait(one.task)
        if one.process is not None:
            _log.info('ending the managed proxy "%s", process %d', one.proxy_id, one.process.pid)
            await one.process.end()

    # Kinds

    async def _daemon(self, one: _Running) -> None:
        failures = 0
        while True:
            began = self._clock()
            try:
                one.process = await self._take_over(one) or self._launch(one)
            except ChildError as error:
                reason = str(error)
            else:
                self._save()
                code = await one.process.wait()
                one.process = None
                reason = "it has ended" if code is None else f"it ended with exit code {code}"
            failures = 1 if self._clock() - began >= HEALTHY_AFTER else failures + 1
            delay = restart_delay(failures)
            _log.error('managed proxy "%s": %s: started again in %gs', one.proxy_id, reason, delay)
            await self._sleep(delay)

    def _launch(self, one: _Running) -> Process:
        process = self._launcher.start(
            one.proxy.command, self._environment(one.proxy_id), *self._logs(one.proxy_id)
        )
        stderr = self._logs(one.proxy_id)[1]
        where = (
            f"its log is {stderr}"
            if stderr is not None
            else "its output is dropped: there is no data directory"
        )
        _log.info('managed proxy "%s" started, process %d; %s', one.proxy_id, process.pid, where)
        return process

    async def _take_over(self, one: _Running) -> Process | None:
        """The process of an earlier run, unless it was started in another way than it would be now."""
        if one.proxy_id not in self._adopted:
            return None
        record, process = self._adopted.pop(one.proxy_id)
        if record.get("LaunchKey") == self._launch_key(one.proxy):
            _log.info('managed proxy "%s" runs already, process %d', one.proxy_id, process.pid)
            return process
        await process.end()
        return None

    async def _script(self, one: _Running) -> None:
        failures = 0
        while True:
            one.changed.clear()
            try:
                ended = await run_program(
                    one.proxy.command,
                    environment=self._environment(one.proxy_id),
                    input_data=json.dumps(self._document(one.proxy_id)).encode(),
                    max_output_bytes=MAX_SCRIPT_OUTPUT,
                )
            except ChildError as error:
                reason = str(error)
            else:
                _log.debug('script of proxy "%s": %s', one.proxy_id, ended.output.decode(errors="replace"))
                reason = f"exit code {ended.code}" if ended.code else ""
            if not reason:
                failures = 0
                await one.changed.wait()
                continue
            failures += 1
            delay = restart_delay(failures)
            _log.error('the script of proxy "%s" failed: %s: run again in %gs', one.proxy_id, reason, delay)
            await self._sleep(delay)

    def _document(self, proxy_id: str) -> dict[str, Any]:
        entry = self._state.service(proxy_id)
        document = proxy_document(entry.definition) if entry is not None else None
        return {} if document is None else {**document, "ContentHash": document_hash(document)}

    def _environment(self, proxy_id: str) -> dict[str, str]:
        token = self.tokens.of(proxy_id)
        names = ("CONSUL_HTTP_TOKEN", "CONSUL_PROXY_TOKEN", "CONNECT_PROXY_TOKEN")
        own = {"CONSUL_PROXY_ID": proxy_id, "CONNECT_PROXY_ID": proxy_id, **dict.fromkeys(names, token)}
        return {**self._settings.environment, **own}

    def _logs(self, proxy_id: str) -> tuple[Path | None, Path | None]:
        directory = self._settings.directory
        if directory is None:
            return None, None
        name = _file_name(proxy_id)
        return directory / "logs" / f"{name}-stdout.log", directory / "logs" / f"{name}-stderr.log"

    # What the next run has to know

    def _launch_key(self, proxy: ManagedProxy) -> str:
        """Equal for processes that run the same command against the same API; it tells neither.

        What else is in the environment differs from one start of the agent to the next (``INVOCATION_ID``).
        """
        ours = {
            name: value for name, value in self._settings.environment.items() if name.startswith("CONSUL_")
        }
        text = json.dumps([proxy.command, sorted(ours.items())])
        return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()

    def _snapshot(self) -> Path | None:
        directory = self._settings.directory
        return None if directory is None else directory / "snapshot.json"

    def _save(self) -> None:
        path = self._snapshot()
        if path is None:
            return
        proxies = {
            proxy_id: {"Mode": "daemon", "Config": row} for proxy_id, (row, _) in self._adopted.items()
        }
        proxies |= {
            one.proxy_id: {
                "Mode": "daemon",
                "Config": {
                    "Pid": one.process.pid,
                    "Started": one.process.started,
                    "Command": list(one.proxy.command),
                    "LaunchKey": self._launch_key(one.proxy),
                    "ProxyToken": self.tokens.of(one.proxy_id),
                },
            }
            for one in self._running.values()
            if one.process is not None
        }
        try:
            write_record(path, {"Version": 1, "Proxies": proxies}, durable=False)
        except MeshError as error:
            _log.error("managed proxies that run now would not be found after a restart: %s", error)

    def _restore(self) -> None:
        path = self._snapshot()
        proxies = load_record(path).get("Proxies") if path is not None else None
        for proxy_id, row in (proxies if isinstance(proxies, dict) else {}).items():
            config = row.get("Config") if isinstance(row, dict) else None
            known = config if isinstance(config, dict) else {}
            pid, started, token = known.get("Pid"), known.get("Started"), known.get("ProxyToken")
            if not (isinstance(pid, int) and isinstance(started, int) and isinstance(token, str) and token):
                _log.warning(
                    'managed proxy "%s" of an earlier run is passed over: its record is damaged', proxy_id
                )
                continue
            process = self._launcher.adopt(pid, started)
            if process is not None:
                self.tokens.restore({proxy_id: token})
                self._adopted[proxy_id] = known, process


def _launch(proxy: ManagedProxy) -> tuple[str, tuple[str, ...]]:
    """What a change of means another process; everything else a proxy finds out by itself."""
    return proxy.exec_mode, proxy.command


def _file_name(proxy_id: str) -> str:
    """``proxy_id`` itself where a file may be called so."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", proxy_id)[:MAX_FILE_NAME_CHARS]
    if name == proxy_id and not name.startswith("."):
        return name
    return f"{name.lstrip('.')}-{hashlib.sha256(proxy_id.encode('utf-8', 'replace')).hexdigest()[:8]}"
