"""Who leads, by etcd: a lease kept alive holds the key ``leader``, and its creation revision is the epoch.

Every server keeps a session (a lease), so that a member which stops answering is noticed within a third of the lease,
whoever leads. The lease is counted from *before* each renewal was sent, so we think it over before etcd does; a process
that slept through it all is stopped by the epoch in each append. An expired lease is revoked, not renewed: each term
has an epoch of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from meshnode.control.log import LeadershipChange, LogError, LogUnavailableError, NotLeaderError
from meshnode.runtime.etcd_client import RETRY_INTERVAL, EtcdClient, EtcdRefusedError
from meshnode.runtime.etcd_messages import (
    LEASE_GRANT,
    LEASE_KEEP_ALIVE,
    LEASE_REVOKE,
    TXN,
    WATCH,
    message,
)
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["CREATED", "MODIFIED", "EtcdElection", "delete", "equal", "fetch", "first_after", "put"]

_log = logging.getLogger("meshnode.etcd")
#: ``Compare.target``: the revision that made a key, and the one that changed it last (0: there is no such key).
CREATED: Final = "create_revision"
MODIFIED: Final = "mod_revision"
_TARGETS: Final = {CREATED: 1, MODIFIED: 2}
#: Seconds for giving the lease back at the end.
REVOKE_TIMEOUT: Final = 1.0


class _Seen(NamedTuple):
    """``leader`` and ``heir`` are ``KeyValue`` or ``None``, as of ``revision``."""

    revision: int
    leader: Any
    heir: Any


def equal(key: bytes, target: str, revision: int) -> Any:
    """A ``Compare``: ``target`` of ``key`` is ``revision``."""
    return message("Compare", result=0, target=_TARGETS[target], key=key, **{target: revision})


def fetch(key: bytes, **options: Any) -> Any:
    """A ``RequestOp`` that reads ``key`` (or up to ``range_end``)."""
    return message("RequestOp", request_range=message("RangeRequest", key=key, **options))


def put(key: bytes, value: bytes, lease: int = 0) -> Any:
    """A ``RequestOp`` that writes ``key``."""
    return message("RequestOp", request_put=message("PutRequest", key=key, value=value, lease=lease))


def delete(key: bytes, range_end: bytes = b"") -> Any:
    """A ``RequestOp`` that deletes ``key`` (or up to ``range_end``)."""
    request = message("DeleteRangeRequest", key=key, range_end=range_end)
    return message("RequestOp", request_delete_range=request)


def first_after(prefix: bytes) -> bytes:
    """The end of the range of all keys that begin with ``prefix`` (whose last byte isn't 0xff)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


class EtcdElection:
    """``take_over(epoch)`` is awaited before anyone hears that we lead; ``publish`` hears of each change."""

    def __init__(
        self,
        client: EtcdClient,
        prefix: bytes,
        node_id: str,
        lease_ttl: int,
        take_over: Callable[[int], Awaitable[None]],
        publish: Callable[[LeadershipChange], None],
    ) -> None:
        self._client = client
        self._keys = prefix + b"election/"
        self.leader_key = self._keys + b"leader"
        self._heir_key = self._keys + b"heir"
        self._node_id = node_id
        self._ttl = lease_ttl
        self._take_over = take_over
        self._publish = publish
        self._lease = 0
        self._old_lease = 0
        self._valid_until = 0.0
        self._standing = False
        self._taken_over = 0
        self._current = LeadershipChange()
        self._poke = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def current(self) -> LeadershipChange:
        """Who leads; never ourselves past the end of our lease, even when nothing ran meanwhile."""
        ours = self._current.leader == self._node_id
        if ours and asyncio.get_running_loop().time() >= self._valid_until:
            return LeadershipChange()
        return self._current

    def leads(self, epoch: int) -> bool:
        """Whether we lead under ``epoch``, as far as we know."""
        current = self.current
        return current.leader == self._node_id and current.epoch == epoch

    def start(self) -> None:
        """Keep a session and watch the election."""
        self._tasks = [
            spawn(self._keep_session(), name="etcd-session"),
            spawn(self._watch_election(), name="etcd-election"),
        ]

    async def stop(self) -> None:
        """Give the lease back, and with it leadership."""
        await cancel_and_wait(*self._tasks)
        self._tasks = []
        self._set(LeadershipChange())
        for lease in filter(None, (self._lease, self._old_lease)):
            with contextlib.suppress(LogUnavailableError):
                await self._client.call(LEASE_REVOKE, message("LeaseRevokeRequest", ID=lease), REVOKE_TIMEOUT)
        self._lease = self._old_lease = 0

    def campaign(self) -> None:
        """Stand from now on."""
        self._standing = True
        self._poke.set()

    async def resign(self) -> None:
        """Stand no more, and give up the key if it is ours."""
        self._standing = False
        epoch = self._current.epoch if self._current.leader == self._node_id else 0
        self._poke.set()  # should etcd not answer now, the task goes on trying
        if epoch:
            await self._give_up(epoch)
            self._set(LeadershipChange())

    async def transfer(self, node_id: str) -> None:
        """Name ``node_id`` as heir, for as long as a lease lasts, and give up the key."""
        current = self.current
        if current.leader != self._node_id:
            raise NotLeaderError(current.leader)
        if node_id == self._node_id:
            return
        granted = await self._client.call(LEASE_GRANT, message("LeaseGrantRequest", TTL=self._ttl))
        heir = put(self._heir_key, node_id.encode(), granted.ID)
        await self._give_up(current.epoch, heir)
        self._set(LeadershipChange())

    async def depose(self, epoch: int) -> None:
        """Take the key from another leader that is known to be dead. Should it live, its epoch is over all the same."""
        if self._current.epoch == epoch and self._current.leader != self._node_id:
            _log.info("leader %s does not run: its term is ended", self._current.leader)
            await self._give_up(epoch)

    def look_again(self) -> None:
        """Somebody has reason to think that we don't lead any more."""
        self._poke.set()

    async def _give_up(self, epoch: int, *also: Any) -> None:
        request = message(
            "TxnRequest",
            compare=[equal(self.leader_key, CREATED, epoch)],
            success=[*also, delete(self.leader_key)],
        )
        await self._client.call(TXN, request)

    # The session

    def contact_age(self) -> float:
        """Seconds since etcd last confirmed our session; infinite without one."""
        if not self._lease:
            return math.inf
        return max(0.0, asyncio.get_running_loop().time() - (self._valid_until - self._ttl))

    async def _keep_session(self) -> None:
        loop = asyncio.get_running_loop()
        interval = self._ttl / 3
        while True:
            if self._lease and loop.time() >= self._valid_until:
                self._expire()
            pause = interval
            try:
                await self._renew(interval) if self._lease else await self._grant()
            except LogUnavailableError as error:
                _log.debug("session: %s", error)
                pause = RETRY_INTERVAL
            left = self._valid_until - loop.time() if self._lease else pause
            await asyncio.sleep(max(0.0, min(pause, left)))

    async def _grant(self) -> None:
        if self._old_lease:
            with contextlib.suppress(EtcdRefusedError):  # it has expired by itself
                await self._client.call(LEASE_REVOKE, message("LeaseRevokeRequest", ID=self._old_lease))
            self._old_lease = 0
        sent = asyncio.get_running_loop().time()
        reply = await self._client.call(LEASE_GRANT, message("LeaseGrantRequest", TTL=self._ttl))
        self._lease, self._valid_until = reply.ID, sent + self._ttl
        self._poke.set()

    async def _renew(self, timeout: float) -> None:
        sent = asyncio.get_running_loop().time()
        timeout = max(0.05, min(timeout, self._valid_until - sent))
        reply = await self._client.call(
            LEASE_KEEP_ALIVE, message("LeaseKeepAliveRequest", ID=self._lease), timeout
        )
        if reply.TTL > 0:
            self._valid_until = sent + self._ttl
        else:
            self._expire()

    def _expire(self) -> None:
        _log.warning("the session with etcd has expired")
        self._old_lease, self._lease, self._taken_over = self._lease, 0, 0
        self._set(LeadershipChange())
        self._poke.set()

    # The election

    async def _watch_election(self) -> None:
        while True:
            try:
                self._poke.clear()
                seen = await self._look()
                if not await self._act(seen):
                    await self._wait_for_change(seen.revision + 1)
            except LogUnavailableError as error:
                _log.debug("election: %s", error)
                await asyncio.sleep(RETRY_INTERVAL)
            except LogError as error:
                _log.error("this server can't take part in the election: %s", error)
                await asyncio.sleep(self._ttl)

    async def _look(self) -> _Seen:
        reply = await self._client.call(
            TXN, message("TxnRequest", success=[fetch(self.leader_key), fetch(self._heir_key)])
        )
        leader, heir = (next(iter(answer.response_range.kvs), None) for answer in reply.responses)
        return _Seen(reply.header.revision, leader, heir)

    async def _act(self, seen: _Seen) -> bool:
        """Do what ``seen`` asks for; true when something was changed and has to be looked at again."""
        lease, leader = self._lease, seen.leader
        if leader is None:
            self._set(LeadershipChange())
            name = seen.heir.value.decode(errors="replace") if seen.heir is not None else self._node_id
            if self._standing and lease and name == self._node_id:
                await self._stand(seen, lease)
                return True
        elif leader.value != self._node_id.encode():
            self._set(LeadershipChange(leader.value.decode(errors="replace"), leader.create_revision))
        elif not lease or leader.lease != lease:
            self._set(LeadershipChange())  # a term of ours that is over, or of the process before us
        elif not self._standing:
            await self._give_up(leader.create_revision)
            return True
        else:
            if self._taken_over != leader.create_revision:
                await self._take_over(leader.create_revision)
                self._taken_over = leader.create_revision
            if self._lease == lease:
                self._set(LeadershipChange(self._node_id, leader.create_revision))
        return False

    async def _stand(self, seen: _Seen, lease: int) -> None:
        heir_revision = seen.heir.mod_revision if seen.heir is not None else 0
        request = message(
            "TxnRequest",
            compare=[equal(self.leader_key, CREATED, 0), equal(self._heir_key, MODIFIED, heir_revision)],
            success=[put(self.leader_key, self._node_id.encode(), lease), delete(self._heir_key)],
        )
        await self._client.call(TXN, request)

    async def _wait_for_change(self, revision: int) -> None:
        waits = [
            spawn(self._next_event(revision), name="etcd-election-watch"),
            spawn(self._poke.wait(), name="etcd-election-poke"),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(*waits)

    async def _next_event(self, revision: int) -> None:
        """Return when something may have changed: an event, or a watch that failed."""
        request = message(
            "WatchCreateRequest", key=self._keys, range_end=first_after(self._keys), start_revision=revision
        )
        watch = self._client.stream(WATCH, message("WatchRequest", create_request=request))
        try:
            async with aclosing(watch) as answers:
                async for answer in answers:
                    if answer.events or answer.canceled:
                        return
        except LogUnavailableError as error:
            _log.debug("election: %s", error)
            await asyncio.sleep(RETRY_INTERVAL)

    def _set(self, change: LeadershipChange) -> None:
        if change != self._current:
            self._current = change
            self._publish(change)
