"""One Serf node: the half that the application calls, around memberlist below and the delegate that it calls."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from meshnode.base.address import Address
from meshnode.base.errors import MeshError
from meshnode.gossip.effects import Effect, Notify, SetTimer, StreamId
from meshnode.gossip.memberlist import events as memberlist_events
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.memberlist.memberlist import Memberlist
from meshnode.gossip.serf.config import MAX_USER_EVENT_BYTES, PROTOCOL_MAX, PROTOCOL_MIN, SerfConfig
from meshnode.gossip.serf.coordinate import Coordinate
from meshnode.gossip.serf.delegate import RefuseMember, SerfDelegate
from meshnode.gossip.serf.events import JoinFinished, LeaveFinished, NameConflictLost, QueryReceived
from meshnode.gossip.serf.keys import KeyOperation, KeyTally
from meshnode.gossip.serf.member import Member, Status
from meshnode.gossip.serf.messages import Leave, UserEvent, serialize
from meshnode.gossip.serf.own_joins import OwnJoins
from meshnode.gossip.serf.payloads import INTERNAL_QUERY_PREFIX, serialize_key_request
from meshnode.gossip.serf.queries import ApplicationQuery, QueryParams
from meshnode.gossip.serf.query_flow import QueryFlow
from meshnode.gossip.serf.snapshot import Snapshot, SnapshotWriter
from meshnode.gossip.serf.state import Lifecycle, NodeState
from meshnode.gossip.serf.tags import check_tags
from meshnode.gossip.serf.timers import (
    LeaveProgress,
    LeavePropagated,
    PruneDue,
    QueryDeadline,
    ReapTick,
    ReconnectTick,
    SnapshotTick,
)

__all__ = ["Serf"]


def _accept_anyone(_name: str, _address: Address, _tags: dict[str, str]) -> str:
    return ""


class Serf:
    """One member of a Serf cluster, sans-IO.

    Every verb returns effects to perform in order. Inputs from the network and timers go through the ``handle_*``
    verbs; events come back inside ``Notify`` (:mod:`meshnode.gossip.serf.events`). ``now`` is monotonic seconds.
    """

    def __init__(
        self,
        *,
        name: str,
        address: Address,
        tags: Mapping[str, str],
        config: SerfConfig,
        keyring: Keyring | None,
        rng: random.Random,
        entropy: Callable[[int], bytes],
        refuse_member: RefuseMember = _accept_anyone,
    ) -> None:
        check_tags(tags, config.protocol_version)
        self._config = config
        self._state = NodeState(name, address, tags, config, keyring, rng)
        self._queries = QueryFlow(self._state)
        self._delegate = SerfDelegate(self._state, self._queries, refuse_member)
        versions = (PROTOCOL_MIN, PROTOCOL_MAX, config.protocol_version)
        self._memberlist = Memberlist(
            name=name,
            address=address,
            config=replace(config.memberlist, delegate_versions=versions),
            keyring=keyring,
            delegate=self._delegate,
            rng=rng,
            entropy=entropy,
        )
        self._own_joins = OwnJoins(self._state, self._memberlist)

    # Views

    @property
    def name(self) -> str:
        """This node's name."""
        return self._state.name

    @property
    def address(self) -> Address:
        """The address that this node announces."""
        return self._state.address

    @property
    def config(self) -> SerfConfig:
        """The settings given at construction."""
        return self._config

    @property
    def lifecycle(self) -> Lifecycle:
        """Where this node is in its own life."""
        return self._state.lifecycle

    @property
    def keyring(self) -> Keyring | None:
        """The keys in use; ``None`` when gossip is in clear."""
        return self._state.keyring

    @property
    def local_member(self) -> Member:
        """This node as a member; before ``start`` as it will be."""
        state = self._state
        own = state.members.get(state.name)
        return own or Member(state.name, state.address, dict(state.tags), Status.ALIVE)

    def members(self) -> list[Member]:
        """Everybody known, whatever their status, in the order in which they were heard of."""
        return list(self._state.members)

    @property
    def members_revision(self) -> int:
        """Another number once :meth:`members` are no longer the same."""
        return self._state.members.revision

    def member(self, name: str) -> Member | None:
        """The member called ``name``."""
        return self._state.members.get(name)

    def coordinate(self) -> Coordinate | None:
        """Where this node is; ``None`` when coordinates are off."""
        return self._state.coordinates.own if self._state.coordinates else None

    def coordinate_of(self, name: str) -> Coordinate | None:
        """The last coordinate heard of a node."""
        return self._state.coordinates.of(name) if self._state.coordinates else None

    def snapshot(self) -> Snapshot:
        """What a compacted snapshot has to hold."""
        return self._state.snapshot.current if self._state.snapshot else Snapshot()

    def stats(self) -> dict[str, str]:
        """Figures under Serf's names, as text."""
        state = self._state
        stats = {
            "members": len(state.members),
            "failed": len(state.members.with_status(Status.FAILED)),
            "left": len(state.members.with_status(Status.LEFT)),
            "health_score": self._memberlist.health_score,
            "member_time": state.clock.time,
            "event_time": state.event_clock.time,
            "query_time": state.query_clock.time,
            "intent_queue": len(state.queues.intents),
            "event_queue": len(state.queues.events),
            "query_queue": len(state.queues.queries),
            "encrypted": "true" if state.keyring else "false",
        }
        if state.coordinates:
            stats["coordinate_resets"] = state.coordinates.resets
        return {key: str(value) for key, value in stats.items()}

    # Verbs

    def start(self, now: float, previous: Snapshot | None = None) -> list[Effect]:
        """Begin to take part; with a snapshot go on from its clocks and join the members that it names."""
        config, state = self._config, self._state
        previous = previous or Snapshot()
        if previous != Snapshot():
            state.restore(previous)
        if config.writes_snapshot:
            state.snapshot = SnapshotWriter(previous, rejoin_after_leave=config.rejoin_after_leave)
        effects = self._memberlist.start(now)
        effects.append(SetTimer(config.reap_interval, ReapTick()))
        effects.append(SetTimer(config.reconnect_interval, ReconnectTick()))
        if config.writes_snapshot:
            effects.append(SetTimer(config.snapshot_interval, SnapshotTick()))
        return self._settled(effects + self._own_joins.rejoin(previous.alive.items(), now), now)

    def join(self, request: int, seeds: Sequence[Address], ignore_old: bool, now: float) -> list[Effect]:
        """Dial ``seeds`` and exchange state; ends in ``JoinFinished(request)``.

        ``request`` is 0 or more. With ``ignore_old``, user events from before the join are not delivered.
        """
        if self._state.lifecycle is not Lifecycle.ALIVE:
            raise MeshError(f"node {self.name!r} can't join: it is {self._state.lifecycle.value}")
        if ignore_old:
            self._state.joins_ignoring_past.add(request)
        return self._settled(self._memberlist.join(request, list(seeds), now), now)

    def leave(self, now: float) -> list[Effect]:
        """Leave on purpose; ends in ``LeaveFinished``, at once when this node already left."""
        state = self._state
        if state.lifecycle in (Lifecycle.LEFT, Lifecycle.STOPPED):
            return [Notify(LeaveFinished())]
        if state.lifecycle is Lifecycle.LEAVING:
            return []
        state.lifecycle = Lifecycle.LEAVING
        effects: list[Effect] = []
        if state.snapshot is not None:
            effects += state.snapshot_lines(state.snapshot.leave())
        leave = Leave(state.clock.time, state.name)
        state.clock.increment()
        effects += self._delegate.left_effects(leave, self._delegate.leave_intent(leave, now), now)
        if not state.members.has_alive_others():
            return self._settled(effects + self._memberlist.leave(now), now)
        token = state.broadcast_intent(leave)
        return self._settled([*effects, *self._await_leave(token, now + self._config.broadcast_timeout)], now)

    def shutdown(self) -> None:
        """Stop taking part without a word: every later input returns no effects."""
        self._state.lifecycle = Lifecycle.STOPPED
        self._memberlist.shutdown()

    def force_leave(self, name: str, prune: bool, now: float) -> list[Effect]:
        """Make a failed member count as left everywhere; ``prune`` also erases it everywhere."""
        state = self._state
        if name == state.name or state.members.get(name) is None:
            raise MeshError(
                f"force-leave: {name!r} is {'this node: use leave' if name == state.name else 'not a member'}"
            )
        leave = Leave(state.clock.time, name, prune)
        state.clock.increment()
        effects = self._delegate.left_effects(leave, self._delegate.leave_intent(leave, now), now)
        if state.members.has_alive_others():
            state.broadcast_intent(leave)
        return self._settled(effects, now)

    def user_event(self, name: str, payload: bytes, coalesce: bool, now: float) -> list[Effect]:
        """Send an event to everybody, this node included; its size is limited by ``max_user_event_bytes``."""
        state = self._state
        event = UserEvent(state.event_clock.time, name, payload, coalesce)
        raw = serialize(event)
        limit = min(self._config.max_user_event_bytes, MAX_USER_EVENT_BYTES)
        if len(raw) > limit:
            raise MeshError(
                f"user event {name!r} takes {len(raw)} bytes and gossip carries {limit}: shorten it"
            )
        state.event_clock.increment()
        effects = self._delegate.user_event(event)
        state.queues.events.queue(raw)
        return self._settled(effects, now)

    def query(self, request: int, name: str, payload: bytes, params: QueryParams, now: float) -> list[Effect]:
        """Ask everybody who passes the filters; answers come as events, the last one ``QueryFinished``."""
        if name.startswith(INTERNAL_QUERY_PREFIX):
            raise MeshError(
                f"query name {name!r}: names that start with {INTERNAL_QUERY_PREFIX} are Serf's own"
            )
        return self._settled(self._queries.ask(name, payload, params, ApplicationQuery(request), now), now)

    def respond(self, query: QueryReceived, payload: bytes, now: float) -> list[Effect]:
        """Answer a query, once and before its deadline."""
        return self._settled(self._queries.respond(query, payload, now), now)

    def key_operation(
        self, request: int, op: KeyOperation | str, key: bytes | None, relay_factor: int, now: float
    ) -> list[Effect]:
        """Change or list every keyring of the pool; ends in ``KeyOperationFinished(request)``.

        It ends when all have answered, or at the query's timeout.
        """
        operation = KeyOperation(op)
        if (key is None) != (operation is KeyOperation.LIST):
            raise MeshError(f"key operation {operation}: {'it takes no key' if key else 'which key?'}")
        tally = KeyTally(request, self._state.members.num_present())
        params = QueryParams(relay_factor=relay_factor)
        payload = serialize_key_request(key)
        return self._settled(self._queries.ask(operation.query, payload, params, tally, now), now)

    def keyring_saved(self, change: int, error: str, now: float) -> list[Effect]:
        """The shell saved the ring of ``KeyringChanged(change)``, or could not (``error`` says why)."""
        return self._settled(self._queries.keyring_saved(change, error), now)

    def set_tags(self, tags: Mapping[str, str], now: float) -> list[Effect]:
        """Announce other tags; raises :class:`MeshError` when they don't fit."""
        check_tags(tags, self._config.protocol_version)
        self._state.tags = dict(tags)
        return self._settled(self._memberlist.update_meta(now), now)

    def set_verification(self, incoming: bool, outgoing: bool) -> None:
        """Whether to refuse unsealed gossip, and whether to seal what we send (steps of a live upshift)."""
        self._memberlist.set_verification(incoming, outgoing)

    # Inputs

    def handle_packet(self, data: bytes, src: Address, now: float) -> list[Effect]:
        """A datagram arrived."""
        return self._settled(self._memberlist.handle_packet(data, src, now), now)

    def handle_stream_accepted(self, stream: StreamId, peer: Address, now: float) -> list[Effect]:
        """A peer opened a TCP connection."""
        return self._settled(self._memberlist.handle_stream_accepted(stream, peer, now), now)

    def handle_stream_opened(self, stream: StreamId, now: float) -> list[Effect]:
        """A connection that we asked for is open."""
        return self._settled(self._memberlist.handle_stream_opened(stream, now), now)

    def handle_stream_data(self, stream: StreamId, data: bytes, now: float) -> list[Effect]:
        """Bytes arrived on a stream."""
        return self._settled(self._memberlist.handle_stream_data(stream, data, now), now)

    def handle_stream_closed(self, stream: StreamId, error: str | None, now: float) -> list[Effect]:
        """A stream ended, or could not be opened."""
        return self._settled(self._memberlist.handle_stream_closed(stream, error, now), now)

    def handle_timer(self, timer: object, now: float) -> list[Effect]:
        """A timer fired: one of ours, or memberlist's."""
        return self._settled(self._on_timer(timer, now), now)

    def _on_timer(self, timer: object, now: float) -> list[Effect]:
        config, state = self._config, self._state
        if state.lifecycle is Lifecycle.STOPPED:
            return []
        match timer:
            case ReapTick():
                reaped = state.members.reap(
                    config.reconnect_timeout, config.tombstone_timeout, config.recent_intent_timeout, now
                )
                self._queries.expire(now)
                return [*state.notify(*reaped), SetTimer(config.reap_interval, timer)]
            case ReconnectTick():
                return [*self._own_joins.reconnect(now), SetTimer(config.reconnect_interval, timer)]
            case SnapshotTick():
                return [*state.snapshot_clock(), SetTimer(config.snapshot_interval, timer)]
            case QueryDeadline():
                return self._queries.deadline_passed(timer)
            case PruneDue():
                return state.notify(*state.members.erase_departed(timer.name, timer.ltime))
            case LeaveProgress():
                if timer.token in state.queues.intents and now < timer.deadline:
                    return self._await_leave(timer.token, timer.deadline)
                return self._memberlist.leave(now)
            case LeavePropagated():
                state.lifecycle = Lifecycle.LEFT
                return [Notify(LeaveFinished())]
            case _:
                return self._memberlist.handle_timer(timer, now)

    def _await_leave(self, token: str, deadline: float) -> list[Effect]:
        return [SetTimer(self._config.memberlist.gossip_interval or 0.1, LeaveProgress(token, deadline))]

    # What memberlist reports, and what the delegate left to do

    def _settled(self, effects: list[Effect], now: float) -> list[Effect]:
        """Turn memberlist's events into Serf's and send what the delegate could not send while it was called."""
        settled: list[Effect] = []
        while effects or self._state.outgoing:
            follow_up: list[Effect] = []
            for effect in effects:
                if isinstance(effect, Notify):
                    follow_up += self._translated(effect, settled, now)
                else:
                    settled.append(effect)
            outgoing, self._state.outgoing = self._state.outgoing, []
            for item in outgoing:
                follow_up += self._memberlist.send_user(item.to, item.message, now)
            effects = follow_up
        return settled

    def _translated(self, effect: Notify, settled: list[Effect], now: float) -> list[Effect]:
        """Append the event as Serf reports it to ``settled``; return what follows from it."""
        match effect.event:
            case memberlist_events.JoinFinished(request, joined, failures):
                if request < 0:
                    return self._own_joins.finished(request, joined, now)
                self._state.joins_ignoring_past.discard(request)
                if joined and self._state.lifecycle is Lifecycle.ALIVE:
                    self._state.announce_join(now)
                settled.append(Notify(JoinFinished(request, joined, failures)))
                return []
            case memberlist_events.LeaveFinished():
                return [SetTimer(self._config.leave_propagate_delay, LeavePropagated())]
            case NameConflictLost():
                self.shutdown()
        settled.append(effect)
        return []
