"""Who leads, as this server sees it. Until there is a replicated log it follows from membership alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from meshnode.control.servers import ServerInfo, elect
from meshnode.control.status import ClusterView

__all__ = ["Leadership"]

_log = logging.getLogger("meshnode.server")


class Leadership:
    """``servers`` gives those of the local datacenter, ``departed`` those that left it; ``own_id`` is our node id."""

    def __init__(
        self,
        servers: Callable[[], Sequence[ServerInfo]],
        departed: Callable[[], Sequence[ServerInfo]],
        own_id: str,
    ) -> None:
        self._servers = servers
        self._departed = departed
        self._own_id = own_id
        self._leader: ServerInfo | None = None
        self._bootstrapped = False

    def refresh(self) -> None:
        """Look again after a membership change, and log a change of leader."""
        leader = elect(self._voters())
        if leader != self._leader:
            self._leader = leader
            if leader is None:
                _log.warning("No cluster leader")
            elif leader.node_id == self._own_id:
                _log.info("cluster leadership acquired")
            else:
                _log.info("New leader elected: %s", leader.name)

    def _voters(self) -> Sequence[ServerInfo]:
        """Those who elect. The expected number counts once: afterwards a server may leave on purpose (as in Raft)."""
        servers = self._servers()
        expected = max((server.expect for server in servers), default=0)
        seen = len(servers) + len(self._departed())
        self._bootstrapped = self._bootstrapped or 0 < expected <= seen
        if not self._bootstrapped:
            return servers
        return [replace(server, expect=0, bootstrap=True) for server in servers]

    @property
    def is_leader(self) -> bool:
        """Whether this server leads."""
        return self._leader is not None and self._leader.node_id == self._own_id

    def view(self) -> ClusterView:
        """Leader and servers as the status calls give them; peers are those not known to have left."""
        leader = str(self._leader.rpc) if self._leader is not None else ""
        return ClusterView(leader, tuple(str(server.rpc) for server in self._servers()))
