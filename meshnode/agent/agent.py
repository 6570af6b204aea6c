"""One agent: its parts, the order in which they start and stop, and what changes while it runs."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from meshnode.agent.config import Loaded, compare
from meshnode.agent.describe import describe_agent
from meshnode.agent.leadership import Leadership
from meshnode.agent.perform import Performer
from meshnode.agent.plan import GossipPlan, gossip_plan, http_listeners, http_settings
from meshnode.agent.pool import Pool
from meshnode.agent.retry_join import RetryJoin
from meshnode.agent.server_calls import ServerCalls, ServerEndpoints
from meshnode.agent.state_file import files_digest
from meshnode.agent.user_events import UserEvents
from meshnode.agent.view import View
from meshnode.base.address import Address
from meshnode.base.errors import MeshError
from meshnode.base.metrics import Metrics
from meshnode.control.servers import ServerInfo
from meshnode.gossip.serf.events import (
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberUpdated,
    NameConflictLost,
    UserEventReceived,
)
from meshnode.gossip.serf.serf import Serf
from meshnode.http.api import Api
from meshnode.runtime.gossip_shell import GossipShell
from meshnode.runtime.http_server import HttpServer
from meshnode.runtime.keyring_file import open_keyring
from meshnode.runtime.logs import LogHub, parse_level
from meshnode.runtime.rpc_client import RpcClient
from meshnode.runtime.rpc_server import RpcServer
from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.runtime.tls import TlsContexts
from meshnode.runtime.tls_certificate import summarize
from meshnode.runtime.tls_channel import PeerCertificates
from meshnode.runtime.tls_explain import Side, explain

__all__ = ["Agent"]

_log = logging.getLogger("meshnode.agent")
_serf_log = logging.getLogger("meshnode.serf")
#: Seconds that a leave may take (Consul's gracefulTimeout).
LEAVE_TIMEOUT = 15.0
#: Seconds given to requests in progress when the agent stops.
STOP_TIMEOUT = 3.0

_MEMBERSHIP = {
    MemberJoined: "EventMemberJoin",
    MemberLeft: "EventMemberLeave",
    MemberFailed: "EventMemberFailed",
    MemberUpdated: "EventMemberUpdate",
    MemberReaped: "EventMemberReap",
}


class Agent:
    """``start`` first; ``stopped`` is set when the agent has to exit; ``stop`` last, always."""

    def __init__(self, loaded: Loaded, node_id: str, logs: LogHub, load: Callable[[], Loaded]) -> None:
        config, identity = loaded.config, loaded.config.identity
        self.config = config
        self.config_digest = files_digest(loaded.files)
        self.node_id = node_id
        self.stopped = asyncio.Event()
        self.left = False
        self._logs = logs
        self._load = load
        self._rng = random.Random(secrets.randbits(64))
        self.tls = TlsContexts(config.tls_settings())
        self.metrics = Metrics(asyncio.get_running_loop().time())
        self.lan = self._pool(gossip_plan(config, node_id, wan=False), self._lan_event)
        has_wan = identity.server and config.ports.serf_wan > 0
        self.wan = self._pool(gossip_plan(config, node_id, wan=True), self._wan_event) if has_wan else None
        self.leadership = Leadership(self._own_servers, node_id) if identity.server else None
        self.events = UserEvents(identity.node_name, dict)
        self.client = RpcClient(tls=self.tls)
        self.calls = ServerCalls(self.client, self._servers_of, self._rng, identity.datacenter)
        self.endpoints = (
            ServerEndpoints(self.leadership.view, self._fire, identity.datacenter)
            if self.leadership
            else None
        )
        self.rpc = (
            RpcServer(self.endpoints.handle, tls=self.tls, metrics=self.metrics)
            if self.endpoints is not None
            else None
        )
        self.view = View(
            node_name=identity.node_name,
            datacenter=identity.datacenter,
            lan=self.lan,
            wan=self.wan,
            leadership=self.leadership,
            events=self.events.buffer,
            metrics=self.metrics,
            settings=http_settings(config),
            describe=lambda: describe_agent(self),
        )
        performer = Performer(
            datacenter=identity.datacenter,
            lan=self.lan,
            wan=self.wan,
            endpoints=self.endpoints,
            calls=self.calls,
            events=self.events,
            logs=logs,
            leave=self.leave,
            reload=self.reload,
        )
        self.http = HttpServer(Api(self.view, self._rng), performer.perform, explain=self._explain_https)
        self._joining: list[asyncio.Task[Any]] = []
        self._flooding: set[str] = set()
        #: Called after each reload that was applied.
        self.on_reload: Callable[[], None] | None = None

    # Life

    async def start(self) -> None:
        """Bind every port, join; raises :class:`MeshError` naming what could not be done, with nothing left open."""
        try:
            if self.rpc is not None:
                bind = Address(self.config.addresses.bind, self.config.ports.server)
                await self.rpc.start(*bind)
            await self.lan.start()
            if self.wan is not None:
                await self.wan.start()
            self._membership_changed()
            await self.http.listen(*http_listeners(self.config, self._https_context))
            await self._join_at_start()
        except BaseException:
            await self.stop()
            raise

    async def _join_at_start(self) -> None:
        for pool, join in ((self.lan, self.config.join.lan), (self.wan, self.config.join.wan)):
            if pool is None:
                continue
            if join.start:
                result = await pool.shell.join(list(join.start))
                if result.joined == 0:
                    raise MeshError(f"failed to join {', '.join(join.start)}: {'; '.join(result.errors)}")
            if join.retry:
                retry = RetryJoin(pool, join.retry, join.interval, join.max_attempts, self._give_up)
                self._joining.append(spawn(retry.run(), name=f"retry-join {'WAN' if pool.wan else 'LAN'}"))

    def _give_up(self, reason: str) -> None:
        _log.error("%s", reason)
        self.stopped.set()

    async def leave(self) -> None:
        """Leave both pools, then ask to be stopped."""
        _log.info("Gracefully leaving the cluster")
        for pool in filter(None, (self.wan, self.lan)):
            if not await pool.shell.leave(LEAVE_TIMEOUT):
                _log.warning("the %s pool did not hear of our leave in time", "WAN" if pool.wan else "LAN")
        self.left = True
        self.stopped.set()

    async def stop(self) -> None:
        """Close everything, in the reverse order of the start. Safe to call again."""
        await cancel_and_wait(*self._joining)
        await self.http.stop(STOP_TIMEOUT)
        if self.rpc is not None:
            await self.rpc.stop(STOP_TIMEOUT)
        await self.client.close()
        for pool in filter(None, (self.wan, self.lan)):
            await pool.shell.stop()

    async def reload(self) -> None:
        """Read the configuration again and apply what may change; a bad one is an error and changes nothing."""
        loaded = await asyncio.to_thread(self._load)
        config = loaded.config
        self.tls.reload(config.tls_settings())
        self._logs.set_level(parse_level(config.logging.level))
        self.view.settings = http_settings(config)
        for pool in filter(None, (self.lan, self.wan)):
            pool.shell.set_verification(config.gossip.verify_incoming, config.gossip.verify_outgoing)
        for key in compare(self.config, config).needs_restart:
            _log.warning("reload: %s takes effect only after a restart", key)
        self.config = config
        self.config_digest = files_digest(loaded.files)
        if self.on_reload is not None:
            self.on_reload()
        _log.info("configuration reloaded")

    # Parts

    def _pool(self, plan: GossipPlan, on_event: Callable[[object], None]) -> Pool:
        def make(address: Address) -> Serf:
            return Serf(
                name=plan.name,
                address=address,
                tags=plan.tags,
                config=plan.serf,
                keyring=open_keyring(plan.keyring_path, plan.encrypt),
                rng=random.Random(secrets.randbits(64)),
                entropy=secrets.token_bytes,
                refuse_member=plan.refuse_member,
            )

        shell = GossipShell(
            make,
            plan.bind,
            advertise=plan.advertise,
            keyring_path=plan.keyring_path,
            snapshot_path=plan.snapshot_path,
            on_event=on_event,
            logger=logging.getLogger("meshnode.serf.wan" if plan.wan else "meshnode.serf.lan"),
        )
        return Pool(shell, wan=plan.wan)

    def _own_servers(self) -> Sequence[ServerInfo]:
        return [server for server in self.lan.servers if server.datacenter == self.config.identity.datacenter]

    def _servers_of(self, datacenter: str) -> Sequence[ServerInfo]:
        if datacenter == self.config.identity.datacenter:
            return self._own_servers()
        return [server for server in self.wan.servers if server.datacenter == datacenter] if self.wan else []

    def _fire(self, name: str, payload: bytes) -> None:
        self.lan.shell.user_event(name, payload, coalesce=False)

    def _https_context(self) -> ssl.SSLContext:
        profile = self.tls.incoming_https()
        if profile is None:
            raise MeshError("HTTPS needs cert_file and key_file")
        return profile.context

    def _explain_https(self, tls: ssl.SSLObject | None, error: Exception, peer: str) -> str:
        profile = self.tls.incoming_https()
        side = profile.side if profile is not None else Side(server=True, expected=(), own=None)
        shown = tls.shown() if isinstance(tls, PeerCertificates) else ()
        return str(explain(error, peer, side, summarize(shown[0]) if shown else None, presented=bool(shown)))

    # Gossip

    def _lan_event(self, event: object) -> None:
        if isinstance(event, UserEventReceived):
            self.events.receive(event)
        else:
            self._pool_event(self.lan, event)

    def _wan_event(self, event: object) -> None:
        assert self.wan is not None
        self._pool_event(self.wan, event)

    def _pool_event(self, pool: Pool, event: object) -> None:
        kind = _MEMBERSHIP.get(type(event))
        if kind is not None:
            pool.changed()
            for member in getattr(event, "members", ()):
                _serf_log.info("%s: %s %s", kind, member.name, member.address.host)
            self._membership_changed()
        elif isinstance(event, NameConflictLost):
            _log.error(
                "another node is called %s and the cluster sides with it: change node_name", event.name
            )
            self.stopped.set()

    def _membership_changed(self) -> None:
        if self.leadership is not None:
            self.leadership.refresh()
        self.metrics.set_gauge("consul.serf.lan.members", len(self.lan.members), self.view.now)
        self._flood_wan()

    def _flood_wan(self) -> None:
        """Servers that met on the LAN meet on the WAN too (Consul's flood join)."""
        if self.wan is None:
            return
        known = {member.name for member in self.wan.members}
        for server in self._own_servers():
            name = f"{server.name}.{server.datacenter}"
            if server.alive and server.wan_port and name not in known and name not in self._flooding:
                self._flooding.add(name)
                address = str(Address(server.rpc.host, server.wan_port))
                self._joining.append(spawn(self._flood_one(name, address), name=f"wan flood {name}"))
        self._joining = [task for task in self._joining if not task.done()]

    async def _flood_one(self, name: str, address: str) -> None:
        assert self.wan is not None
        try:
            result = await self.wan.shell.join([address])
            if not result.joined:
                _log.debug("WAN join of %s at %s failed: %s", name, address, "; ".join(result.errors))
        finally:
            self._flooding.discard(name)
