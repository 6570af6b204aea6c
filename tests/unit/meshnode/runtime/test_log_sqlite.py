"""The embedded engine and its files: private, damaged, shared, from the future; memory and space."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import stat
from pathlib import Path

import msgpack
import pytest

from meshnode.control.log import (
    LogCorruptError,
    LogUnavailableError,
    LogVersionError,
    Snapshot,
)
from meshnode.runtime.log_sqlite import MAX_TAIL_BYTES, SqliteLog
from tests.support.log_contract import run
from tests.support.log_lab import WriterProcess, check_history, read_log, serving
from tests.support.waiting import until


def database(data_dir: Path) -> Path:
    return data_dir / "log" / "log.db"


async def fill(data_dir: Path, count: int = 10) -> None:
    async with serving(SqliteLog(data_dir, "server1")) as server:
        for number in range(1, count + 1):
            await server.batcher.append(b"%d" % number)


# Damaged, shared, from the future


def test_files_are_private(tmp_path: Path) -> None:
    async def main() -> None:
        os.umask(0)
        async with serving(SqliteLog(tmp_path / "data", "server1")) as server:
            await server.batcher.append(b"1")
            await server.log.save_snapshot(Snapshot(1, b"state"))
            modes = {
                str(path.relative_to(tmp_path / "data")): stat.S_IMODE(path.stat().st_mode)
                for path in sorted((tmp_path / "data").rglob("*"))
            }
            assert modes == {
                "log": 0o700,
                "log/log.db": 0o600,
                "log/log.db-wal": 0o600,
                "log/snapshots": 0o700,
                "log/snapshots/0000000000000001.snapshot": 0o600,
            }

    before = os.umask(0o022)
    try:
        run(main)
    finally:
        os.umask(before)


def test_a_second_agent_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    writer = WriterProcess({"data_dir": str(tmp_path), "node_id": "other"})

    async def main() -> None:
        await until(lambda: writer.acknowledged, "the first agent writes")
        with pytest.raises(LogUnavailableError, match="in use by another process"):
            async with serving(SqliteLog(tmp_path, "server1")):
                pass
        writer.end()
        async with serving(SqliteLog(tmp_path, "server1")) as server:
            check_history(await read_log(server.log), writer.acknowledged)

    try:
        run(main)
    finally:
        writer.end()


def test_a_newer_format_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        await fill(tmp_path)
        with contextlib.closing(sqlite3.connect(database(tmp_path))) as connection:
            connection.execute("PRAGMA user_version = 2")
        content = database(tmp_path).read_bytes()
        with pytest.raises(LogVersionError, match="has format 2, this meshnode reads 1"):
            async with serving(SqliteLog(tmp_path, "server1")):
                pass
        assert database(tmp_path).read_bytes() == content

    run(main)


def test_somebody_elses_file_is_not_touched(tmp_path: Path) -> None:
    async def main() -> None:
        database(tmp_path).parent.mkdir()
        with contextlib.closing(sqlite3.connect(database(tmp_path))) as connection:
            connection.execute("CREATE TABLE theirs (x)")
        with pytest.raises(LogCorruptError, match="not a log of meshnode's"):
            async with serving(SqliteLog(tmp_path, "server1")):
                pass
        database(tmp_path).write_bytes(b"a text of some length, which is no database at all" * 100)
        with pytest.raises(LogCorruptError, match="is damaged"):
            async with serving(SqliteLog(tmp_path, "server1")):
                pass

    run(main)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("DELETE FROM entries WHERE first = 5", "index 5 is missing"),
        ("DELETE FROM entries WHERE first = 1", "index 1 is missing"),
        ("UPDATE entries SET data = substr(data, 1, length(data) - 1) WHERE first = 3", "checksum"),
        ("UPDATE entries SET data = (SELECT data FROM entries WHERE first = 4) WHERE first = 3", "says that"),
    ],
)
def test_a_log_with_a_hole_or_a_changed_entry_does_not_open(
    tmp_path: Path, statement: str, says: str
) -> None:
    async def main() -> None:
        await fill(tmp_path)
        with contextlib.closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as connection:
            connection.execute(statement)
        with pytest.raises(LogCorruptError, match=says):
            async with serving(SqliteLog(tmp_path, "server1")):
                pass

    run(main)


def test_any_flipped_byte_of_the_file_ends_in_an_error_or_in_the_same_log(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    outcomes = {"same": 0, "refused": 0}

    async def main() -> None:
        await fill(tmp_path, 60)
        good = database(tmp_path).read_bytes()
        # Most of a small file is empty space, where a flip means nothing.
        written = [place for place, byte in enumerate(good) if byte and place >= 100]
        for _ in range(40):
            bad = bytearray(good)
            bad[rng.choice(written)] ^= rng.randrange(1, 256)
            database(tmp_path).write_bytes(bad)
            for leftover in ("log.db-wal", "log.db-shm"):
                (tmp_path / "log" / leftover).unlink(missing_ok=True)
            try:
                async with serving(SqliteLog(tmp_path, "server1"), campaign=False) as server:
                    await server.replica.barrier()
                    assert server.state == [b"%d" % number for number in range(1, 61)]
                    outcomes["same"] += 1
            except (LogCorruptError, LogUnavailableError):
                outcomes["refused"] += 1

    run(main)
    print(outcomes)
    assert outcomes["refused"]


def test_a_damaged_snapshot_gives_way_to_the_one_before_if_the_log_still_reaches_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(SqliteLog(tmp_path, "server1")) as server:
            for number in range(1, 11):
                await server.batcher.append(b"%d" % number)
                if number in (3, 5, 9):
                    await server.log.save_snapshot(server.snapshot())
            before = list(server.state)
            await server.log.compact(4)
        files = sorted((tmp_path / "log" / "snapshots").iterdir())
        assert [int(file.stem) for file in files] == [5, 9], "the newest two are kept"
        content = files[1].read_bytes()
        files[1].write_bytes(content[:-1] + b"\0")
        async with serving(SqliteLog(tmp_path, "server1")) as server:
            snapshot = await server.log.load_snapshot()
            assert snapshot is not None
            assert (snapshot.index, msgpack.unpackb(snapshot.data)) == (5, before[:5])
            await server.replica.barrier()
            assert server.state == before
        files[0].unlink()
        with pytest.raises(LogCorruptError, match="no snapshot can be read"):
            async with serving(SqliteLog(tmp_path, "server1")):
                pass

    run(main)


def test_leftovers_of_a_killed_snapshot_are_swept(tmp_path: Path) -> None:
    async def main() -> None:
        await fill(tmp_path)
        directory = tmp_path / "log" / "snapshots"
        directory.mkdir()
        (directory / "0000000000000003.tmp").write_bytes(b"half")
        (directory / "0000000000000004.snapshot").write_bytes(b"whole, but never noted")
        async with serving(SqliteLog(tmp_path, "server1")):
            assert list(directory.iterdir()) == []

    run(main)


def test_a_directory_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "log").write_text("a file")
        with pytest.raises(LogUnavailableError, match=r"log/log\.db can't be opened"):
            async with serving(SqliteLog(tmp_path, "server1")):
                pass

    run(main)


# Memory and space


def test_a_slow_follower_reads_from_disk_what_memory_no_longer_holds(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(SqliteLog(tmp_path, "server1")) as server:
            count = 2 * MAX_TAIL_BYTES // 100_000
            for number in range(count):
                await server.batcher.append(number.to_bytes(4, "big") + bytes(100_000))
            assert isinstance(server.log, SqliteLog)
            assert server.log._tail._bytes <= MAX_TAIL_BYTES
            assert [
                command for entry in await read_log(server.log) for command in entry.commands
            ] == server.state

    run(main)


def test_compaction_gives_the_space_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(SqliteLog(tmp_path, "server1")) as server:
            for _ in range(40):
                await asyncio.gather(*(server.batcher.append(os.urandom(10_000)) for _ in range(50)))
            await server.log.save_snapshot(Snapshot(2000, b""))
            await server.log.compact(2000)
        size = sum(file.stat().st_size for file in (tmp_path / "log").glob("log.db*"))
        assert size < 3 << 20, size

    run(main)


def test_an_append_goes_on_after_the_file_had_to_be_opened_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(SqliteLog(tmp_path, "server1")) as server:
            await server.batcher.append(b"1")
            log = server.log
            assert isinstance(log, SqliteLog)
            await log._call(log._file.close)  # as after a failed fsync
            assert (await server.batcher.append(b"2")).index == 2
            assert server.state == [b"1", b"2"]

    run(main)


def test_sigterm_ends_a_writer_in_order(tmp_path: Path) -> None:
    writer = WriterProcess({"data_dir": str(tmp_path), "node_id": "server1"})
    asyncio.run(until(lambda: len(writer.acknowledged) > 50, "writes"))
    writer.end(signal.SIGTERM)
    assert writer.process.returncode == 0
    assert not (tmp_path / "log" / "log.db-wal").exists(), "a clean end leaves one file"
