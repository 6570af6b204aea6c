"""The engine for two or more servers: a log in etcd, written by the leader and followed by all.

Keys under the prefix (indexes in 16 hexadecimal digits, so that their order is that of the bytes):

``format``                 the layout's version
``election/leader|heir``   see ``etcd_election``; the creation revision of ``leader`` is the epoch
``head``                   msgpack ``[first, last, epoch]`` of the newest entry: index of the log, and the barrier
``entries/<first index>``  ``serialize_entry``
``snapshot``, ``snapshots/``  see ``etcd_snapshots``

An append is one transaction: *if* ``leader`` was made at our epoch *and* ``head`` is as we left it, put the entry and
the head. A request without an answer is made again as it was: should the first have been carried out, ``head`` differs
and the entry stands there. So an append ends in a known outcome as long as we lead, and never in two entries.

Entries have a key each (instead of versions of one key), so that etcd's own compaction of revisions never takes one
away: the log ends where *we* compacted it. A server keeps nothing of it on its own disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple

import msgpack
from grpclib.const import Status

from meshnode.control.log import (
    Appended,
    CompactedError,
    Entry,
    LeadershipChange,
    LogCorruptError,
    LogUnavailableError,
    LogVersionError,
    NotLeaderError,
    OnLeadership,
    Snapshot,
    StaleEpochError,
    check_batch,
    parse_entry,
    serialize_entry,
)
from meshnode.runtime.etcd_client import (
    RETRY_INTERVAL,
    EtcdClient,
    EtcdRefusedError,
    EtcdSettings,
    EtcdUnavailableError,
)
from meshnode.runtime.etcd_election import (
    CREATED,
    MODIFIED,
    EtcdElection,
    delete,
    equal,
    fetch,
    first_after,
    put,
)
from meshnode.runtime.etcd_messages import COMPACT, RANGE, TXN, WATCH, Method, message
from meshnode.runtime.etcd_snapshots import EtcdSnapshots

__all__ = ["EtcdLog"]

_log = logging.getLogger("meshnode.log")
#: The layout of keys above. A newer one is refused.
FORMAT: Final = 1
#: Entries, and bytes, that a page of the log aims at.
MAX_PAGE_ENTRIES: Final = 1024
PAGE_BYTES: Final = 2 << 20
#: Seconds that reads are tried for before the caller hears ``LogUnavailableError``.
READ_TIMEOUT: Final = 7.0
#: ``WatchCreateRequest.FilterType``: no deletions.
NO_DELETE: Final = 1


class _Head(NamedTuple):
    last: int
    revision: int


class EtcdLog:
    """An engine (``control.log.Log``). Needs etcd 3.4 or later; ``endpoints`` are any members of one cluster."""

    def __init__(self, settings: EtcdSettings, node_id: str) -> None:
        prefix = settings.prefix.encode()
        self._node_id = node_id
        self._client = EtcdClient(settings)
        self._election = EtcdElection(
            self._client, prefix, node_id, settings.lease_ttl, self._take_over, self._publish
        )
        self._format_key, self._head_key = prefix + b"format", prefix + b"head"
        self._entries, self._entries_end = prefix + b"entries/", first_after(prefix + b"entries/")
        self._snapshots = EtcdSnapshots(prefix)
        self._subscribers: list[OnLeadership] = []
        self._appending = asyncio.Lock()
        self._append_timeout = settings.append_timeout
        self._head = _Head(0, 0)
        self._stopped = False

    @property
    def node_id(self) -> str:
        """See ``Log``."""
        return self._node_id

    @property
    def leadership(self) -> LeadershipChange:
        """See ``Log``."""
        return self._election.current

    def contact_age(self) -> float:
        """See ``Log``."""
        return self._election.contact_age()

    async def start(self) -> None:
        """Connect, check the version of the layout, and watch the election. Waits until etcd answers."""
        request = message(
            "TxnRequest",
            compare=[equal(self._format_key, CREATED, 0)],
            success=[put(self._format_key, str(FORMAT).encode())],
            failure=[fetch(self._format_key)],
        )
        reply = await self._read(TXN, request, timeout=None)
        if not reply.succeeded:
            found = bytes(reply.responses[0].response_range.kvs[0].value)
            if not found.isdigit() or int(found) > FORMAT:
                raise LogVersionError(
                    f"the log in etcd has format {found.decode(errors='replace')}, this meshnode reads {FORMAT}: "
                    "start the newer meshnode"
                )
        self._election.start()

    async def stop(self) -> None:
        """See ``Log``."""
        if not self._stopped:
            self._stopped = True
            await self._election.stop()
            await self._client.close()

    async def depose(self, epoch: int) -> None:
        """See ``Log``."""
        await self._election.depose(epoch)

    def reconnect(self) -> None:
        """Use a new connection, with the certificates as they are now; nothing is lost."""
        self._client.reconnect()

    def subscribe(self, on_leadership: OnLeadership) -> None:
        """See ``Log``."""
        self._subscribers.append(on_leadership)

    async def campaign(self) -> None:
        """See ``Log``."""
        self._election.campaign()

    async def resign(self) -> None:
        """See ``Log``."""
        await self._election.resign()

    async def transfer(self, node_id: str) -> None:
        """See ``Log``."""
        await self._election.transfer(node_id)

    # Appending

    async def append(self, commands: Sequence[bytes], epoch: int) -> Appended:
        """See ``Log``. Lasts through the death of a member; ``in_doubt`` only when leadership ends meanwhile."""
        check_batch(commands)
        async with self._appending:
            current = self.leadership
            if current.leader != self._node_id:
                raise NotLeaderError(current.leader)
            if epoch != current.epoch:
                raise StaleEpochError(epoch, current.epoch)
            while True:
                entry = Entry(self._head.last + 1, epoch, tuple(commands))
                value = serialize_entry(entry)
                reply = await self._commit(entry, value)
                if reply.succeeded:
                    self._move_head(_Head(entry.last, reply.header.revision))
                elif not self._was_made(entry, value, reply):
                    continue
                return Appended(entry.index, entry.last)

    async def _commit(self, entry: Entry, value: bytes) -> Any:
        """Make the transaction until etcd answers, or until we don't lead any more."""
        key = self._key(entry.index)
        request = message(
            "TxnRequest",
            compare=[
                equal(self._election.leader_key, CREATED, entry.epoch),
                equal(self._head_key, MODIFIED, self._head.revision),
            ],
            success=[
                put(key, value),
                put(self._head_key, msgpack.packb((entry.index, entry.last, entry.epoch))),
            ],
            failure=[fetch(self._election.leader_key), fetch(self._head_key), fetch(key)],
        )
        in_doubt = False
        while True:
            try:
                return await self._client.call(TXN, request, self._append_timeout)
            except EtcdRefusedError as error:
                raise LogUnavailableError(str(error), in_doubt=in_doubt) from error
            except EtcdUnavailableError as error:
                in_doubt = True
                if self._stopped or not self._election.leads(entry.epoch):
                    raise LogUnavailableError(f"leadership was lost: {error}", in_doubt=True) from error
            await asyncio.sleep(RETRY_INTERVAL)

    def _was_made(self, entry: Entry, value: bytes, reply: Any) -> bool:
        """A transaction was refused: true when an earlier attempt had made it, false when it has to be made anew."""
        leader, head, stored = (next(iter(answer.response_range.kvs), None) for answer in reply.responses)
        last = self._parse_head(head).last
        made = stored is not None and bytes(stored.value) == value
        if leader is not None and leader.create_revision == entry.epoch:
            if last < entry.last and made:
                raise LogCorruptError(f"the head of the log in etcd is at {last}, its entries go further")
            self._move_head(self._parse_head(head))
            return made
        self._election.look_again()
        if made:
            return True
        if stored is None and last >= entry.index:
            raise LogUnavailableError("leadership was lost, and the log compacted since", in_doubt=True)
        if leader is None:
            raise NotLeaderError
        raise NotLeaderError(leader.value.decode(errors="replace"))

    async def _take_over(self, epoch: int) -> None:
        """We lead: nobody else can move the head from now on, so read where it is."""
        reply = await self._client.call(RANGE, message("RangeRequest", key=self._head_key))
        self._move_head(self._parse_head(next(iter(reply.kvs), None)))
        _log.info("leading the log under epoch %d, from index %d on", epoch, self._head.last + 1)

    # Following

    async def follow(self, after: int) -> AsyncGenerator[Entry, None]:
        """See ``Log``."""
        while not self._stopped:
            try:
                async with aclosing(self._feed(after)) as entries:
                    async for entry in entries:
                        if entry.last <= after:
                            continue
                        if entry.index != after + 1:
                            break  # the feed has a hole: read the log again from where we are
                        yield entry
                        after = entry.last
            except LogUnavailableError as error:
                _log.debug("follow: %s", error)
                await asyncio.sleep(RETRY_INTERVAL)

    async def _feed(self, after: int) -> AsyncGenerator[Entry, None]:
        """The log as it is, page by page, then what is added to it, until the watch ends."""
        key, limit, more, revision = self._key(after + 1), 16, True, 0
        while more:
            page = fetch(key, range_end=self._entries_end, limit=limit)
            reply = await self._client.call(TXN, message("TxnRequest", success=[page, fetch(self._head_key)]))
            found, head = (answer.response_range for answer in reply.responses)
            entries = [parse_entry(bytes(each.value)) for each in found.kvs]
            if (entries and entries[0].index > after + 1) or (not entries and self._last(head) > after):
                raise CompactedError(entries[0].index if entries else self._last(head) + 1)
            for entry in entries:
                yield entry
                after = entry.last
            key, more, revision = self._key(after + 1), found.more, reply.header.revision
            size = sum(len(each.value) for each in found.kvs) or 1
            limit = max(1, min(MAX_PAGE_ENTRIES, 2 * limit, limit * PAGE_BYTES // size))
        create = message(
            "WatchCreateRequest",
            key=self._entries,
            range_end=self._entries_end,
            start_revision=revision + 1,
            filters=[NO_DELETE],
            fragment=True,
        )
        watch = self._client.stream(WATCH, message("WatchRequest", create_request=create))
        async with aclosing(watch) as answers:
            async for answer in answers:
                for event in answer.events:
                    yield parse_entry(bytes(event.kv.value))
                if answer.canceled:  # etcd has compacted past where we were
                    return

    async def barrier(self) -> int:
        """See ``Log``: a linearizable read of the head."""
        return self._last(await self._read(RANGE, message("RangeRequest", key=self._head_key)))

    # Snapshots

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """See ``Log``; at most ``etcd_snapshots.MAX_SNAPSHOT_BYTES``."""
        epoch = self._own_epoch()
        for operations in self._snapshots.to_save(snapshot):
            await self._write(epoch, *operations)

    async def load_snapshot(self) -> Snapshot | None:
        """See ``Log``."""
        return await self._snapshots.load(self._read)

    async def compact(self, through: int) -> None:
        """See ``Log``. Also has etcd drop older revisions of all its keys: the cluster is ours alone."""
        epoch = self._own_epoch()
        if through > await self._snapshots.covered(self._read):
            raise ValueError(f"no snapshot covers index {through}: save one first")
        after = await self._read(RANGE, message("RangeRequest", key=self._key(through + 1), keys_only=True))
        if not after.kvs and self._head.last != through:
            raise ValueError(f"no entry ends at index {through}")
        done = await self._write(epoch, delete(self._entries, self._key(through + 1)))
        try:
            await self._read(COMPACT, message("CompactionRequest", revision=done.header.revision))
        except EtcdRefusedError as error:
            if error.status is not Status.OUT_OF_RANGE:  # compacted further already
                raise

    def _own_epoch(self) -> int:
        current = self.leadership
        if current.leader != self._node_id:
            raise NotLeaderError(current.leader)
        return current.epoch

    async def _write(self, epoch: int, *operations: Any) -> Any:
        """Do what may be done twice, as the leader of ``epoch``."""
        compare = [equal(self._election.leader_key, CREATED, epoch)]
        reply = await self._read(TXN, message("TxnRequest", compare=compare, success=operations))
        if not reply.succeeded:
            self._election.look_again()
            raise NotLeaderError
        return reply

    async def _read(self, method: Method, request: Any, timeout: float | None = READ_TIMEOUT) -> Any:
        """Ask until some member answers; what may be asked twice only."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout if timeout is not None else None
        while True:
            try:
                return await self._client.call(method, request)
            except EtcdUnavailableError:
                if self._stopped or (deadline is not None and loop.time() >= deadline):
                    raise
            await asyncio.sleep(RETRY_INTERVAL)

    def _key(self, index: int) -> bytes:
        return self._entries + b"%016x" % index

    def _last(self, found: Any) -> int:
        return self._parse_head(next(iter(found.kvs), None)).last

    def _parse_head(self, stored: Any) -> _Head:
        if stored is None:
            return _Head(0, 0)
        try:
            _, last, _ = msgpack.unpackb(stored.value)
            return _Head(int(last), stored.mod_revision)
        except (ValueError, TypeError) as error:
            raise LogCorruptError(f"the head of the log in etcd can't be read: {error}") from error

    def _move_head(self, head: _Head) -> None:
        """Forward only: an answer of a term that is over may come late."""
        if head.revision > self._head.revision:
            self._head = head

    def _publish(self, change: LeadershipChange) -> None:
        for subscriber in self._subscribers:
            subscriber(change)
