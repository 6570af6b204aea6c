"""Which server has the log, and with it the state.

With the etcd engine every server has a copy and etcd elects who leads. With the embedded engine one server has the log;
the others take their clients' calls to it. That one is chosen once, when all the expected servers were seen, and stays
(its log is in its data directory); it says so in its gossip tag ``state_log``, and the others remember it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from meshnode.agent.log_owner import LogOwner, OwnerMemory
from meshnode.base.errors import MeshError
from meshnode.control.log import LeadershipChange, LogUnavailableError
from meshnode.control.servers import ServerInfo, elect
from meshnode.control.status import ClusterView
from meshnode.runtime.cluster_state import ClusterState
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["LOG_TAG", "StateOwner"]

_log = logging.getLogger("meshnode.server")
#: Gossip tag of the server that has the embedded log, ``owner``, and of those that know of it, ``follower``.
LOG_TAG: Final = "state_log"


class StateOwner:
    """``servers`` are those of the datacenter, ``departed`` those that left it; ``open_state`` opens the log and leads.

    ``announce`` sets our gossip tag; ``memory`` has the server that keeps the log. ``halt`` stops the agent when a
    shared log can't be used. ``shared``: every server has the state, so it is opened at the start.
    """

    def __init__(
        self,
        *,
        own_id: str,
        servers: Callable[[], Sequence[ServerInfo]],
        departed: Callable[[], Sequence[ServerInfo]],
        open_state: Callable[[], Awaitable[ClusterState]],
        announce: Callable[[str], None],
        log_path: Path | None,
        memory: OwnerMemory,
        first: bool,
        shared: bool,
        halt: Callable[[str], None],
    ) -> None:
        self._halt = halt
        self._opener: asyncio.Task[None] | None = None
        self._own_id = own_id
        self._servers = servers
        self._departed = departed
        self._open_state = open_state
        self._announce = announce
        self._log_path = log_path
        self._memory = memory
        self._missed = ""
        self._first = first
        self._shared = shared
        self._opening = False
        self._leader = ""
        self._view = ClusterView("", ())
        #: The servers, and the id of who leads, of that view.
        self._viewed: tuple[Sequence[ServerInfo], str | None] = ((), "")
        self.state: ClusterState | None = None
        #: Told of each change of our own leadership: the epoch, or 0 when it is over.
        self.on_leadership: Callable[[int], None] | None = None
        #: Told of each change of who leads.
        self.on_change: Callable[[LeadershipChange], None] | None = None

    async def start(self) -> None:
        """Open the state if it is ours from the beginning."""
        if self._shared:
            # The engine may come up later than we do; meanwhile there is no leader.
            self._opener = spawn(self._open_shared(), name="open the shared log")
        elif self._first or (self._log_path is not None and self._log_path.exists()):
            await self._open()

    async def _open_shared(self) -> None:
        try:
            await self._open()
        except MeshError as error:
            self._halt(str(error))

    async def stop(self) -> None:
        """Lead no more and close the log."""
        await cancel_and_wait(*filter(None, (self._opener,)))
        if self.state is not None:
            await self.state.stop()

    async def membership_changed(self) -> None:
        """Look again who the leader is, and whether the log is ours now."""
        if not self._shared and self.state is None:
            self._remember()
        if not self._shared and self.state is None and not self._opening and self._elected():
            _log.info("all expected servers are here: this one keeps the cluster's log")
            await self._open()
        await self._depose_failed()
        self._note_leader()

    async def _depose_failed(self) -> None:
        """A leader that gossip has seen fail needn't be waited for; should it live, it stands again."""
        if self.state is None:
            return
        leadership = self.state.log.leadership
        failed = any(s.node_id == leadership.leader and not s.alive for s in self._servers())
        if failed and leadership.leader != self._own_id:
            try:
                await self.state.log.depose(leadership.epoch)
            except LogUnavailableError as error:
                _log.debug("the failed leader's term was not ended: %s", error)

    async def _open(self) -> None:
        self._opening = True
        try:
            self.state = await self._open_state()
            self.state.log.subscribe(self._led)
            self._led(self.state.log.leadership)
            await self.state.log.campaign()
            if not self._shared:
                self._announce("owner")
        finally:
            self._opening = False

    def _remember(self) -> None:
        """Take in which server keeps the log, and say so when it is missed."""
        owners = [server for server in self._servers() if server.owns_log and server.node_id != self._own_id]
        if len(owners) == 1:
            self._memory.note(LogOwner(owners[0].node_id, owners[0].name))
        known = self._memory.owner
        if known is None:
            return
        self._announce("follower")
        missed = "" if any(server.alive for server in owners) else known.name
        if missed and missed != self._missed:
            _log.warning(
                "%s keeps the cluster's log and is not here: start it again. Should it be lost for ever, bring the "
                "latest snapshot to a new cluster",
                missed,
            )
        self._missed = missed

    def _elected(self) -> bool:
        servers = list(self._servers())
        if self._memory.owner is not None or any(server.knows_log for server in servers):
            return False
        expected = max((server.expect for server in servers), default=0)
        if not 0 < expected <= len(servers) + len(self._departed()):
            return False
        chosen = elect([replace(server, expect=0, bootstrap=True) for server in servers])
        return chosen is not None and chosen.node_id == self._own_id

    def _led(self, change: LeadershipChange) -> None:
        self._note_leader()
        if self.on_change is not None:
            self.on_change(change)
        if self.on_leadership is not None:
            self.on_leadership(change.epoch if change.leader == self._own_id else 0)

    def _note_leader(self) -> None:
        leader = self.leader()
        name = leader.name if leader is not None else ""
        if name == self._leader:
            return
        self._leader = name
        if leader is None:
            _log.warning("No cluster leader")
        elif leader.node_id == self._own_id:
            _log.info("cluster leadership acquired")
        else:
            _log.info("New leader elected: %s", leader.name)

    def leader(self) -> ServerInfo | None:
        """The leader, if there is one and gossip sees it alive."""
        if self.state is not None:
            wanted = self.state.log.leadership.leader
            found = [server for server in self._servers() if server.node_id == wanted]
        else:
            found = [server for server in self._servers() if server.owns_log]
            if len(found) > 1:
                names = ", ".join(server.name for server in found)
                _log.error(
                    "more than one server keeps a log of its own: %s. Set state_log.engine to etcd", names
                )
        alive = [server for server in found if server.alive or server.node_id == self._own_id]
        return min(alive, key=lambda server: server.node_id) if alive else None

    @property
    def is_leader(self) -> bool:
        """Whether this server leads."""
        return self.state is not None and self.state.leads

    def view(self) -> ClusterView:
        """Leader and servers as the status calls give them; peers are those not known to have left."""
        servers = self._servers()
        wanted = self.state.log.leadership.leader if self.state is not None else None
        # Clients ask for it all day. A tuple stays as it is: the same one and the same leader make the same view.
        known, leading = self._viewed
        if type(servers) is not tuple or servers is not known or wanted != leading:
            leader = self.leader()
            address = str(leader.rpc) if leader is not None else ""
            self._view = ClusterView(address, tuple(str(server.rpc) for server in servers))
            self._viewed = servers, wanted
        return self._view
