"""Who is in the cluster: memberlist's news and Serf's intents reconciled by Lamport time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from meshnode.gossip.memberlist.delegate import Peer
from meshnode.gossip.serf.events import MemberFailed, MemberJoined, MemberLeft, MemberReaped, MemberUpdated
from meshnode.gossip.serf.intents import IntentKind, RecentIntents
from meshnode.gossip.serf.member import Cause, Member, Status, next_status

__all__ = ["LeaveOutcome", "MemberEvent", "MemberTable"]

MemberEvent = MemberJoined | MemberLeft | MemberFailed | MemberUpdated | MemberReaped


@dataclass(slots=True)
class _Record:
    member: Member
    status_ltime: int = 0
    #: Monotonic seconds at which it failed or left; ``None`` while it is here.
    gone_since: float | None = None


@dataclass(frozen=True, slots=True)
class LeaveOutcome:
    """What a leave intent came to: whether to pass it on, what happened, and what it asks of the caller."""

    rebroadcast: bool
    events: tuple[MemberEvent, ...] = ()
    #: The intent is about this node, which has no intention to leave: broadcast a newer join.
    refute: bool = False
    #: The member is to be erased once it had time to leave by itself.
    prune_later: bool = False


class MemberTable:
    """All members by name, with the Lamport time of their last intent."""

    def __init__(self, local_name: str) -> None:
        self._local_name = local_name
        self._records: dict[str, _Record] = {}
        self._intents = RecentIntents()
        self._revision = 0

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Member]:
        return iter([record.member for record in self._records.values()])

    @property
    def revision(self) -> int:
        """Another number after each change of a member; leaving, and not leaving after all, make no event."""
        return self._revision

    def get(self, name: str) -> Member | None:
        """The member called ``name``, whatever its status."""
        record = self._records.get(name)
        return record.member if record else None

    def with_status(self, status: Status) -> list[Member]:
        """Members that have ``status`` now."""
        return [record.member for record in self._records.values() if record.member.status is status]

    def num_present(self) -> int:
        """How many members take part now, this node included."""
        return sum(record.gone_since is None for record in self._records.values())

    def status_ltimes(self) -> dict[str, int]:
        """Lamport time of the last intent about each member."""
        return {name: record.status_ltime for name, record in self._records.items()}

    def has_alive_others(self) -> bool:
        """Whether anyone would hear a broadcast."""
        return any(
            record.member.status is Status.ALIVE
            for name, record in self._records.items()
            if name != self._local_name
        )

    def peer_joined(self, peer: Peer, tags: dict[str, str]) -> tuple[MemberEvent, ...]:
        """Memberlist sees ``peer`` alive; a buffered intent about it takes effect."""
        fresh = Member(peer.name, peer.address, tags, Status.ALIVE, peer.versions)
        record = self._records.get(peer.name)
        if record is None:
            record = self._records[peer.name] = _Record(fresh)
            intent = self._intents.of(peer.name)
            if intent is not None:
                record.status_ltime = intent.ltime
                if intent.kind is IntentKind.LEAVE:
                    fresh = replace(fresh, status=Status.LEAVING)
            self._change(record, fresh)
        else:
            self._change(record, replace(fresh, status=next_status(record.member.status, Cause.JOINED)))
            record.gone_since = None
        return (MemberJoined((record.member,)),)

    def peer_left(self, name: str, failed: bool, now: float) -> tuple[MemberEvent, ...]:
        """Memberlist lost ``name``; one that is unknown or already gone changes nothing."""
        record = self._records.get(name)
        if record is None or record.gone_since is not None:
            return ()
        status = next_status(record.member.status, Cause.FAILED if failed else Cause.DEPARTED)
        self._change(record, replace(record.member, status=status))
        record.gone_since = now
        return (MemberFailed((record.member,)) if status is Status.FAILED else MemberLeft((record.member,)),)

    def peer_updated(self, peer: Peer, tags: dict[str, str]) -> tuple[MemberEvent, ...]:
        """``peer`` has other tags, address or versions."""
        record = self._records.get(peer.name)
        if record is None:
            return ()
        self._change(record, Member(peer.name, peer.address, tags, record.member.status, peer.versions))
        return (MemberUpdated((record.member,)),)

    def join_intent(self, node: str, ltime: int, now: float) -> bool:
        """``node`` says it joined at ``ltime``; true when the message was news and should travel on."""
        record = self._records.get(node)
        if record is None:
            return self._intents.record(node, IntentKind.JOIN, ltime, now)
        if ltime <= record.status_ltime:
            return False
        record.status_ltime = ltime
        status = next_status(record.member.status, Cause.JOIN_INTENT)
        self._change(record, replace(record.member, status=status))
        return True

    def leave_intent(self, node: str, ltime: int, *, prune: bool, staying: bool, now: float) -> LeaveOutcome:
        """``node`` is to leave as of ``ltime``; ``staying`` says that this node itself has no such plan.

        The time is recorded even when the status stays: otherwise two nodes would pass two successive leave
        messages about a third back and forth for ever (Consul issue 8179).
        """
        record = self._records.get(node)
        if record is None:
            return LeaveOutcome(self._intents.record(node, IntentKind.LEAVE, ltime, now))
        if ltime <= record.status_ltime:
            return LeaveOutcome(rebroadcast=False)
        if node == self._local_name and staying:
            return LeaveOutcome(rebroadcast=False, refute=True)
        record.status_ltime = ltime
        before = record.member.status
        status = next_status(before, Cause.LEAVE_INTENT)
        self._change(record, replace(record.member, status=status))
        events: tuple[MemberEvent, ...] = ()
        if before is Status.FAILED:
            events = (MemberLeft((record.member,)),)
        if prune and status is not Status.LEAVING:
            events += self.erase(node)
        return LeaveOutcome(True, events, prune_later=prune and status is Status.LEAVING)

    def listed_as_left(self, node: str, ltime: int, *, staying: bool, now: float) -> LeaveOutcome:
        """A peer's state has ``node`` among those that left, with ``ltime`` as its status time.

        That is no intent: the time of the leave isn't known, and may have been raised by a join since. Serf makes up
        ``ltime + 1``, which a real intent may carry too: then a prune, or the join of a node that came back, is taken
        for old news and dropped for good. Here the leave counts as just before ``ltime``, and as nothing for a
        member that is on its way out or gone already.
        """
        record = self._records.get(node)
        if record is None:
            self._intents.record(node, IntentKind.LEAVE, max(ltime - 1, 0), now)
            return LeaveOutcome(rebroadcast=False)
        if node == self._local_name and staying:
            return LeaveOutcome(rebroadcast=False, refute=ltime >= record.status_ltime)
        before = record.member.status
        late = ltime > record.status_ltime if before is Status.ALIVE else ltime >= record.status_ltime
        if before not in (Status.ALIVE, Status.FAILED) or not late:
            return LeaveOutcome(rebroadcast=False)
        record.status_ltime = max(record.status_ltime, ltime - 1)
        self._change(record, replace(record.member, status=next_status(before, Cause.LEAVE_INTENT)))
        events = (MemberLeft((record.member,)),) if before is Status.FAILED else ()
        return LeaveOutcome(False, events)

    def erase(self, name: str) -> tuple[MemberEvent, ...]:
        """Forget a member; the local one can't be."""
        if name == self._local_name or name not in self._records:
            return ()
        self._revision += 1
        return (MemberReaped((self._records.pop(name).member,)),)

    def erase_departed(self, name: str, ltime: int) -> tuple[MemberEvent, ...]:
        """The late half of a prune at ``ltime``: forget ``name`` unless it came back, even to fail again."""
        record = self._records.get(name)
        if record is None or record.member.status is Status.ALIVE or record.status_ltime > ltime:
            return ()
        return self.erase(name)

    def reap(
        self, reconnect_timeout: float, tombstone_timeout: float, intent_timeout: float, now: float
    ) -> list[MemberEvent]:
        """Forget members that failed or left too long ago, and intents nobody asked for."""
        limits = {Status.FAILED: reconnect_timeout, Status.LEFT: tombstone_timeout}
        expired = [
            name
            for name, record in self._records.items()
            if record.gone_since is not None
            and now - record.gone_since > limits.get(record.member.status, tombstone_timeout)
        ]
        self._intents.expire(intent_timeout, now)
        return [event for name in expired for event in self.erase(name)]

    def _change(self, record: _Record, member: Member) -> None:
        record.member = member
        self._revision += 1
