"""``Operator.*`` where gossip or the log is needed: which servers there are, how they are, who goes, who leads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from meshnode.acl.authorizer import Access, Resource, require
from meshnode.agent.autopilot import Autopilot
from meshnode.agent.pool import Pool
from meshnode.agent.state_gateway import LeaderMethod
from meshnode.base.address import Address
from meshnode.control.body import Body, text
from meshnode.control.endpoints.operator import (
    find_peer,
    health_fields,
    parse_stats,
    raft_server,
    refuse_removal,
)
from meshnode.control.server_health import LogStats, Peer
from meshnode.control.servers import parse_server
from meshnode.control.wire import from_wire
from meshnode.http.view import MemberInfo, MemberStatus
from meshnode.rpc.method import RpcError
from meshnode.runtime.cluster_state import ClusterState, held
from meshnode.runtime.rpc_client import RpcClient

__all__ = ["OperatorMethods", "ask_stats", "peers_of", "remove_server"]

_log = logging.getLogger("meshnode.operator")
#: Seconds that a server has to tell its stats; the log's part of them is ``autopilot.CONTACT_TIMEOUT``.
STATS_TIMEOUT: Final = 2.0


class OperatorMethods:
    """``peers`` are the servers as gossip has them now; ``remove`` force-leaves the server of a name."""

    def __init__(
        self,
        state: Callable[[], ClusterState | None],
        peers: Callable[[], Sequence[Peer]],
        autopilot: Autopilot,
        remove: Callable[[str], None],
        *,
        shared: bool,
    ) -> None:
        self._state = state
        self._peers = peers
        self._autopilot = autopilot
        self._remove = remove
        self._shared = shared

    @property
    def methods(self) -> dict[str, LeaderMethod]:
        """The methods by their names."""
        return {
            "Operator.RaftGetConfiguration": self.configuration,
            "Operator.RaftRemovePeerByID": self.remove_by_id,
            "Operator.RaftRemovePeerByAddress": self.remove_by_address,
            "Operator.TransferLeader": self.transfer_leader,
            "Operator.ServerHealth": self.health,
        }

    async def configuration(self, body: Body, token: str) -> dict[str, Any]:
        """``Servers``, by name, and the ``Index`` that the state is at: gossip, which knows them, has none."""
        del body
        state = self._allowed(token, Access.READ)
        peers = sorted(self._peers(), key=lambda peer: peer.info.name)
        return {"Servers": [raft_server(peer) for peer in peers], "Index": state.machine.last_index}

    async def health(self, body: Body, token: str) -> dict[str, Any]:
        """``Healthy``, ``FailureTolerance`` and ``Servers``, each asked for it now."""
        del body
        report, tolerance = await self._autopilot.look(self._allowed(token, Access.READ))
        return health_fields(report, tolerance)

    async def remove_by_id(self, body: Body, token: str) -> None:
        """Remove the failed server with ``ID``."""
        self._allowed(token, Access.WRITE)
        self._forget(find_peer(self._peers(), peer_id=_given(body, "ID")))

    async def remove_by_address(self, body: Body, token: str) -> None:
        """Remove the failed server with the RPC address ``Address``."""
        self._allowed(token, Access.WRITE)
        self._forget(find_peer(self._peers(), address=_given(body, "Address")))

    def _forget(self, peer: Peer) -> None:
        refuse_removal(peer)
        _log.info("server %s is removed on request", peer.info.name)
        self._remove(peer.info.name)

    async def transfer_leader(self, body: Body, token: str) -> dict[str, bool]:
        """Let the server with ``ID`` lead; without one, a server that is alive."""
        state = self._allowed(token, Access.WRITE)
        if not self._shared:
            raise RpcError(
                "this server keeps the log, so only it can lead: "
                "set state_log.engine to etcd to let several servers take turns"
            )
        heir = self._heir(text(body, "ID"))
        _log.info("leadership is handed to %s on request", heir.info.name)
        await state.log.transfer(heir.info.node_id)
        return {"Success": True}

    def _heir(self, wanted: str) -> Peer:
        peers = sorted(self._peers(), key=lambda peer: peer.info.name)
        if wanted:
            heir = find_peer(peers, peer_id=wanted)
            if heir.leads:
                raise RpcError(f"server {heir.info.name} leads already")
            if not heir.info.alive:
                raise RpcError(
                    f"server {heir.info.name} is {heir.serf_status}: name one that is alive, or none"
                )
            return heir
        for peer in peers:
            if peer.info.alive and not peer.leads:
                return peer
        raise RpcError("no other server is alive, so there is nobody to lead in place of this one")

    def _allowed(self, token: str, access: Access) -> ClusterState:
        state = held(self._state())
        require(state.authorizer(token), Resource.OPERATOR, "", access)
        return state


def peers_of(
    members: Sequence[MemberInfo], datacenter: str, leader: Address | None, *, shared: bool
) -> list[Peer]:
    """The servers of ``datacenter`` among the LAN members, without those that left. ``leader``: its RPC address."""
    peers = []
    for member in members:
        if member.status == MemberStatus.LEFT or member.tags.get("dc") != datacenter:
            continue
        alive = member.status == MemberStatus.ALIVE
        info = parse_server(member.name, member.addr, member.tags, alive=alive)
        if info is not None:
            version = member.tags.get("build", "").partition(":")[0]
            voter = shared or info.owns_log
            peers.append(Peer(info, member.status.name.lower(), version, info.rpc == leader, voter))
    return peers


def remove_server(lan: Pool, wan: Pool | None, datacenter: str, name: str) -> None:
    """Force-leave a server in both pools."""
    lan.shell.force_leave(name, prune=False)
    wan_name = f"{name}.{datacenter}"
    if wan is not None and any(member.name == wan_name for member in wan.members):
        wan.shell.force_leave(wan_name, prune=False)


async def ask_stats(client: RpcClient, peer: Peer) -> LogStats:
    """``Status.RaftStats`` of another server. Raises :class:`MeshError` when it can't be had in time."""
    info = peer.info
    reply = await client.call(
        info.rpc, "Status.RaftStats", {}, timeout=STATS_TIMEOUT, datacenter=info.datacenter
    )
    return parse_stats(from_wire(reply))


def _given(body: Mapping[str, Any], name: str) -> str:
    value = text(body, name)
    if not value:
        raise RpcError(f"{name} is missing: it says which server to remove")
    return value
