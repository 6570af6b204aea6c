"""Queries both ways: asking everybody and collecting the answers, and answering what others ask."""

from __future__ import annotations

from meshnode.base.address import Address
from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.gossip.effects import Effect, Level, Log, Notify, SetTimer
from meshnode.gossip.serf.conflict import NameVote
from meshnode.gossip.serf.events import KeyringChanged, QueryReceived
from meshnode.gossip.serf.filters import passes, serialize_filters
from meshnode.gossip.serf.keys import answer_key_query, shortened
from meshnode.gossip.serf.member import Member, Status
from meshnode.gossip.serf.messages import Query, QueryFlag, QueryResponse, Relay, serialize
from meshnode.gossip.serf.payloads import (
    INTERNAL_QUERY_PREFIX,
    InternalQuery,
    KeyAnswer,
    serialize_conflict_answer,
    serialize_key_answer,
)
from meshnode.gossip.serf.queries import Collector, PendingQuery, QueryParams, default_query_timeout
from meshnode.gossip.serf.state import NodeState
from meshnode.gossip.serf.timers import QueryDeadline

__all__ = ["QueryFlow"]

#: First memberlist protocol whose nodes can relay.
_RELAY_PROTOCOL = 5


class QueryFlow:
    """All queries of one node, in both directions."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._pending: dict[int, PendingQuery] = {}
        self._unanswered: dict[tuple[int, int], float] = {}
        self._unsaved: dict[int, tuple[QueryReceived, KeyAnswer]] = {}
        self._changes = 0
        self._vote: NameVote | None = None

    # Asking

    def ask(
        self, name: str, payload: bytes, params: QueryParams, collector: Collector, now: float
    ) -> list[Effect]:
        """Send a query to everybody, this node included, and collect what comes back.

        Raises :class:`MeshError` when the encoded query exceeds ``max_query_bytes``.
        """
        state = self._state
        timeout = params.timeout
        if timeout is None:
            timeout = default_query_timeout(
                state.config.memberlist.gossip_interval,
                state.config.query_timeout_mult,
                state.members.num_present(),
            )
        query = Query(
            ltime=state.query_clock.time,
            id=state.rng.getrandbits(31),
            source=state.address,
            source_node=state.name,
            name=name,
            timeout=timeout,
            payload=payload,
            filters=serialize_filters(params.filter_nodes, params.filter_tags),
            flags=QueryFlag.ACK if params.request_ack else QueryFlag.NONE,
            relay_factor=params.relay_factor,
        )
        raw = serialize(query)
        if len(raw) > state.config.max_query_bytes:
            raise MeshError(
                f"query {name!r} takes {len(raw)} bytes and gossip carries {state.config.max_query_bytes}: "
                "shorten its payload or its filters"
            )
        self._pending[query.ltime] = PendingQuery(query.id, collector)
        effects: list[Effect] = [SetTimer(timeout, QueryDeadline(query.ltime, query.id))]
        effects += self.received(query, now)[1]
        state.queues.queries.queue(raw)
        return effects

    def deadline_passed(self, timer: QueryDeadline) -> list[Effect]:
        """Close a query of ours; one that was complete before is gone already."""
        pending = self._pending.get(timer.ltime)
        if pending is None or pending.id != timer.id:
            return []
        return self._close(timer.ltime)

    def response_received(self, response: QueryResponse) -> list[Effect]:
        """Count an acknowledgement or an answer to a query of ours; others are late or astray."""
        pending = self._pending.get(response.ltime)
        if pending is None or pending.id != response.id:
            text = f"serf: answer of {response.node} to a query that is not open (time {response.ltime})"
            return [Log(Level.DEBUG, text)]
        if response.flags & QueryFlag.ACK:
            return pending.acked(response.node)
        effects = pending.responded(response.node, response.payload)
        if pending.collector.is_complete():
            effects += self._close(response.ltime)
        return effects

    def _close(self, ltime: int) -> list[Effect]:
        return self._pending.pop(ltime).collector.finished()

    def resolve_conflict(self, now: float) -> list[Effect]:
        """Ask the others where they see our name, unless that is being asked already."""
        if self._vote is not None and not self._vote.is_over:
            return []
        self._vote = NameVote(self._state.name, self._state.address)
        return self.ask(InternalQuery.CONFLICT, self._state.name.encode(), QueryParams(), self._vote, now)

    # Answering

    def received(self, query: Query, now: float) -> tuple[bool, list[Effect]]:
        """Take in a query (ours too): whether to pass it on, and what follows from it here."""
        state = self._state
        state.query_clock.witness(query.ltime)
        if not state.queries.admit(query.ltime, query.id, state.query_clock.time):
            return False, []
        pass_on = not query.flags & QueryFlag.NO_BROADCAST
        try:
            if not passes(query.filters, state.name, state.tags):
                return pass_on, []
        except RemoteProtocolError as error:
            return pass_on, [
                state.warn(f"query {query.name!r} of {query.source_node} was not answered: {error}")
            ]
        received = QueryReceived(
            query.ltime,
            query.id,
            query.name,
            query.payload,
            query.source,
            query.source_node,
            now + query.timeout,
            query.relay_factor,
        )
        effects: list[Effect] = []
        if query.flags & QueryFlag.ACK:
            effects += self._deliver(received, self._response(received, b"", QueryFlag.ACK))
        if query.name.startswith(INTERNAL_QUERY_PREFIX):
            effects += state.record(received) + self._answer_internal(received)
        else:
            self._unanswered[query.ltime, query.id] = received.deadline
            effects += state.notify(received)
        return pass_on, effects

    def respond(self, query: QueryReceived, payload: bytes, now: float) -> list[Effect]:
        """Answer a query once.

        Raises :class:`MeshError` when it was answered, when its deadline passed, or when the answer is too long.
        """
        if (query.ltime, query.id) not in self._unanswered:
            raise MeshError(
                f"query {query.name!r} of {query.source_node} was answered already, or is not open"
            )
        if now > query.deadline:
            raise MeshError(f"query {query.name!r} of {query.source_node} is past its deadline")
        response = self._response(query, payload)
        size, limit = len(serialize(response)), self._state.config.max_query_response_bytes
        if size > limit:
            raise MeshError(
                f"the answer to query {query.name!r} takes {size} bytes of {limit} allowed: shorten it"
            )
        del self._unanswered[query.ltime, query.id]
        return self._deliver(query, response)

    def expire(self, now: float) -> None:
        """Forget queries that nobody answered in time."""
        self._unanswered = {key: deadline for key, deadline in self._unanswered.items() if deadline >= now}

    def keyring_saved(self, change: int, error: str) -> list[Effect]:
        """The ring of ``KeyringChanged(change)`` was saved, or not (``error``): tell who asked for the change."""
        waiting = self._unsaved.pop(change, None)
        if waiting is None:
            return []
        query, answer = waiting
        return self._answer_key(query, KeyAnswer(False, error) if error else answer)

    def _response(
        self, query: QueryReceived, payload: bytes, flags: QueryFlag = QueryFlag.NONE
    ) -> QueryResponse:
        return QueryResponse(query.ltime, query.id, self._state.name, payload, flags)

    def _deliver(self, query: QueryReceived, response: QueryResponse) -> list[Effect]:
        """Send a response home and through relays; one to ourselves stays here."""
        state = self._state
        if query.source_node == state.name and query.source == state.address:
            return self.response_received(response)
        raw = serialize(response)
        state.send(query.source, query.source_node, raw)
        if not 0 < query.relay_factor < len(state.members):
            return []
        relayed = serialize(Relay(query.source, query.source_node, raw))
        if len(relayed) > state.config.max_query_response_bytes:
            return [state.warn(f"answer to query {query.name!r} is too long to be relayed")]
        for member in self._relays(query.relay_factor):
            state.send(member.address, member.name, relayed)
        return []

    def _relays(self, count: int) -> list[Member]:
        """Up to ``count`` random members that can pass a message on."""
        able = [
            member
            for member in self._state.members
            if member.status is Status.ALIVE
            and member.versions[1] >= _RELAY_PROTOCOL
            and member.name != self._state.name
        ]
        return self._state.rng.sample(able, min(count, len(able)))

    def _answer_internal(self, query: QueryReceived) -> list[Effect]:
        match query.name:
            case InternalQuery.PING:
                return []  # the acknowledgement was all that it is about
            case InternalQuery.CONFLICT:
                return self._answer_conflict(query)
            case (
                InternalQuery.INSTALL_KEY
                | InternalQuery.USE_KEY
                | InternalQuery.REMOVE_KEY
                | InternalQuery.LIST_KEYS
            ):
                return self._handle_key_query(query)
            case _:
                return [
                    self._state.warn(f"internal query {query.name!r} of {query.source_node} is not known")
                ]

    def _answer_conflict(self, query: QueryReceived) -> list[Effect]:
        name = query.payload.decode("utf-8", "replace")
        if name == self._state.name:
            return []  # the parties don't vote
        member = self._state.members.get(name) or Member(name, Address("0.0.0.0", 0), {}, Status.NONE)
        address = None if member.status is Status.NONE else member.address
        payload = serialize_conflict_answer(name, address, dict(member.tags), member.status, member.versions)
        return self._deliver(query, self._response(query, payload))

    def _handle_key_query(self, query: QueryReceived) -> list[Effect]:
        keyring = self._state.keyring
        before = keyring.keys if keyring is not None else ()
        answer = answer_key_query(InternalQuery(query.name), query.payload, keyring)
        level = Level.INFO if answer.result else Level.ERROR
        effects: list[Effect] = [
            Log(level, f"serf: {query.name.removeprefix(INTERNAL_QUERY_PREFIX)} of {query.source_node}: "
                f"{'done' if answer.result else answer.message}")
        ]  # fmt: skip
        if keyring is None or keyring.keys == before:
            return effects + self._answer_key(query, answer)
        self._changes += 1
        if self._state.config.persists_keyring:
            self._unsaved[self._changes] = (query, answer)
            return [*effects, Notify(KeyringChanged(self._changes, keyring.keys))]
        return [
            *effects,
            Notify(KeyringChanged(self._changes, keyring.keys)),
            *self._answer_key(query, answer),
        ]

    def _answer_key(self, query: QueryReceived, answer: KeyAnswer) -> list[Effect]:
        """Answer a key query with as many keys as fit into one response."""
        limit = self._state.config.max_query_response_bytes
        response = self._response(query, serialize_key_answer(answer))
        effects: list[Effect] = []
        if len(serialize(response)) > limit and not answer.keys:
            answer = KeyAnswer(answer.result, answer.message[: limit // 4])
            response = self._response(query, serialize_key_answer(answer))
        for count in range(len(answer.keys) - 1, -1, -1):
            if len(serialize(response)) <= limit:
                break
            short = shortened(answer, count)
            effects = [self._state.warn(short.message)]
            response = self._response(query, serialize_key_answer(short))
        return effects + self._deliver(query, response)
