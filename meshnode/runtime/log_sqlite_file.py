"""The embedded log's file, as seen by the one thread that has it open: plain, blocking SQLite.

WAL with ``synchronous=FULL``: a commit returns when its pages are on the disk, and a killed process leaves whole
transactions only. The file is locked for as long as it is open (``locking_mode=EXCLUSIVE``), so a second agent on the
same directory is refused. Each entry carries its own checksum, since SQLite has none.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshnode.control.log import (
    Entry,
    LogCorruptError,
    LogError,
    LogUnavailableError,
    LogVersionError,
    parse_entry,
    serialize_entry,
)
from meshnode.runtime.private_file import sync_directory

__all__ = ["FORMAT", "LogFile", "SnapshotRow"]

#: ``PRAGMA user_version``: the layout below. A newer one is refused, an older one would be converted here.
FORMAT: Final = 1
#: ``PRAGMA application_id``: "mesh".
APPLICATION_ID: Final = 0x6D657368
#: Bytes of the write-ahead file that are kept after a checkpoint.
MAX_IDLE_WAL_BYTES: Final = 16 << 20
#: Milliseconds that an opening agent waits for a stopping one.
BUSY_TIMEOUT: Final = 2000
#: Rows deleted in one step of a compaction, so that appends come in between.
COMPACT_STEP: Final = 256
#: Pages (4 KiB) given back in one step; about as many are left for the entries to come.
VACUUM_STEP: Final = 256

_LAYOUT: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE entries (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, data BLOB NOT NULL)",
    "CREATE TABLE snapshots (idx INTEGER PRIMARY KEY, size INTEGER NOT NULL, sha256 TEXT NOT NULL)",
    "INSERT INTO meta VALUES ('epoch', 0), ('compacted', 0)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
)
#: Failures after which nothing was written for sure, and the open file is good for the next attempt.
_CLEAN_FAILURES: Final = frozenset({"SQLITE_FULL", "SQLITE_IOERR_WRITE"})


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """What the table says of one snapshot."""

    index: int
    size: int
    sha256: str


class LogFile:
    """``path`` is the database, ``None``: in memory. All calls come from one thread."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._where = str(path) if path is not None else "the log in memory"
        self._db: sqlite3.Connection | None = None
        #: The last index ever written, and the last one that was compacted away.
        self.last = 0
        self.compacted = 0

    def open(self) -> sqlite3.Connection:
        """Open or make the file and check all of it. Raises ``LogError`` of every kind."""
        with self._explained(opening=True):
            if self._path is not None:
                _make_private(self._path)
            database = self._db = sqlite3.connect(
                self._path or ":memory:", isolation_level=None, cached_statements=32
            )
            self._prepare(database)
            self._check(database)
        return database

    def close(self) -> None:
        """Close; what was appended is on disk already."""
        if self._db is not None:
            database, self._db = self._db, None
            with contextlib.suppress(
                sqlite3.Error
            ):  # a checkpoint that fails is made up for at the next open
                database.close()

    def append(self, entry: Entry) -> None:
        """Store ``entry`` durably. Raises ``LogUnavailableError`` and changes nothing, unless it is ``in_doubt``."""
        with self._explained():
            database = self._opened()
            if entry.index != self.last + 1:
                raise LogUnavailableError(
                    f"the log is at index {self.last} since it was opened again: try again"
                )
            database.execute(
                "INSERT INTO entries VALUES (?, ?, ?)", (entry.index, entry.last, serialize_entry(entry))
            )
            self.last = entry.last

    def read(self, after: int, max_bytes: int) -> list[Entry]:
        """Entries after index ``after``, at least one if there is one, up to about ``max_bytes``."""
        entries: list[Entry] = []
        with self._explained():
            rows = self._opened().execute(
                "SELECT first, data FROM entries WHERE first > ? ORDER BY first", (after,)
            )
            for first, data in rows:
                entries.append(self._parse(first, data))
                max_bytes -= len(data)
                if max_bytes <= 0:
                    break
            rows.close()
        return entries

    def next_epoch(self) -> int:
        """Begin a new epoch, durably."""
        with self._explained():
            row = (
                self._opened()
                .execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch' RETURNING value")
                .fetchall()
            )
            return int(row[0][0])

    def snapshots(self) -> list[SnapshotRow]:
        """Those that were completed, newest first."""
        with self._explained():
            rows = self._opened().execute("SELECT idx, size, sha256 FROM snapshots ORDER BY idx DESC")
            return [SnapshotRow(*row) for row in rows.fetchall()]

    def note_snapshot(self, row: SnapshotRow, keep: int) -> list[int]:
        """A snapshot is complete on disk; returns the indexes of those that the table no longer names."""
        with self._explained(), self._transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)", (row.index, row.size, row.sha256)
            )
            old = "SELECT idx FROM snapshots ORDER BY idx DESC LIMIT -1 OFFSET ?"
            gone = [index for (index,) in database.execute(old, (keep,)).fetchall()]
            database.execute(f"DELETE FROM snapshots WHERE idx IN ({old})", (keep,))
            return gone

    def is_boundary(self, index: int) -> bool:
        """Whether an entry ends at ``index`` (or did, before compaction)."""
        with self._explained():
            found = self._opened().execute("SELECT 1 FROM entries WHERE first = ?", (index + 1,)).fetchall()
            return bool(found) or index in (self.last, self.compacted)

    def compact_step(self, through: int) -> bool:
        """Delete some of the entries that end at or before ``through``; true when there are more."""
        with self._explained():
            with self._transaction() as database:
                doomed = "SELECT first FROM entries WHERE last <= ? ORDER BY first LIMIT ?"
                deleted = database.execute(
                    f"DELETE FROM entries WHERE first IN ({doomed}) RETURNING last", (through, COMPACT_STEP)
                ).fetchall()
                if deleted:
                    self.compacted = max(self.compacted, *(last for (last,) in deleted))
                    database.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (self.compacted,))
            # A script, because ``execute`` would step the statement once, and free one page.
            self._opened().executescript(f"PRAGMA incremental_vacuum({VACUUM_STEP})")
            (free,) = self._opened().execute("PRAGMA freelist_count").fetchone()
            return len(deleted) == COMPACT_STEP or free > VACUUM_STEP

    def _opened(self) -> sqlite3.Connection:
        return self._db if self._db is not None else self._open_again()

    def _open_again(self) -> sqlite3.Connection:
        """After a failure. A failed fsync may leave pages in memory only: a checkpoint writes them elsewhere, again."""
        database = self.open()
        busy, _, _ = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            self.close()
            raise LogUnavailableError(f"{self._where} can't be written back")
        return database

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        database = self._opened()
        database.execute("BEGIN IMMEDIATE")
        yield database
        database.execute("COMMIT")

    @contextlib.contextmanager
    def _explained(self, *, opening: bool = False) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._failure(error, opening) from error
        except (ValueError, TypeError, OverflowError) as error:
            # In a damaged file any value may be of any type or missing, and SQLite's own words may not be text.
            self.close()
            raise LogCorruptError(
                f"{self._where} is damaged: move its directory away; a server starts empty"
            ) from error
        except LogError:
            if opening:
                self.close()
            raise
        except OSError as error:
            self.close()
            raise LogUnavailableError(f"{self._where} can't be opened: {error.strerror}") from error

    def _failure(self, error: sqlite3.Error, opening: bool) -> LogError:
        """``error`` in words for a person, with the connection left in a state that the next call can use."""
        name = getattr(error, "sqlite_errorname", "")
        clean = name in _CLEAN_FAILURES
        if clean and self._db is not None and not opening:
            try:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            except sqlite3.Error:
                clean = False
        if opening or not clean:
            self.close()
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return LogCorruptError(
                f"{self._where} is damaged ({error}): move its directory away; a server starts empty"
            )
        if name.startswith("SQLITE_BUSY"):
            return LogUnavailableError(
                f"{self._where} is in use by another process: is an agent running there?"
            )
        if name == "SQLITE_FULL":
            return LogUnavailableError(
                f"{self._where} can't grow, the disk is full: free space, writes then go on"
            )
        return LogUnavailableError(
            f"{self._where} can't be used: {error} ({name or 'unknown'}): look at the disk",
            in_doubt=not (clean or opening),
        )

    def _prepare(self, database: sqlite3.Connection) -> None:
        """Settings of the connection, the version, and the tables of a new file."""
        database.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        version = int(database.execute("PRAGMA user_version").fetchone()[0])
        application = int(database.execute("PRAGMA application_id").fetchone()[0])
        tables = int(database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
        if version > FORMAT:
            raise LogVersionError(
                f"{self._where} has format {version}, this meshnode reads {FORMAT}: start the newer meshnode"
            )
        if tables and application != APPLICATION_ID:
            raise LogCorruptError(f"{self._where} is a database, but not a log of meshnode's: move it away")
        if not tables:
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("PRAGMA journal_mode = WAL").fetchall()
        database.execute("PRAGMA synchronous = FULL")
        database.execute(f"PRAGMA journal_size_limit = {MAX_IDLE_WAL_BYTES}")
        if not tables:
            database.execute("BEGIN IMMEDIATE")
            for statement in _LAYOUT:
                database.execute(statement)
            database.execute("COMMIT")

    def _check(self, database: sqlite3.Connection) -> None:
        """Read everything once: the structure, every checksum, and that no index is missing."""
        answer = database.execute("PRAGMA quick_check(1)").fetchall()
        if answer != [("ok",)]:
            raise LogCorruptError(f"{self._where} is damaged: {answer[0][0]}")
        (self.compacted,) = database.execute("SELECT value FROM meta WHERE name = 'compacted'").fetchone()
        self.last = self.compacted
        for first, data in database.execute("SELECT first, data FROM entries ORDER BY first"):
            entry = self._parse(first, data)
            if entry.index != self.last + 1:
                raise LogCorruptError(f"{self._where} is damaged: index {self.last + 1} is missing")
            self.last = entry.last

    def _parse(self, first: int, data: bytes) -> Entry:
        try:
            entry = parse_entry(data)
        except LogCorruptError as error:
            raise LogCorruptError(f"{self._where}, index {first}: {error}") from error
        if entry.index != first:
            raise LogCorruptError(f"{self._where}: the entry at index {first} says that it is {entry.index}")
        return entry


def _make_private(path: Path) -> None:
    """The directory 0700 and the file 0600, made durable; SQLite gives its other files the mode of this one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        sync_directory(path.parent)
        sync_directory(path.parent.parent)
    path.chmod(0o600)
