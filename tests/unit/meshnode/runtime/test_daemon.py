"""Programs that may outlive us, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meshnode.runtime import daemon
from meshnode.runtime.child import ChildError
from meshnode.runtime.daemon import Daemon, adopt_daemon, start_daemon
from meshnode.runtime.tasks import spawn
from tests.support.asynchronous import asynchronous
from tests.support.processes import is_gone
from tests.support.rpc_lab import LOOPS, run
from tests.support.waiting import until

TIMEOUT = 20.0
PLAIN = {"PATH": os.environ["PATH"]}


def sh(line: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", line)


async def written(path: Path, text: str) -> None:
    await until(lambda: path.exists() and text in path.read_text(), f"{text!r} in {path}")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_program_has_exactly_its_environment_and_its_output_is_in_files(loop: str, tmp_path: Path) -> None:
    out, err = tmp_path / "logs" / "out.log", tmp_path / "logs" / "err.log"

    async def scenario() -> int | None:
        started = start_daemon(sh("env; echo oops >&2; cat; exit 3"), PLAIN | {"WORD": "hello"}, out, err)
        return await asyncio.wait_for(started.wait(), TIMEOUT)

    os.environ["MESHNODE_TEST_SECRET"] = "x"
    try:
        assert run(scenario, loop) == 3
    finally:
        del os.environ["MESHNODE_TEST_SECRET"]
    assert "WORD=hello" in out.read_text()
    assert "MESHNODE_TEST_SECRET" not in out.read_text()
    assert err.read_text() == "oops\n"
    assert (out.stat().st_mode & 0o777, out.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@asynchronous
async def test_output_is_appended_until_a_file_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.log"
    monkeypatch.setattr(daemon, "MAX_LOG_BYTES", 4)
    for expected in ("one\n", "one\none\n", "one\n"):
        await asyncio.wait_for(start_daemon(sh("echo one"), PLAIN, out, None).wait(), TIMEOUT)
        assert out.read_text() == expected
    assert (tmp_path / "out.log.old").read_text() == "one\none\n"


@asynchronous
async def test_a_program_that_ends_by_a_signal_says_which() -> None:
    started = start_daemon(sh("exec sleep 1000"), PLAIN, None, None)
    assert started.runs
    started.send(signal.SIGKILL)
    assert await asyncio.wait_for(started.wait(), TIMEOUT) == -signal.SIGKILL
    assert not started.runs
    started.send(signal.SIGKILL)


@asynchronous
async def test_a_program_ends_with_all_that_it_started(tmp_path: Path) -> None:
    out = tmp_path / "out.log"
    line = "trap 'exit 0' TERM; sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' & while :; do wait; done"
    started = start_daemon(sh(line), PLAIN, out, None)
    await until(lambda: out.read_text().strip(), "the grandchild runs")
    grandchild = int(out.read_text())
    await asyncio.wait_for(started.end(), TIMEOUT)
    await until(lambda: is_gone(grandchild), "the grandchild is gone")
    assert not started.runs


@asynchronous
async def test_a_program_that_does_not_want_to_end_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "out.log"
    started = start_daemon(sh("trap '' TERM; echo ready; while :; do sleep 1000; done"), PLAIN, out, None)
    await written(out, "ready")
    await asyncio.wait_for(started.end(0.05), TIMEOUT)
    assert not started.runs
    await started.end()


@pytest.mark.parametrize(
    "arguments", [("/nonexistent/program",), ("",), (), ("/bin/sh\0", "x"), ("/etc/passwd",)]
)
def test_a_program_that_can_not_be_started_is_named(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ChildError, match=r"^can't run "):
        start_daemon(arguments, PLAIN, None, None)


def test_output_that_can_not_be_written_is_an_error_and_not_a_program_without_it(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    with pytest.raises(ChildError, match="can't run"):
        start_daemon(sh("true"), PLAIN, tmp_path / "logs" / "out.log", None)


@asynchronous
async def test_a_program_of_an_earlier_run_is_found_again_and_its_end_is_noticed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from meshnode.runtime.daemon import start_daemon\n"
        f"found = start_daemon(('sleep', '1000'), {PLAIN!r}, None, None)\n"
        "print(found.pid, found.started)"
    )
    earlier = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    pid, started = map(int, earlier.stdout.split())
    try:
        assert adopt_daemon(pid, started + 1) is None
        found = adopt_daemon(pid, started)
        assert found is not None
        waiting = spawn(found.wait(), name="wait")
        os.kill(pid, signal.SIGKILL)
        assert await asyncio.wait_for(waiting, TIMEOUT) is None
    finally:
        Daemon(pid, started).send(signal.SIGKILL)
    assert adopt_daemon(pid, started) is None


@pytest.mark.parametrize(
    ("pid", "started"),
    [(0, 1), (1, 1), (-5, 1), (2**22 + 1, 5), (os.getpid(), 0), (os.getpid(), -1)],
    ids=["0", "init", "negative", "too large", "ours, no start", "ours, wrong start"],
)
def test_what_is_nobodys_process_is_not_taken_over(pid: int, started: int) -> None:
    assert adopt_daemon(pid, started) is None


@asynchronous
async def test_a_process_is_waited_for_where_the_kernel_has_no_handle_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(_pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", missing)
    monkeypatch.setattr(daemon, "POLL_INTERVAL", 0.01)
    started = start_daemon(sh("exit 4"), PLAIN, None, None)
    assert await asyncio.wait_for(started.wait(), TIMEOUT) == 4
