"""The embedded log's file on a bad day: its process is killed, its disk is full."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.control.log import LogUnavailableError
from meshnode.runtime.log_sqlite import SqliteLog
from tests.support.log_contract import run
from tests.support.log_lab import ROOT, Server, WriterProcess, check_history, read_log, serving
from tests.support.programs import skip
from tests.support.waiting import until

ROUNDS = 12


# Killed


def test_killed_at_any_moment_it_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    acknowledged: dict[bytes, int] = {}

    async def one_life(number: int) -> None:
        settings = {"data_dir": str(tmp_path), "node_id": f"life{number}", "writers": rng.choice([1, 8, 32])}
        writer = WriterProcess(settings)
        wanted = rng.randrange(1, 1500)
        await until(lambda: len(writer.acknowledged) >= wanted, f"{wanted} writes", interval=0.0005)
        await asyncio.sleep(rng.random() * 0.005)  # not to wait for anything: anywhere in a commit
        writer.end()
        acknowledged.update(writer.acknowledged)

    async def main() -> None:
        for number in range(ROUNDS):
            await one_life(number)
        async with serving(SqliteLog(tmp_path, "reader"), campaign=False) as server:
            print(check_history(await read_log(server.log), acknowledged))

    asyncio.run(main())


def test_killed_while_it_saves_snapshots_and_compacts_it_starts_again(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    program = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        from meshnode.runtime.log_sqlite import SqliteLog
        from tests.support.log_lab import serving

        async def main():
            async with serving(SqliteLog(Path(sys.argv[1]), "server1")) as server:
                await server.replica.barrier()
                while True:
                    await asyncio.gather(*(server.batcher.append(b"x" * 500) for _ in range(300)))
                    await server.log.save_snapshot(server.snapshot())
                    await server.log.compact(server.replica.applied)
                    print(server.replica.applied, flush=True)

        asyncio.run(main())
    """)
    reached = 0
    for _ in range(6):
        command = [sys.executable, "-c", program, str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        assert process.stdout is not None
        for _ in range(rng.randrange(1, 8)):
            reached = int(process.stdout.readline())
        with contextlib.suppress(subprocess.TimeoutExpired):  # anywhere in the next round
            process.wait(rng.random() * 0.03)
        process.kill()
        rest = process.stdout.read().split()
        process.wait()
        process.stdout.close()
        reached = int(rest[-1]) if rest else reached

    async def main() -> None:
        async with serving(SqliteLog(tmp_path, "server1")) as server:
            assert await server.replica.barrier() >= reached
            assert set(server.state) == {b"x" * 500}

    asyncio.run(main())
    files = {file.suffix for file in (tmp_path / "log" / "snapshots").iterdir()}
    assert files == {".snapshot"}


def test_every_commit_is_synced_before_it_is_acknowledged(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(SqliteLog(tmp_path, "server1")) as server:
            log = server.log
            assert isinstance(log, SqliteLog)

            def settings() -> list[object]:
                connection = log._file._db
                assert connection is not None
                names = ("synchronous", "journal_mode", "locking_mode", "auto_vacuum")
                return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

            assert await log._call(settings) == [2, "wal", "exclusive", 2]

    run(main)


# Full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(where)], capture_output=True, check=False
    )
    if mounted.returncode:
        skip("mount")  # RLIMIT_FSIZE is tested in its place
    yield where
    subprocess.run(["umount", str(where)], check=True)


async def fill_up(server: Server) -> LogUnavailableError:
    for _ in range(10_000):
        try:
            await server.batcher.append(os.urandom(20_000))
        except LogUnavailableError as error:
            return error
    raise AssertionError("the disk did not get full")


def test_a_full_disk_is_a_clear_error_and_writes_go_on_when_there_is_space(small_disk: Path) -> None:
    async def main() -> None:
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(600_000))
        async with serving(SqliteLog(small_disk, "server1")) as server:
            error = await fill_up(server)
            assert "the disk is full: free space, writes then go on" in str(error)
            assert not error.in_doubt
            applied = server.replica.applied
            for _ in range(20):  # again and again, and reads go on
                with pytest.raises(LogUnavailableError):
                    await server.batcher.append(os.urandom(500_000))
            assert await server.replica.barrier() == applied == len(server.state)
            assert [each.last for each in await read_log(server.log)][-1] == applied
            ballast.unlink()
            written = await server.batcher.append(b"space again")
            assert written.index == applied + 1
            before = list(server.state)
        async with serving(SqliteLog(small_disk, "server1")) as server:
            await server.replica.barrier()
            assert server.state == before

    run(main)


def test_a_file_that_may_not_grow_is_a_clear_error_too(tmp_path: Path) -> None:
    """``RLIMIT_FSIZE`` fails writes with EFBIG, which SQLite calls an I/O error."""
    program = textwrap.dedent("""
        import asyncio, resource, sys
        from pathlib import Path
        from meshnode.control.log import LogUnavailableError
        from meshnode.runtime.log_sqlite import SqliteLog
        from tests.support.log_lab import serving

        async def main():
            async with serving(SqliteLog(Path(sys.argv[1]), "server1")) as server:
                _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
                for _ in range(2):
                    try:
                        while True:
                            await server.batcher.append(bytes(20_000))
                    except LogUnavailableError as error:
                        print(error)
                        before = server.replica.applied
                        assert await server.replica.barrier() == before
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
                assert (await server.batcher.append(b"again")).index == before + 1

        asyncio.run(main())
    """)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().count("log.db can't be used: disk I/O error (SQLITE_IOERR_WRITE)") == 2
