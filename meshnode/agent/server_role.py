"""What makes an agent a server: its copy of the state, its duties when it leads, and the RPC port."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshnode.acl.authorizer import ALLOW_ALL, Authorizer
from meshnode.acl.policy_authorizer import PolicyAuthorizer
from meshnode.acl.resolve import AclSettings, resolve
from meshnode.acl.store import ACL
from meshnode.agent import on_demand
from meshnode.agent.config.model import AgentConfig
from meshnode.agent.connect_off import ConnectOff
from meshnode.agent.leader import Leader
from meshnode.agent.log_owner import OwnerMemory
from meshnode.agent.operator_role import OperatorRole
from meshnode.agent.pool import Pool
from meshnode.agent.query_execution import QueryExecution
from meshnode.agent.server_calls import ServerCalls
from meshnode.agent.server_endpoints import ServerEndpoints
from meshnode.agent.state_gateway import LeaderMethod, StateGateway
from meshnode.agent.state_owner import LOG_TAG, StateOwner
from meshnode.base.address import Address
from meshnode.base.metrics import Metrics
from meshnode.config_entries.parse import parse_entry
from meshnode.connect.secondary import datacenter_node
from meshnode.connect.settings import parse_ca_settings
from meshnode.control.endpoints.acl import bootstrap_methods
from meshnode.control.endpoints.intention import intention_methods
from meshnode.control.endpoints.session import session_methods
from meshnode.control.endpoints.table import METHODS
from meshnode.control.log import Log, LogHaltedError
from meshnode.control.machine import StateMachine
from meshnode.control.method import Method, ReadMethod
from meshnode.control.reconcile import MemberView
from meshnode.control.servers import ServerInfo
from meshnode.control.watch import EVERYTHING, WatchKey
from meshnode.http.effects import ReadServer
from meshnode.http.view import MemberInfo, MemberStatus
from meshnode.intentions.decide import DefaultDecision, default_decision
from meshnode.runtime.cluster_state import ClusterState
from meshnode.runtime.log_sqlite import SqliteLog
from meshnode.runtime.rpc_client import RpcClient
from meshnode.runtime.rpc_server import RpcServer
from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.runtime.tls import TlsContexts

if TYPE_CHECKING:
    from meshnode.agent.connect_ca import ConnectCa
    from meshnode.agent.secondary_role import SecondaryRole
    from meshnode.control.body import Body

__all__ = ["ServerRole"]


class ServerRole:
    """``fire`` sends a user event to the LAN pool; ``halt`` stops the agent, for a reason that it is told."""

    def __init__(
        self,
        config: AgentConfig,
        node_id: str,
        *,
        lan: Pool,
        wan: Pool | None,
        own_servers: Callable[[], Sequence[ServerInfo]],
        calls: ServerCalls,
        client: RpcClient,
        tls: TlsContexts,
        metrics: Metrics,
        fire: Callable[[str, bytes], None],
        acl_settings: Callable[[], AclSettings],
        replication_token: Callable[[], str],
        halt: Callable[[str], None],
        rng: random.Random,
    ) -> None:
        self._config = config
        self._node_id = node_id
        self._lan = lan
        self._wan = wan
        self._calls = calls
        self._rng = rng
        self._halt = halt
        self._news = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self.acl_settings = acl_settings
        #: Called when the whole state was replaced.
        self.on_restored: Callable[[], None] | None = None
        identity = config.identity
        self.owner = self._make_owner(own_servers)
        self.leader = Leader(
            lambda: self.owner.state,
            lambda: member_views(lan.members),
            own_name=identity.node_name,
            datacenter=identity.datacenter,
            master_token=lambda: self.acl_settings().master_token,
            entries=tuple(map(parse_entry, config.connect.bootstrap_entries)),
        )
        self.operator = OperatorRole(
            config, node_id, owner=self.owner, lan=lan, wan=wan, client=client, metrics=metrics
        )
        self.connect = self._connect_ca()
        self._secondary = self._secondary_role(replication_token)
        self.owner.on_leadership = self._led
        self.gateway = self._make_gateway(client)
        self.endpoints = ServerEndpoints(
            self.owner.view,
            fire,
            identity.datacenter,
            gateway=self.gateway,
            calls=calls,
            rights=self._rights,
            stats=self.operator.stats,
            wan=wan,
            primary=identity.primary_datacenter,
        )
        self._rpc = RpcServer(self.endpoints.handle, tls=tls, metrics=metrics)
        self._bind = Address(config.addresses.bind, config.ports.server)

    def _make_owner(self, own_servers: Callable[[], Sequence[ServerInfo]]) -> StateOwner:
        config, lan = self._config, self._lan
        return StateOwner(
            own_id=self._node_id,
            servers=own_servers,
            departed=lambda: lan.departed_servers,
            open_state=self._open_state,
            announce=self._announce,
            log_path=self._log_path,
            memory=OwnerMemory(self._log_path and self._log_path.parent.parent / "log-owner"),
            first=config.dev or config.identity.bootstrap,
            shared=config.state_log.engine == "etcd",
            halt=self._halt,
        )

    def _make_gateway(self, client: RpcClient) -> StateGateway:
        identity, limits = self._config.identity, self._config.limits
        return StateGateway(
            self.owner,
            {
                **METHODS,
                **session_methods(identity.session_ttl_min),
                **self._bootstrap_methods(),
                **intention_methods(self._default_intention),
            },
            self._leader_methods(),
            client=client,
            datacenter=identity.datacenter,
            hold_timeout=lambda: limits.rpc_hold_timeout,
            rng=self._rng,
        )

    @property
    def state(self) -> ClusterState | None:
        """This server's copy of the state; ``None`` when it has none."""
        return self.owner.state

    async def listen(self) -> None:
        """Open the RPC port."""
        await self._rpc.start(*self._bind)

    async def start(self) -> None:
        """Open the state, if it is ours to open; gossip runs already."""
        await self.owner.start()
        self._following = spawn(self._follow_gossip(), name="follow gossip")

    def membership_changed(self) -> None:
        """Gossip has news."""
        self._news.set()

    async def _follow_gossip(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self.owner.membership_changed()
            self.leader.membership_changed()

    async def stop(self, timeout: float) -> None:
        """End the term, close the port, close the log. Safe to call again."""
        await cancel_and_wait(*filter(None, (self._following,)))
        await self.leader.stop()
        await self.connect.stop()
        if self._secondary is not None:
            await self._secondary.stop()
        await self.operator.stop()
        await self._rpc.stop(timeout)
        await self.owner.stop()

    def read_now(self, query: ReadServer) -> Mapping[str, Any] | None:
        """The reply to a read that memory can answer at once."""
        own = self._config.identity.datacenter
        if self.endpoints.place_of(query.method, query.datacenter) != own:
            return None
        return self.gateway.read_now(query.method, query.body, query.token)

    def watches_of(self, query: ReadServer) -> tuple[WatchKey, ...]:
        """What the answer to a read depends on."""
        method = METHODS[query.method]
        return (*method.watches(query.body), ACL) if isinstance(method, ReadMethod) else ()

    def may_answer(self) -> bool:
        """Whether memory may answer a default read: only the leader's may."""
        return self.owner.is_leader

    def watch(self, keys: Iterable[WatchKey], wake: Callable[[], None]) -> int:
        """See ``ClusterState``; only asked while there is one."""
        assert self.owner.state is not None
        return self.owner.state.watch(keys, wake)

    def unwatch(self, waiter: int) -> None:
        """See ``ClusterState``."""
        if self.owner.state is not None:
            self.owner.state.unwatch(waiter)

    def authorizer(self, machine: StateMachine, token: str) -> Authorizer:
        """The rights of a token."""
        return resolve(machine.acl, token, self.acl_settings(), time.time())

    # The log

    @property
    def _log_path(self) -> Path | None:
        data_dir = self._config.identity.data_dir
        return Path(data_dir, "log", "log.db") if data_dir else None

    async def _open_state(self) -> ClusterState:
        state = ClusterState(
            self._log(),
            authorizer_of=self.authorizer,
            wall=time.time,
            new_id=lambda: str(uuid.uuid4()),
            on_halt=self._halted,
        )
        state.on_applied = self._applied
        await state.start()
        return state

    def _applied(self, touched: frozenset[WatchKey]) -> None:
        self.leader.applied(touched)
        self.connect.applied(touched)
        if self._secondary is not None:
            self._secondary.applied(touched)
        if EVERYTHING in touched and self.on_restored is not None:
            self.on_restored()

    def _log(self) -> Log:
        config = self._config
        if config.state_log.engine == "etcd":
            return on_demand.etcd_engine.etcd_log(config, self._node_id)
        data_dir = config.identity.data_dir
        return SqliteLog(Path(data_dir) if data_dir else None, self._node_id)

    def _announce(self, role: str) -> None:
        serf = self._lan.shell.serf
        if serf.local_member.tags.get(LOG_TAG) != role:
            self._lan.shell.set_tags({**serf.local_member.tags, LOG_TAG: role})

    def _halted(self, error: LogHaltedError) -> None:
        self._halt(f"{error}. Restore a snapshot, or start this server with an empty data directory")

    def _led(self, epoch: int) -> None:
        self.leader.lead(epoch)
        self.connect.lead(epoch)
        if self._secondary is not None:
            self._secondary.lead(epoch)
        self.operator.lead(epoch)

    # Methods

    def rights(self, token: str) -> Authorizer | None:
        """The rights of a token as the state has them; ``None`` while this server has no copy."""
        state = self.owner.state
        return state.authorizer(token) if state is not None else None

    def _rights(self, token: str) -> Authorizer:
        """The rights of a token here, for calls that every server answers; nobody's while there is no state."""
        if not self.acl_settings().enabled:
            return ALLOW_ALL
        state = self.owner.state
        return state.authorizer(token) if state is not None else PolicyAuthorizer([], default_allow=False)

    def _default_intention(self) -> DefaultDecision:
        acls = self.acl_settings()
        policy = self._config.acls.intention_policy
        return default_decision(policy, acls_enabled=acls.enabled, acls_allow=acls.default_allow)

    def _bootstrap_methods(self) -> dict[str, Method]:
        data_dir = self._config.identity.data_dir
        path = Path(data_dir, "acl-bootstrap-reset") if data_dir else None
        return bootstrap_methods(
            lambda: reset_index(path), has_master=lambda: bool(self.acl_settings().master_token)
        )

    def _secondary_role(self, token: Callable[[], str]) -> SecondaryRole | None:
        identity = self._config.identity
        if identity.primary_datacenter == identity.datacenter:
            return None
        return on_demand.secondary_role.SecondaryRole(
            lambda: self.owner.state,
            self._calls,
            datacenter=identity.datacenter,
            primary=identity.primary_datacenter,
            token=token,
            connect=self._config.connect.enabled,
            wall=time.time,
            alive=self._up,
            rng=self._rng,
        )

    def _up(self) -> frozenset[str]:
        """Nodes that are up, and secondary datacenters that can be reached: a rotation waits for them."""
        nodes = {m.name.lower() for m in self._lan.members if m.status is MemberStatus.ALIVE}
        others = self._wan.servers if self._wan is not None else ()
        return frozenset(nodes | {datacenter_node(server.datacenter) for server in others if server.alive})

    def _connect_ca(self) -> ConnectCa | ConnectOff:
        config, identity = self._config.connect, self._config.identity
        if not config.enabled:
            return ConnectOff()
        return on_demand.connect_ca.ConnectCa(
            lambda: self.owner.state,
            parse_ca_settings(config.ca_provider, config.ca_config),
            datacenter=identity.datacenter,
            alive=self._up,
            wall=time.time,
            entropy=secrets.token_bytes,
            new_id=lambda: str(uuid.uuid4()),
            secondary=identity.primary_datacenter != identity.datacenter,
        )

    def _leader_methods(self) -> dict[str, LeaderMethod]:
        queries = QueryExecution(
            lambda: self.owner.state,
            self._calls,
            wan=self._wan,
            datacenter=self._config.identity.datacenter,
            rng=self._rng,
        )
        return {
            "Session.Renew": self.leader.renew,
            "Coordinate.Update": self.leader.update_coordinate,
            **queries.methods,
            **self.operator.methods,
            **self.connect.methods,
            "Snapshot.Save": self._save_snapshot,
            "Snapshot.Restore": self._restore_snapshot,
        }

    async def _save_snapshot(self, body: Body, token: str) -> Any:
        return await on_demand.state_snapshots.StateSnapshots(lambda: self.owner.state).save(body, token)

    async def _restore_snapshot(self, body: Body, token: str) -> Any:
        return await on_demand.state_snapshots.StateSnapshots(lambda: self.owner.state).restore(body, token)


def member_views(members: Sequence[MemberInfo]) -> list[MemberView]:
    """The LAN pool as the catalog should show it."""
    return [
        MemberView(
            name=member.name,
            address=member.addr,
            node_id=member.tags.get("id", ""),
            alive=member.status in (MemberStatus.ALIVE, MemberStatus.LEAVING),
            left=member.status == MemberStatus.LEFT,
            server_port=_port(member.tags) if member.tags.get("role") == "consul" else 0,
            tagged_addresses={"lan": member.addr},
        )
        for member in members
    ]


def _port(tags: Mapping[str, str]) -> int:
    port = tags.get("port", "")
    return int(port) if port.isascii() and port.isdigit() else 0


def reset_index(path: Path | None) -> int:
    """The index that the operator wrote to have the first token made again; 0: nothing of the kind.

    Source: Consul, "reset the ACL system": the refusal of a second bootstrap names the index to write.
    """
    if path is None:
        return 0
    try:
        written = path.read_text().strip()
    except OSError:
        return 0
    path.unlink(missing_ok=True)
    return int(written) if written.isascii() and written.isdigit() and len(written) < 20 else 0
