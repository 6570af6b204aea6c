"""One agent: its parts, the order in which they start and stop, and what changes while it runs."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from meshnode.agent import on_demand
from meshnode.agent.access import Access
from meshnode.agent.automation import Automation
from meshnode.agent.config import AgentConfig, Loaded, compare
from meshnode.agent.connect_role import ConnectRole
from meshnode.agent.describe import Description, own_certificates
from meshnode.agent.dns_role import DnsRole
from meshnode.agent.flood_join import FloodJoin
from meshnode.agent.gossip_parts import gossip_shell
from meshnode.agent.leaving import leave_pools
from meshnode.agent.perform import Performer
from meshnode.agent.plan import gossip_plan, http_listeners, http_settings, metric_names, web_page
from meshnode.agent.pool import Pool
from meshnode.agent.pool_events import PoolEvents
from meshnode.agent.reload import reloaded
from meshnode.agent.retry_join import begin_joining
from meshnode.agent.server_calls import ServerCalls
from meshnode.agent.services_role import ServicesRole
from meshnode.agent.state_file import files_digest
from meshnode.agent.tokens import agent_tokens
from meshnode.agent.user_events import UserEvents
from meshnode.agent.view import View
from meshnode.base.address import Address
from meshnode.base.errors import MeshError
from meshnode.base.metrics import Metrics
from meshnode.control.servers import ServerInfo
from meshnode.control.token_bucket import TokenBucket
from meshnode.http.api import Api
from meshnode.http.view import HttpSettings
from meshnode.runtime.http_server import HttpServer
from meshnode.runtime.logs import LogHub, parse_level
from meshnode.runtime.rpc_client import RpcClient
from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.runtime.tls import TlsContexts

if TYPE_CHECKING:
    from meshnode.agent.server_role import ServerRole

__all__ = ["Agent"]

_log = logging.getLogger("meshnode.agent")
#: Seconds given to requests in progress when the agent stops.
STOP_TIMEOUT = 3.0


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
        self._clock = asyncio.get_running_loop().time
        self.metrics = Metrics(self._clock(), metric_names(config))
        self.events = UserEvents(identity.node_name, lambda: self.services.tags())  # noqa: PLW0108 - made below
        told = PoolEvents(self.events.receive, self._membership_changed, self._give_up)
        self.lan = self._pool(told.lan, wan=False)
        self.wan = self._pool(told.wan, wan=True) if identity.server and config.ports.serf_wan > 0 else None
        #: All servers of the LAN pool, and of them those of this datacenter.
        self._sorted_out: tuple[tuple[ServerInfo, ...], tuple[ServerInfo, ...]] = ((), ())
        self.client = RpcClient(tls=self.tls)
        self.calls = self._make_calls()
        self.server = self._server() if identity.server else None
        self.access = Access(
            lambda: self.config.acls,
            agent_tokens(config),
            node_name=identity.node_name,
            datacenter=identity.datacenter,
            local=self.server.rights if self.server is not None else lambda _token: None,
            call=self._call_server,
        )
        self.services = self._make_services()
        self.connect = self._connect_role()
        self.view = self._make_view()
        self._performer = self._make_performer()
        api = Api(self.view, self._rng, proxies=self.services.proxies.tokens, page=web_page(self.config))
        self.http = HttpServer(
            api, self._performer.perform, explain=self.tls.explain_https, begin=self._performer.begin
        )
        self._automation = Automation(
            config,
            api=api,
            performer=self._performer,
            access=self.access,
            events=self.events,
            lan=self.lan,
            connect=self.connect,
            look_again=self.services.services.look_again,
            tls=self.tls,
            rng=self._rng,
        )
        self.dns = self._make_dns()
        if self.server is not None:
            self.server.on_restored = self.dns.forget
        self._servers_seen: frozenset[Address] = frozenset()
        self._joining: list[asyncio.Task[Any]] = []
        self._leaving: asyncio.Task[None] | None = None
        self._reloading = asyncio.Lock()
        self._flood = FloodJoin(self.wan, self._own_servers) if self.wan is not None else None
        #: Called after each reload that was applied.
        self.on_reload: Callable[[], None] | None = None

    # Life

    async def start(self) -> None:
        """Bind every port, join; raises :class:`MeshError` naming what could not be done, with nothing left open."""
        try:
            if self.server is not None:
                await self.server.listen()
            await self.lan.start()
            if self.wan is not None:
                await self.wan.start()
            if self._flood is not None:
                self._joining.append(spawn(self._flood.run(), name="WAN flood join"))
            if self.server is not None:
                await self.server.start()
            self._membership_changed()
            self.services.start()
            await self.http.listen(*http_listeners(self.config, self._https_context))
            self.services.run_proxies()
            await self.dns.start()
            for pool, join in ((self.lan, self.config.join.lan), (self.wan, self.config.join.wan)):
                if pool is not None and (task := await begin_joining(pool, join, self._give_up)) is not None:
                    self._joining.append(task)
            await self._automation.start(self.config)
            self.connect.start()
        except BaseException:
            await self.stop()
            raise

    def _give_up(self, reason: str) -> None:
        _log.error("%s", reason)
        self.stopped.set()

    async def leave(self) -> bool:
        """Leave both pools, then ask to be stopped; false when that took too long. A second call waits as well."""
        if self._leaving is None:
            self._leaving = spawn(self._leave_pools(), name="leave")
        await asyncio.shield(self._leaving)
        return self.left

    async def _leave_pools(self) -> None:
        drain_time = self.config.process.leave_drain_time if self.server is not None else 0.0
        try:
            await self.services.stop_syncing()
            self.left = await leave_pools(self.wan, self.lan, drain_time)
        finally:
            self.stopped.set()

    async def stop(self) -> None:
        """Close everything, in the reverse order of the start. Safe to call again."""
        await cancel_and_wait(*self._joining)
        await self._automation.stop()
        await self.dns.stop(STOP_TIMEOUT)
        await self.http.stop(STOP_TIMEOUT)
        await self.services.stop()
        await self.connect.stop()
        if self.server is not None:
            await self.server.stop(STOP_TIMEOUT)
        await self.client.close()
        for pool in filter(None, (self.wan, self.lan)):
            await pool.shell.stop()

    async def reload(self) -> None:
        """Read the configuration again and apply what may change; a bad one is an error and changes nothing."""
        async with self._reloading:
            loaded = await asyncio.to_thread(self._load)
            config, served = reloaded(self.config, loaded.config, self.lan.keys), http_settings(loaded.config)
            self.services.check_reload(config)
            await asyncio.to_thread(self.tls.reload, config.tls_settings())
            # From here on nothing can fail.
            self._apply(config, replace(served, pretty=config.dev))
            await self._automation.reload(config)
            kept = compare(config, loaded.config).needs_restart
            for key in kept:
                _log.warning("reload: %s takes effect only after a restart", key)
            if not kept:
                # Whoever compares this with the files on disk must not take a half-applied change for a whole one.
                self.config_digest = files_digest(loaded.files)
            if self.on_reload is not None:
                self.on_reload()
            _log.info("configuration reloaded")

    def _apply(self, config: AgentConfig, settings: HttpSettings) -> None:
        old, self.config = self.config, config
        self._logs.set_level(parse_level(config.logging.level))
        self.view.settings = settings
        self.metrics.rename(metric_names(config))
        self.access.tokens.reload(config.acls)
        self.services.reload(config)
        if config.limits != old.limits:
            self.calls.limit = self._limit(config)
        for pool in filter(None, (self.lan, self.wan)):
            pool.shell.set_verification(config.gossip.verify_incoming, config.gossip.verify_outgoing)

    # Parts

    def _server(self) -> ServerRole:
        return on_demand.server_role.ServerRole(
            self.config,
            self.node_id,
            lan=self.lan,
            wan=self.wan,
            own_servers=self._own_servers,
            calls=self.calls,
            client=self.client,
            tls=self.tls,
            metrics=self.metrics,
            fire=lambda name, payload: self.lan.shell.user_event(name, payload, coalesce=False),
            acl_settings=lambda: self.access.settings(),  # noqa: PLW0108 - made below
            replication_token=lambda: self.access.tokens["replication"],
            halt=self._give_up,
            rng=self._rng,
        )

    def _connect_role(self) -> ConnectRole:
        return ConnectRole(
            self.config,
            call=self._call_server,
            token=lambda: self.access.tokens.for_own_work,
            own=lambda: own_certificates(self),
            rng=self._rng,
            metrics=self.metrics,
            on_listening=self.services.services.look_again,
        )

    async def _call_server(self, method: str, body: Mapping[str, Any], datacenter: str = "") -> Any:
        return await self._performer.call(method, body, datacenter)

    def _make_calls(self) -> ServerCalls:
        return ServerCalls(
            self.client,
            self._servers_of,
            rng=self._rng,
            datacenter=self.config.identity.datacenter,
            metrics=self.metrics,
            clock=self._clock,
            limit=self._limit(self.config),
            timeout=self.config.limits.rpc_hold_timeout,
        )

    def _make_services(self) -> ServicesRole:
        return ServicesRole(
            self.config,
            self.node_id,
            tls=self.tls,
            call=self._call_server,
            token=lambda: self.access.tokens.for_own_work,
            members=lambda: len(self.lan.members),
            rng=self._rng,
        )

    def _make_view(self) -> View:
        return View(
            node_name=self.config.identity.node_name,
            datacenter=self.config.identity.datacenter,
            lan=self.lan,
            wan=self.wan,
            server=self.server,
            local=self.services.view,
            access=self.access,
            events=self.events.buffer,
            metrics=self.metrics,
            settings=http_settings(self.config),
            describe=Description(self).parts,
        )

    def _make_dns(self) -> DnsRole:
        return DnsRole(
            self.config,
            server=self.server,
            lan=self.lan,
            call=self._call_server,
            token=lambda: self.access.tokens.for_requests,
            metrics=self.metrics,
            clock=self._clock,
            rng=self._rng,
        )

    def _make_performer(self) -> Performer:
        return Performer(
            datacenter=self.config.identity.datacenter,
            lan=self.lan,
            wan=self.wan,
            endpoints=self.server.endpoints if self.server is not None else None,
            calls=self.calls,
            events=self.events,
            access=self.access,
            local=self.services.performer,
            connect=self.connect,
            logs=self._logs,
            leave=self.leave,
            reload=self.reload,
        )

    def _limit(self, config: AgentConfig) -> TokenBucket:
        """Servers answer themselves and are not limited (Consul)."""
        limits = config.limits
        rate = -1.0 if config.identity.server else limits.rpc_rate
        return TokenBucket(rate, limits.rpc_max_burst, self._clock())

    def _pool(self, hear: Callable[[object], None], *, wan: bool) -> Pool:
        plan = gossip_plan(self.config, self.node_id, wan=wan, names_by_id=lambda: pool.names_by_id)
        shell = gossip_shell(plan, hear)
        pool = Pool(shell, wan=wan)
        return pool

    def _own_servers(self) -> Sequence[ServerInfo]:
        """The servers of this datacenter: the same tuple until something about them changes."""
        servers, own = self.lan.servers, self.config.identity.datacenter
        if servers is not self._sorted_out[0]:
            self._sorted_out = servers, tuple(server for server in servers if server.datacenter == own)
        return self._sorted_out[1]

    def _servers_of(self, datacenter: str) -> Sequence[ServerInfo]:
        if datacenter == self.config.identity.datacenter:
            return self._own_servers()
        return [server for server in self.wan.servers if server.datacenter == datacenter] if self.wan else []

    def _https_context(self) -> ssl.SSLContext:
        profile = self.tls.incoming_https()
        if profile is None:
            raise MeshError("HTTPS needs cert_file and key_file")
        return profile.context

    # Gossip

    def _membership_changed(self) -> None:
        own, wan = self.config.identity.datacenter, self.wan.servers if self.wan is not None else ()
        others = (server for server in wan if server.datacenter != own)
        alive = frozenset(server.rpc for server in (*self.lan.servers, *others) if server.alive)
        if alive - self._servers_seen:
            self.services.servers_changed()
        for address in self._servers_seen - alive:
            self.client.drop(address)
        self._servers_seen = alive
        if self.server is not None:
            self.server.membership_changed()
        self.metrics.set_gauge("consul.serf.lan.members", len(self.lan.members), self.view.now)
        if self._flood is not None:
            self._flood.wake()
