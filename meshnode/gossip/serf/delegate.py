"""The half of Serf that memberlist calls: messages, push/pull state, membership news, pings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import assert_never

from meshnode.base.address import Address
from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.effects import Effect, Level, Log, SetTimer
from meshnode.gossip.memberlist.delegate import Peer
from meshnode.gossip.serf.coordinate import parse_ping, serialize_ping
from meshnode.gossip.serf.events import (
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberUpdated,
    UserEventReceived,
)
from meshnode.gossip.serf.member import Status
from meshnode.gossip.serf.members import LeaveOutcome, MemberEvent
from meshnode.gossip.serf.messages import (
    Join,
    Leave,
    PushPull,
    Query,
    QueryResponse,
    Relay,
    UserEvent,
    parse,
    serialize,
)
from meshnode.gossip.serf.query_flow import QueryFlow
from meshnode.gossip.serf.state import Lifecycle, NodeState
from meshnode.gossip.serf.tags import parse_tags, serialize_tags
from meshnode.gossip.serf.timers import PruneDue

__all__ = ["RefuseMember", "SerfDelegate"]

#: Says why the node (name, address, tags) may not be a member; the empty string accepts it.
RefuseMember = Callable[[str, Address, dict[str, str]], str]


class SerfDelegate:
    """Implements memberlist's ``Delegate`` on a node's state."""

    def __init__(self, state: NodeState, queries: QueryFlow, refuse_member: RefuseMember) -> None:
        self._state = state
        self._queries = queries
        self._refuse_member = refuse_member

    def node_meta(self) -> bytes:
        """The tags."""
        return serialize_tags(self._state.tags, self._state.config.protocol_version)

    def handle_message(self, message: bytes, now: float) -> list[Effect]:
        """One Serf message; one that can't be read is logged and dropped."""
        try:
            parsed = parse(message)
        except RemoteProtocolError as error:
            return [self._state.warn(f"dropped a message: {error}")]
        queues = self._state.queues
        match parsed:
            case Leave():
                outcome = self.leave_intent(parsed, now)
                if outcome.rebroadcast:
                    queues.intents.queue(message)
                return self.left_effects(parsed, outcome, now)
            case Join():
                self._state.clock.witness(parsed.ltime)
                if self._state.members.join_intent(parsed.node, parsed.ltime, now):
                    queues.intents.queue(message)
                return []
            case UserEvent():
                effects = self.user_event(parsed)
                if effects:
                    queues.events.queue(message)
                return effects
            case Query():
                pass_on, effects = self._queries.received(parsed, now)
                if pass_on:
                    queues.queries.queue(message)
                return effects
            case QueryResponse():
                return self._queries.response_received(parsed)
            case Relay():
                return self._relay(parsed)
            case PushPull():
                return [self._state.warn("dropped a push/pull state that came as a message")]
        assert_never(parsed)

    def leave_intent(self, leave: Leave, now: float) -> LeaveOutcome:
        """Apply a leave intent to the member table."""
        self._state.clock.witness(leave.ltime)
        staying = self._state.lifecycle is Lifecycle.ALIVE
        return self._state.members.leave_intent(
            leave.node, leave.ltime, prune=leave.prune, staying=staying, now=now
        )

    def left_effects(self, leave: Leave, outcome: LeaveOutcome, now: float) -> list[Effect]:
        """What follows from a leave intent: events, a refutation, a prune that has to wait."""
        config = self._state.config
        if outcome.refute:
            self._state.announce_join(now)
            return [Log(Level.DEBUG, "serf: refuted a leave intent about this node")]
        effects = self._member_effects(outcome.events)
        if outcome.prune_later:
            effects.append(
                SetTimer(
                    config.broadcast_timeout + config.leave_propagate_delay, PruneDue(leave.node, leave.ltime)
                )
            )
        return effects

    def user_event(self, event: UserEvent) -> list[Effect]:
        """Deliver an event unless it is old or was seen; no effects means it was not delivered."""
        state = self._state
        state.event_clock.witness(event.ltime)
        if not state.events.admit(event, state.event_clock.time):
            return []
        return state.notify(UserEventReceived(event.ltime, event.name, event.payload, event.coalesce))

    def _relay(self, relay: Relay) -> list[Effect]:
        """Pass a message on, but only to a member: we are no reflector."""
        member = self._state.members.get(relay.to_node)
        if member is None or member.address != relay.to or not relay.message:
            return [
                self._state.warn(f"did not relay a message to {relay.to_node} at {relay.to}: not a member")
            ]
        self._state.send(relay.to, relay.to_node, relay.message)
        return []

    def broadcasts(self, overhead: int, limit: int) -> list[bytes]:
        """Intents first, then queries, then user events."""
        return self._state.queues.take(overhead, limit, len(self._state.members))

    def local_state(self, joining: bool) -> bytes:
        """All status times, who left, and recent events."""
        state = self._state
        left = tuple(member.name for member in state.members if member.status is Status.LEFT)
        return serialize(
            PushPull(
                ltime=state.clock.time,
                status_ltimes=state.members.status_ltimes(),
                left_members=left,
                event_ltime=state.event_clock.time,
                events=state.events.recent(),
                query_ltime=state.query_clock.time,
            )
        )

    def merge_remote_state(self, state: bytes, joining: bool, now: float) -> list[Effect]:
        """Catch up with a peer's view, as if the messages behind it had arrived."""
        try:
            remote = parse(state)
        except RemoteProtocolError as error:
            return [self._state.warn(f"dropped a push/pull state: {error}")]
        if not isinstance(remote, PushPull):
            return [self._state.warn(f"dropped a push/pull state that is a {type(remote).__name__}")]
        local = self._state
        # Their clocks show the time of the next message: the last one that exists is one less.
        for clock, time in (
            (local.clock, remote.ltime),
            (local.event_clock, remote.event_ltime),
            (local.query_clock, remote.query_ltime),
        ):
            if time > 0:
                clock.witness(time - 1)
        effects = self._merge_intents(remote, now)
        if joining and local.joins_ignoring_past:
            local.events.min_time = max(local.events.min_time, remote.event_ltime)
        for at in remote.events:
            for name, payload in at.events:
                effects += self.user_event(UserEvent(at.ltime, name, payload))
        return effects

    def _merge_intents(self, remote: PushPull, now: float) -> list[Effect]:
        """Who left first, then the times of the others."""
        local = self._state
        effects: list[Effect] = []
        gone = dict.fromkeys(remote.left_members)
        staying = local.lifecycle is Lifecycle.ALIVE
        for name in gone:
            ltime = remote.status_ltimes.get(name, 0)
            local.clock.witness(ltime)
            outcome = local.members.listed_as_left(name, ltime, staying=staying, now=now)
            effects += self.left_effects(Leave(ltime, name), outcome, now)
        for name, ltime in remote.status_ltimes.items():
            if name not in gone:
                local.clock.witness(ltime)
                local.members.join_intent(name, ltime, now)
        return effects

    def peer_joined(self, peer: Peer, now: float) -> list[Effect]:
        """A member is here."""
        return self._member_effects(self._state.members.peer_joined(peer, self._tags(peer)))

    def peer_left(self, peer: Peer, failed: bool, now: float) -> list[Effect]:
        """A member is gone: left if it said so, else failed."""
        return self._member_effects(self._state.members.peer_left(peer.name, failed, now))

    def peer_updated(self, peer: Peer, now: float) -> list[Effect]:
        """A member changed."""
        return self._member_effects(self._state.members.peer_updated(peer, self._tags(peer)))

    def _member_effects(self, events: tuple[MemberEvent, ...]) -> list[Effect]:
        effects: list[Effect] = []
        for event in events:
            for member in event.members:
                text = f"serf: {_SAID[type(event)]}: {member.name} {member.address}"
                effects.append(Log(Level.DEBUG, text))
            effects += self._state.notify(event)
        if events:
            effects += self._state.snapshot_clock()
        return effects

    def _tags(self, peer: Peer) -> dict[str, str]:
        try:
            return parse_tags(peer.meta)
        except RemoteProtocolError:
            return {}  # ``refuse_alive`` has logged it; a member without readable tags has none

    def peer_conflict(self, existing: Peer, other: Peer, now: float) -> list[Effect]:
        """Log a name claimed twice; when it is ours, ask the others who may keep it."""
        state = self._state
        if existing.name != state.name:
            both = f"{existing.address} and {other.address}"
            return [state.warn(f"name conflict: {both} both claim {existing.name!r}")]
        text = (
            f"serf: another node at {other.address} has this node's name {state.name!r}: names must be unique"
        )
        effects: list[Effect] = [Log(Level.ERROR, text)]
        if state.config.resolves_name_conflicts and state.lifecycle is Lifecycle.ALIVE:
            effects += self._queries.resolve_conflict(now)
        return effects

    def refuse_merge(self, peers: Sequence[Peer]) -> str:
        """Refuse a push/pull as a whole when one of its nodes is refused."""
        return next((reason for peer in peers if (reason := self.refuse_alive(peer))), "")

    def refuse_alive(self, peer: Peer) -> str:
        """Why the agent, or the encoding of its tags, keeps a node out."""
        if peer.name == self._state.name and peer.address == self._state.address:
            return ""
        try:
            tags = parse_tags(peer.meta)
        except RemoteProtocolError as error:
            return f"node {peer.name!r}: {error}"
        return self._refuse_member(peer.name, peer.address, tags)

    def ack_payload(self) -> bytes:
        """Our coordinate."""
        coordinates = self._state.coordinates
        return serialize_ping(coordinates.own) if coordinates else b""

    def ping_completed(self, peer: Peer, rtt: float, payload: bytes, now: float) -> list[Effect]:
        """Learn how far ``peer`` is."""
        if not payload or self._state.coordinates is None:
            return []
        try:
            self._state.coordinates.update(peer.name, parse_ping(payload), rtt)
        except RemoteProtocolError as error:
            return [Log(Level.TRACE, f"serf: refused the coordinate of {peer.name}: {error}")]
        return []


_SAID: dict[type, str] = {
    MemberJoined: "member joined",
    MemberLeft: "member left",
    MemberFailed: "member failed",
    MemberUpdated: "member updated",
    MemberReaped: "member reaped",
}
