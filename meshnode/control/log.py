"""The replicated log as values and one interface; ``runtime/log_sqlite`` and ``runtime/log_etcd`` are its engines.

One append is one *entry*: a batch of commands (group commit), stored and read as a whole or not at all. **An index
belongs to a command**, since ``X-Consul-Index``, ``CreateIndex`` and ``ModifyIndex`` need one for each write: an entry
has the index of its first command, the command at position ``p`` has ``entry.index + p``, and the next entry starts at
``entry.last + 1``. So indexes start at 1, have no holes, and are the same on every server whatever the batching was and
whatever revisions the engine counts for itself.

Only the leader appends. Its **epoch** grows with each change of leadership; an engine refuses an entry whose epoch
isn't the present one *in the same step that stores it*, so a leader that was paused and comes back can't write.
Commands are opaque bytes here. ``now``-free and without I/O: this file is values.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgpack

from meshnode.base.errors import MeshError

__all__ = [
    "MAX_BATCH_BYTES",
    "MAX_BATCH_COMMANDS",
    "MAX_COMMAND_BYTES",
    "Appended",
    "CompactedError",
    "Entry",
    "LeadershipChange",
    "Log",
    "LogBusyError",
    "LogCorruptError",
    "LogError",
    "LogHaltedError",
    "LogUnavailableError",
    "LogVersionError",
    "NotLeaderError",
    "OnLeadership",
    "Snapshot",
    "StaleEpochError",
    "check_batch",
    "parse_entry",
    "serialize_entry",
]

#: Bytes of one command: Consul's largest request is a transaction of 64 operations in 512 KiB of JSON.
MAX_COMMAND_BYTES: Final = 1 << 20
#: Bytes of all commands of one entry. etcd takes requests of 1.5 MiB (``--max-request-bytes``).
MAX_BATCH_BYTES: Final = 1 << 20
#: Commands of one entry.
MAX_BATCH_COMMANDS: Final = 4096
#: First byte of a serialized entry.
ENTRY_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One batch as it is in the log. ``index`` is that of ``commands[0]``; there is at least one command."""

    index: int
    epoch: int
    commands: tuple[bytes, ...]

    @property
    def last(self) -> int:
        """The index of the last command."""
        return self.index + len(self.commands) - 1


@dataclass(frozen=True, slots=True)
class Appended:
    """A batch is durable; its first command has ``index``, its last one ``last``."""

    index: int
    last: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state after every command up to and with ``index``, as the state machine wrote it down."""

    index: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class LeadershipChange:
    """``leader`` (a node id; empty: nobody, or nobody known) leads since now, under ``epoch`` (0 with no leader)."""

    leader: str = ""
    epoch: int = 0


class LogError(MeshError):
    """Root of what goes wrong with the log."""


class LogUnavailableError(LogError):
    """The log can't take writes now. Reads of local state go on, and a later append may succeed.

    ``in_doubt``: the commands may have been written all the same; when false, they certainly were not.
    """

    def __init__(self, message: str, *, in_doubt: bool = False) -> None:
        super().__init__(f"{message}; the write may have been made or not" if in_doubt else message)
        self.in_doubt = in_doubt


class LogBusyError(LogUnavailableError):
    """Too many writes wait already (back-pressure); this one was not written."""


class NotLeaderError(LogError):
    """This server doesn't lead, so nothing was written. ``leader`` is the node id to ask instead, empty: unknown."""

    def __init__(self, leader: str = "") -> None:
        super().__init__(f"not the leader: {leader} is" if leader else "No cluster leader")
        self.leader = leader


class StaleEpochError(LogError):
    """The epoch that a write was made for is over, so nothing was written."""

    def __init__(self, epoch: int, current: int) -> None:
        super().__init__(f"leadership epoch {epoch} is over: the present one is {current}")
        self.epoch = epoch
        self.current = current


class CompactedError(LogError):
    """Entries before ``oldest`` are gone: load the snapshot, then follow from its index."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"the log starts at index {oldest}: what came before is in the snapshot only")
        self.oldest = oldest


class LogCorruptError(LogError):
    """What was read isn't what was written. The server stops instead of going on with a fork."""


class LogVersionError(LogError):
    """The log was written by a newer meshnode."""


class LogHaltedError(LogError):
    """The state machine failed on an entry, or the log is corrupt: this server applies nothing any more."""


OnLeadership = Callable[[LeadershipChange], None]


