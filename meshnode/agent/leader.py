"""What the leader does beside answering: members into the catalog, session TTLs, coordinates, forgetting tombstones."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

from meshnode.acl.authorizer import Access, Resource, require
from meshnode.acl.model import master_token
from meshnode.agent.config_entry_bootstrap import bootstrap_entries
from meshnode.agent.term import Term
from meshnode.base.errors import MeshError
from meshnode.catalog.coordinates import Coordinate, NodeCoordinate
from meshnode.config_entries.model import ConfigEntry
from meshnode.control.body import Body, mapping, text
from meshnode.control.command import (
    AclReapTokens,
    AclTokenSet,
    Command,
    Lead,
    ReapTombstones,
    SessionDestroy,
    UpdateCoordinates,
)
from meshnode.control.endpoints.session import session_fields
from meshnode.control.log import LogError, StaleEpochError
from meshnode.control.method import Moment
from meshnode.control.reconcile import MemberView, reconcile
from meshnode.control.session_timers import SessionTimers
from meshnode.control.watch import EVERYTHING, WatchKey
from meshnode.rpc.method import RpcError
from meshnode.runtime.cluster_state import ClusterState

__all__ = ["Leader"]

_log = logging.getLogger("meshnode.leader")
#: Seconds between full comparisons of gossip and catalog (Consul's reconcile_interval).
RECONCILE_INTERVAL: Final = 60.0
#: Seconds of a term in which a node stays in the catalog although gossip doesn't know its agent yet: a server that was
#: restarted leads at once, and joins meanwhile. Its services would be gone until the agent's next full sync.
FORGET_AFTER: Final = 30.0
#: Seconds for which coordinates are collected into one command (Consul's coordinate_update_period).
COORDINATE_PERIOD: Final = 5.0
#: Nodes of one such command.
MAX_COORDINATES: Final = 1024
#: Seconds that deletions are remembered for those who block on a list (Consul's tombstone_ttl), and the steps of it.
TOMBSTONE_TTL: Final = 900.0
TOMBSTONE_STEP: Final = 30.0
#: Seconds between looks for tokens whose time is over.
TOKEN_INTERVAL: Final = 1.0
#: Seconds until a duty that failed is tried again.
RETRY_INTERVAL: Final = 1.0
#: Seconds between looks at the session timers when nothing else wakes us.
MAX_TIMER_WAIT: Final = 1.0


class Leader:
    """Runs while this server leads. ``members`` gives the LAN pool as the catalog should show it.

    ``entries`` are the config entries that a cluster begins with.
    """

    def __init__(
        self,
        state: Callable[[], ClusterState | None],
        members: Callable[[], Sequence[MemberView]],
        *,
        own_name: str,
        datacenter: str,
        master_token: Callable[[], str],
        entries: Sequence[ConfigEntry] = (),
    ) -> None:
        self._entries = entries
        self._master_token = master_token
        self._state = state
        self._members = members
        self._own_name = own_name
        self._datacenter = datacenter
        self._timers = SessionTimers()
        self._coordinates: dict[str, NodeCoordinate] = {}
        self._tombstones: deque[tuple[float, int]] = deque()
        self._membership = asyncio.Event()
        self._timer_change = asyncio.Event()
        self._term = Term(lambda epoch: {f"leader of epoch {epoch}": self._begin(epoch)})

    # Terms

    def lead(self, epoch: int) -> None:
        """Begin a term, or end it with 0."""
        self._term.lead(epoch)

    async def stop(self) -> None:
        """End the term and wait for it."""
        await self._term.stop()

    async def _begin(self, epoch: int) -> None:
        state = self._state()
        while state is None:  # told of the term while the state is being opened
            await asyncio.sleep(0)
            state = self._state()
        while not await self._try(state, Lead(state.log.node_id, epoch)):
            await asyncio.sleep(RETRY_INTERVAL)
        self._timers.reset(state.machine.sessions.every()[1], _now())
        self._tombstones.clear()
        duties: Iterable[Callable[[ClusterState], Coroutine[Any, Any, None]]] = (
            self._reconcile_members,
            self._end_sessions,
            self._write_coordinates,
            self._reap_tombstones,
            self._keep_tokens,
            self._begin_entries,
        )
        self._term.also({duty.__name__.strip("_"): duty(state) for duty in duties})

    async def _try(self, state: ClusterState, command: Command) -> bool:
        """Whether the command was written; a term that is over ends its duties by being cancelled."""
        try:
            await state.submit(command, epoch=self._term.epoch)
        except StaleEpochError:
            return False
        except LogError as error:
            _log.warning("%s was not written: %s", type(command).__name__, error)
            return False
        return True

    # Members

    def membership_changed(self) -> None:
        """Gossip has news."""
        self._membership.set()

    async def _reconcile_members(self, state: ClusterState) -> None:
        met: set[str] = set()
        all_heard_of = _now() + FORGET_AFTER
        while True:
            self._membership.clear()
            members = self._members()
            present = {member.name.lower() for member in members}
            met |= present
            commands = reconcile(
                state.machine.catalog,
                members,
                self._own_name,
                self._datacenter,
                time.time(),
                self._term.epoch,
                forget=met.__contains__ if _now() < all_heard_of else _anybody,
            )
            done = await asyncio.gather(*(self._try(state, command) for command in commands))
            if all(done):
                met = present
            pause = RECONCILE_INTERVAL if all(done) else RETRY_INTERVAL
            try:
                async with asyncio.timeout(pause):
                    await self._membership.wait()
            except TimeoutError:
                continue

    # Sessions

    def applied(self, touched: frozenset[WatchKey]) -> None:
        """Entries were applied: sessions may have come or gone."""
        state = self._state()
        if not self._term.epoch or state is None:
            return
        if EVERYTHING in touched:
            self._timers.reset(state.machine.sessions.every()[1], _now())
        elif ("sessions",) in touched:
            for key in touched:
                if key[0] == "session":
                    _, session = state.machine.sessions.get(key[1])
                    if session is None:
                        self._timers.ended(key[1])
                    else:
                        self._timers.renew(session, _now())
        else:
            return
        self._timer_change.set()

    async def renew(self, body: Body, token: str) -> dict[str, Any]:
        """``Session.Renew``: the session, with a whole term again; an empty list when there is none."""
        state = self._leading()
        session_id = text(body, "Session") or text(body, "SessionID")
        index, session = state.machine.sessions.get(session_id)
        if session is None:
            return {"Sessions": [], "Index": index}
        require(state.authorizer(token), Resource.SESSION, session.node, Access.WRITE)
        self._timers.renew(session, _now())
        self._timer_change.set()
        return {"Sessions": [session_fields(session)], "Index": index}

    async def _end_sessions(self, state: ClusterState) -> None:
        while True:
            self._timer_change.clear()
            for session_id in self._timers.due(_now()):
                _log.info("session %s is over: it was not renewed in time", session_id)
                if not await self._try(state, SessionDestroy(session_id, time.time(), self._term.epoch)):
                    _, session = state.machine.sessions.get(session_id)
                    if session is not None:
                        self._timers.renew(session, _now())
            following = self._timers.next_deadline
            wait = MAX_TIMER_WAIT if following is None else min(MAX_TIMER_WAIT, max(0.0, following - _now()))
            try:
                async with asyncio.timeout(wait):
                    await self._timer_change.wait()
            except TimeoutError:
                continue

    # Coordinates

    async def update_coordinate(self, body: Body, token: str) -> None:
        """``Coordinate.Update``: keep it for the next batch."""
        state = self._leading()
        node, segment, given = text(body, "Node"), text(body, "Segment"), mapping(body, "Coord")
        require(state.authorizer(token), Resource.NODE, node, Access.WRITE)
        coordinate = _coordinate(given)
        if not coordinate.valid:
            raise RpcError(
                "invalid coordinate: 8 finite numbers in Vec, and finite Error, Adjustment and Height"
            )
        key = f"{node}\0{segment}".lower()
        if key in self._coordinates or len(self._coordinates) < MAX_COORDINATES:
            self._coordinates[key] = NodeCoordinate(node, segment, coordinate)

    async def _write_coordinates(self, state: ClusterState) -> None:
        while True:
            await asyncio.sleep(COORDINATE_PERIOD)
            if self._coordinates:
                waiting, self._coordinates = self._coordinates, {}
                await self._try(state, UpdateCoordinates(tuple(waiting.values()), self._term.epoch))

    # Tombstones

    async def _reap_tombstones(self, state: ClusterState) -> None:
        while True:
            await asyncio.sleep(TOMBSTONE_STEP)
            self._tombstones.append((_now() + TOMBSTONE_TTL, state.machine.last_index))
            reaped = 0
            while self._tombstones and self._tombstones[0][0] <= _now():
                reaped = self._tombstones.popleft()[1]
            graveyard = state.machine.kv.graveyard
            if reaped and (graveyard.stones or graveyard.trees):
                await self._try(state, ReapTombstones(reaped, self._term.epoch))

    # Tokens

    async def _keep_tokens(self, state: ClusterState) -> None:
        """Make the management token that the configuration names, and end those whose time is over."""
        while True:
            now, secret = time.time(), self._master_token()
            if secret and state.machine.acl.token_by_secret(secret) is None:
                token = master_token(str(uuid.uuid4()), secret, now)
                await self._try(state, AclTokenSet(token, create=True))
            if 0 < state.machine.acl.next_expiration() <= now:
                await self._try(state, AclReapTokens(now, self._term.epoch))
            await asyncio.sleep(TOKEN_INTERVAL)

    # Config entries

    async def _begin_entries(self, state: ClusterState) -> None:
        """Write those that the configuration names and nobody has written."""
        while True:
            try:
                await bootstrap_entries(
                    state,
                    self._entries,
                    self._term.epoch,
                    lambda: Moment(time.time(), lambda: str(uuid.uuid4())),
                )
                return
            except StaleEpochError:
                return
            except LogError as error:
                _log.warning("config entries were not written: %s", error)
            await asyncio.sleep(RETRY_INTERVAL)

    def _leading(self) -> ClusterState:
        state = self._state()
        if state is None or not self._term.epoch:
            raise MeshError("this server doesn't lead")
        return state


def _coordinate(given: Body) -> Coordinate:
    try:
        return Coordinate(
            tuple(float(number) for number in given.get("Vec") or ()),
            float(given.get("Error", 0.0)),
            float(given.get("Adjustment", 0.0)),
            float(given.get("Height", 0.0)),
        )
    except (TypeError, ValueError):
        raise RpcError("invalid coordinate: Vec, Error, Adjustment and Height must be numbers") from None


def _anybody(_name: str) -> bool:
    return True


def _now() -> float:
    return asyncio.get_running_loop().time()
