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
from pathlib import Path

from meshnode import CONSUL_API_VERSION
from meshnode.agent.agent import Agent
from meshnode.agent.config.load import Loaded, load
from meshnode.agent.node_id import load_node_id
from meshnode.agent.state_file import RunningState, files_digest, package_digest, remove_state, write_state
from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import HelpRequested
from meshnode.runtime.logs import LogHub, parse_level
from meshnode.runtime.notify import notify_systemd
from meshnode.runtime.tasks import spawn

__all__ = ["run"]

_log = logging.getLogger("meshnode.agent")
#: Exit codes: left gracefully; stopped without leaving, or never started.
LEFT, STOPPED = 0, 1


def run(args: list[str]) -> int:
    """Run until a signal, a leave or a fatal error; exit code 0 only after a graceful leave."""
    try:
        loaded = load(args, os.environ)
    except HelpRequested:
        raise
    except MeshError as error:
        print(f"==> {error}", file=sys.stderr)
        return STOPPED
    print("==> Starting Consul agent...", flush=True)
    logs = _start_logging(loaded)
    for warning in loaded.warnings:
        print(f"==> {warning}", flush=True)
    try:
        return _new_runner().run(_Command(args, loaded, logs).main())
    except MeshError as error:
        print(f"==> Error starting agent: {error}", file=sys.stderr, flush=True)
        return STOPPED


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
        self._forced = asyncio.Event()
        self._leaving: asyncio.Task[None] | None = None

    async def main(self) -> int:
        """Start, wait, stop."""
        config = self._loaded.config
        node_id = load_node_id(config.identity.node_id, config.identity.data_dir)
        agent = Agent(self._loaded, node_id, self._logs, lambda: load(self._args, os.environ))
        await agent.start()
        agent.on_reload = lambda: self._report(agent)
        # What lives now lives as long as the agent: collections need not look at it again.
        gc.collect()
        gc.freeze()
        self._watch_signals(agent)
        try:
            self._write_pid(config.process.pid_file)
            print(self._banner(node_id), flush=True)
            self._report(agent)
            notify_systemd("READY=1", f"STATUS={config.identity.node_name} is running")
            await self._until_stopped(agent)
        finally:
            notify_systemd("STOPPING=1")
            await agent.stop()
            self._clean_up(config.process.pid_file)
        return LEFT if agent.left and not self._forced.is_set() else STOPPED

    async def _until_stopped(self, agent: Agent) -> None:
        waits = [spawn(event.wait(), name="stop") for event in (agent.stopped, self._forced)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _watch_signals(self, agent: Agent) -> None:
        loop = asyncio.get_running_loop()
        process = agent.config.process
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup, agent)
        loop.add_signal_handler(
            signal.SIGINT, self._on_stop, agent, "interrupt", not process.skip_leave_on_interrupt
        )
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
            notify_systemd("READY=1")

        _log.info("Caught signal: hangup")
        spawn(reload(), name="reload")

    def _on_stop(self, agent: Agent, name: str, leaves: bool) -> None:
        _log.info("Caught signal: %s", name)
        if self._leaving is not None or not leaves:
            # A second signal does not wait for the leave that is under way.
            self._forced.set()
            return
        self._leaving = spawn(agent.leave(), name="leave")

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

    def _banner(self, node_id: str) -> str:
        config = self._loaded.config
        identity, ports, tls = config.identity, config.ports, config.tls
        segment = "<all>" if identity.server else ""
        clients = " ".join(config.addresses.client)
        encrypt = (config.gossip.encrypt is not None, tls.verify_outgoing, tls.verify_incoming_rpc)
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