class Log(Protocol):
    """What an engine does. Every method may raise ``LogUnavailableError``; none blocks the event loop."""

    @property
    def node_id(self) -> str:
        """Who we are in ``LeadershipChange``."""

    @property
    def leadership(self) -> LeadershipChange:
        """Who leads, as far as this server knows."""

    def contact_age(self) -> float:
        """Seconds since the log was last heard of; infinite when it is out of reach."""

    async def start(self) -> None:
        """Open or connect. Raises ``LogCorruptError``, ``LogVersionError``; may be called once."""

    async def stop(self) -> None:
        """Resign, close, and end every task, thread and ``follow`` of ours. May be called twice."""

    def subscribe(self, on_leadership: OnLeadership) -> None:
        """Have later changes of leadership told to ``on_leadership``, in order, on the event loop.

        Our own terms are all told; a short one of another server may be missed.
        """

    async def campaign(self) -> None:
        """Stand for leader from now on. Returns at once; ``LeadershipChange`` tells of success."""

    async def resign(self) -> None:
        """Lead no more and stand no more, until ``campaign`` is called again."""

    async def transfer(self, node_id: str) -> None:
        """Hand leadership to ``node_id``, which must be standing; we stay a candidate. Raises ``NotLeaderError``."""

    async def depose(self, epoch: int) -> None:
        """End the term of another server that is known not to run, instead of waiting for it to run out.

        Safe even when that is wrong: its epoch is over, so it writes no more, and it stands again.
        """

    async def append(self, commands: Sequence[bytes], epoch: int) -> Appended:
        """Make ``commands`` durable as one entry of ``epoch``; one call at a time.

        Raises ``NotLeaderError`` or ``StaleEpochError`` (nothing was written), ``LogUnavailableError`` (see its
        ``in_doubt``), ``ValueError`` for a batch past the bounds.
        """

    def follow(self, after: int) -> AsyncGenerator[Entry, None]:
        """Every entry after index ``after`` (0, or an entry's last index), in order, without a hole, for ever.

        Lasts through outages; ends only with ``stop``. Raises ``CompactedError`` and ``LogCorruptError``. To be
        closed when done with (``contextlib.aclosing``).
        """

    async def barrier(self) -> int:
        """An index: who has applied up to it has applied every append that was answered before this call."""

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep ``snapshot``; all of it or nothing. ``snapshot.index`` is the last index of an entry (leader only)."""

    async def load_snapshot(self) -> Snapshot | None:
        """The newest snapshot that is whole."""

    async def compact(self, through: int) -> None:
        """Drop entries up to index ``through``, the last index of an entry and not past the snapshot (leader only)."""


def check_batch(commands: Sequence[bytes]) -> None:
    """Raise ``ValueError`` when ``commands`` can't be one entry."""
    if not 0 < len(commands) <= MAX_BATCH_COMMANDS:
        raise ValueError(f"a batch has 1 to {MAX_BATCH_COMMANDS} commands, not {len(commands)}")
    size = sum(map(len, commands))
    if size > MAX_BATCH_BYTES:
        raise ValueError(f"a batch has at most {MAX_BATCH_BYTES} bytes, not {size}")


def serialize_entry(entry: Entry) -> bytes:
    """Version byte, CRC-32 of it and of what follows (big endian), msgpack of ``[index, epoch, [command, ...]]``."""
    body: bytes = msgpack.packb((entry.index, entry.epoch, entry.commands))
    version = bytes([ENTRY_VERSION])
    return version + zlib.crc32(body, zlib.crc32(version)).to_bytes(4, "big") + body


def parse_entry(data: bytes) -> Entry:
    """The inverse of ``serialize_entry``. Raises ``LogCorruptError`` or ``LogVersionError``."""
    body = memoryview(data)[5:]
    if len(data) < 5 or zlib.crc32(body, zlib.crc32(data[:1])) != int.from_bytes(data[1:5], "big"):
        raise LogCorruptError("a log entry is damaged: its checksum is wrong")
    if data[0] != ENTRY_VERSION:
        raise LogVersionError(f"a log entry has format {data[0]}, this meshnode reads {ENTRY_VERSION}")
    try:
        index, epoch, commands = msgpack.unpackb(body, use_list=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise LogCorruptError(f"a log entry can't be read: {error}") from error
    well_formed = (
        isinstance(index, int)
        and isinstance(epoch, int)
        and isinstance(commands, tuple)
        and index > 0 < len(commands)
        and all(isinstance(command, bytes) for command in commands)
    )
    if not well_formed:
        raise LogCorruptError("a log entry isn't one: [index, epoch, [command, ...]] is expected")
    return Entry(index, epoch, commands)
