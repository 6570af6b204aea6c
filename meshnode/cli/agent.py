"""``agent``: run an agent in the foreground until it leaves or is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from meshnode import CONSUL_API_VERSION
from meshnode.agent.agent import Agent
from meshnode.agent.config.load import Loaded, load
from meshnode.agent.config.model import AgentConfig
from meshnode.agent.data_dir import hold_data_dir
from meshnode.agent.node_id import load_node_id
from meshnode.agent.state_file import RunningState, files_digest, package_digest, remove_state, write_state
from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import HelpRequested
from meshnode.runtime.logs import LogHub, parse_level
from meshnode.runtime.notify import notify_systemd
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["banner", "run"]

_log = logging.getLogger("meshnode.agent")
#: Exit codes: left gracefully; stopped without leaving, or never started.
LEFT, STOPPED = 0, 1


def run(args: list[str]) -> int:
    """Run until a signal, a leave or a fatal error; exit code 0 only after a graceful leave."""
    try:
        loaded = load(args, os.environ)
        logs = _start_logging(loaded)
    except HelpRequested:
        raise
    except MeshError as error:
        print(f"==> {error}", file=sys.stderr)
        return STOPPED
    print("==> Starting Consul agent...", flush=True)
    for warning in loaded.warnings:
        print(f"==> {warning}", flush=True)
    logs.hold_lines()
    try:
        with hold_data_dir(loaded.config.identity.data_dir):
            return _new_runner().run(_Command(args, loaded, logs).main())
    except MeshError as error:
        logs.release_lines()
        print(f"==> Error starting agent: {error}", file=sys.stderr, flush=True)
        return STOPPED
    finally:
        logs.release_lines()
        logs.close()


def _new_runner() -> asyncio.Runner:
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _start_logging(loaded: Loaded) -> LogHub:
    wanted = loaded.config.logging
    logs = LogHub(parse_level(wanted.level), as_json=wanted.as_json)
    if wanted.file:
        logs.add_file(wanted.file, wanted.rotate_bytes, wanted.rotate_duration, wanted.rotate_max_files)
    if wanted.syslog:
        logs.add_syslog(wanted.syslog_facility)
    logs.install()
    return logs


class _Command:
    """One run of the command: the agent, and the signals, files and notices around it."""

    def __init__(self, args: list[str], loaded: Loaded, logs: LogHub) -> None:
        self._args = args
        self._loaded = loaded
        self._logs = logs
        self._started_at = time.time()
        self._running = False
        self._forced = asyncio.Event()
        self._leaving = False

    async def main(self) -> int:
        """Start, wait, stop."""
        config = self._loaded.config
        node_id = load_node_id(config.identity.node_id, config.identity.data_dir)
        agent = Agent(self._loaded, node_id, self._logs, lambda: load(self._args, os.environ))
        self._watch_signals(agent)
        if not await self._start(agent):
            return STOPPED
        self._running = True
        agent.on_reload = lambda: self._report(agent)
        # What lives now lives as long as the agent: collections need not look at it again.
        gc.collect()
        gc.freeze()
        try:
            self._write_pid(config.process.pid_file)
            print(banner(config, node_id, encrypted=agent.lan.shell.serf.keyring is not None), flush=True)
            self._logs.release_lines()
            self._report(agent)
            notify_systemd("READY=1", f"STATUS={config.identity.node_name} is running")
            await self._first(agent.stopped, self._forced)
        finally:
            notify_systemd("STOPPING=1")
            await agent.stop()
            self._clean_up(config.process.pid_file)
        return LEFT if agent.left and not self._forced.is_set() else STOPPED

    async def _start(self, agent: Agent) -> bool:
        """Start the agent, or return false when a signal came first; raises what kept it from starting."""
        starting = spawn(_quietly(agent.start()), name="start")
        forced = spawn(self._forced.wait(), name="stop")
        await asyncio.wait([starting, forced], return_when=asyncio.FIRST_COMPLETED)
        await cancel_and_wait(forced)
        if not starting.done():
            await cancel_and_wait(starting)
            return False
        if (error := starting.result()) is not None:
            raise error
        return True

    async def _first(self, *events: asyncio.Event) -> None:
        waits = [spawn(event.wait(), name="stop") for event in events]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        await cancel_and_wait(*waits)

    def _watch_signals(self, agent: Agent) -> None:
        loop = asyncio.get_running_loop()
        process = agent.config.process
        leaves_on_interrupt = not process.skip_leave_on_interrupt
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup, agent)
        loop.add_signal_handler(signal.SIGINT, self._on_stop, agent, "interrupt", leaves_on_interrupt)
        loop.add_signal_handler(
            signal.SIGTERM, self._on_stop, agent, "terminated", process.leave_on_terminate
        )

    def _on_hangup(self, agent: Agent) -> None:
        async def reload() -> None:
            notify_systemd("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                await agent.reload()
            except MeshError as error:
                _log.error("reload failed, the old configuration stays in force: %s", error)
            finally:
                notify_systemd("READY=1")

        _log.info("Caught signal: hangup")
        if self._running:
            spawn(reload(), name="reload")

    def _on_stop(self, agent: Agent, name: str, leaves: bool) -> None:
        if self._leaving:
            _log.info("Caught second signal: %s. Exiting", name)
        else:
            _log.info("Caught signal: %s", name)
        if self._leaving or not leaves or not self._running:
            if not self._leaving:
                _log.info("Graceful shutdown disabled. Exiting")
            self._forced.set()
            return
        self._leaving = True
        spawn(agent.leave(), name="leave")

    def _report(self, agent: Agent) -> None:
        directory = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        if not directory:
            return
        tls = agent.config.tls
        state = RunningState(
            pid=os.getpid(),
            version=CONSUL_API_VERSION,
            config_digest=agent.config_digest,
            tls_digest=files_digest(sorted({tls.ca_file, tls.cert_file} - {""})),
            package_digest=package_digest(),
            started_at=self._started_at,
        )
        try:
            write_state(directory, state)
        except OSError as error:
            _log.warning("can't write %s/state.json: %s", directory, error.strerror)

    def _write_pid(self, path: str) -> None:
        if not path:
            return
        try:
            Path(path).write_text(f"{os.getpid()}\n")
        except OSError as error:
            raise ConfigError(f"pid_file: can't write {path}: {error.strerror}", key="pid_file") from None

    def _clean_up(self, pid_file: str) -> None:
        directory = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        if directory:
            remove_state(directory)
        if pid_file:
            with contextlib.suppress(OSError):
                Path(pid_file).unlink()


async def _quietly(starting: Coroutine[Any, Any, None]) -> MeshError | None:
    """Give an expected failure back as a value: it is reported once, by ``run``."""
    try:
        await starting
    except MeshError as error:
        return error
    return None


def banner(config: AgentConfig, node_id: str, *, encrypted: bool) -> str:
    """What Consul's agent prints once it runs; tests and people look for these lines."""
    identity, ports, tls = config.identity, config.ports, config.tls
    segment = "<all>" if identity.server else ""
    clients = " ".join(config.addresses.client)
    encrypt = (encrypted, tls.verify_outgoing, tls.verify_incoming_rpc)
    gossip, outgoing, incoming = (str(value).lower() for value in encrypt)
    server, bootstrap = str(identity.server).lower(), str(identity.bootstrap).lower()
    return "\n".join(
        [
            "==> Consul agent running!",
            f"           Version: 'v{CONSUL_API_VERSION}'",
            f"           Node ID: '{node_id}'",
            f"         Node name: '{identity.node_name}'",
            f"        Datacenter: '{identity.datacenter}' (Segment: '{segment}')",
            f"            Server: {server} (Bootstrap: {bootstrap})",
            f"       Client Addr: [{clients}] (HTTP: {ports.http}, HTTPS: {ports.https}, DNS: {ports.dns})",
            f"      Cluster Addr: {config.addresses.advertise} (LAN: {ports.serf_lan}, WAN: {ports.serf_wan})",
            f"           Encrypt: Gossip: {gossip}, TLS-Outgoing: {outgoing}, TLS-Incoming: {incoming}",
            "",
            "==> Log data will now stream in as it occurs:",
            "",
        ]
    )
