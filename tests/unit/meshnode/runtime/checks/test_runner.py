"""The runner: pace, turns, thresholds, stops and restarts, on a clock that the test turns."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest

from meshnode.base.errors import ConfigError
from meshnode.catalog.model import Check
from meshnode.local.check_status import Result
from meshnode.local.check_type import (
    AliasCheck,
    CertificateCheck,
    DockerCheck,
    GrpcCheck,
    H2PingCheck,
    HttpCheck,
    ScriptCheck,
    TcpCheck,
    TtlCheck,
    UdpCheck,
)
from meshnode.runtime.checks import runner as runner_module
from meshnode.runtime.checks.runner import MAX_FRAME_BYTES, CheckRunners, NotTtlError
from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.support.checks import TurnedClock, no_tls, turns
from tests.support.http_stub import stub_agent
from tests.support.rpc_lab import LOOPS, run
from tests.support.waiting import until

loops = pytest.mark.parametrize("loop", LOOPS)
TCP = TcpCheck("127.0.0.1:1", interval=10)


class NoAliases:
    def checks(self) -> Iterable[Check]:
        return []

    def on_change(self, call: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    async def node_checks(self, node: str, index: int) -> tuple[Iterable[Check], int]:
        raise AssertionError((node, index))


class Lab:
    def __init__(self, **more: Any) -> None:
        self.clock = TurnedClock()
        self.runners = CheckRunners(
            spawn, random.Random(1), self.clock, no_tls, **{"alias": NoAliases(), **more}
        )
        self.seen: list[tuple[str, str, str]] = []

    def start(self, key: str, check: Any, **more: Any) -> None:
        self.runners.start(key, check, lambda status, output: self.seen.append((key, status, output)), **more)

    async def pass_time(self, seconds: float) -> None:
        await turns()
        self.clock.advance(seconds)
        await turns()

    async def next_result(self, seconds: float = 10.0) -> tuple[str, str, str]:
        before = len(self.seen)
        await self.pass_time(seconds)
        await until(lambda: len(self.seen) > before, "a result", interval=0.002)
        return self.seen[-1]


@contextlib.asynccontextmanager
async def lab(**more: Any) -> AsyncIterator[Lab]:
    made = Lab(**more)
    try:
        yield made
    finally:
        await made.runners.stop_all()


class Probes:
    """Stands for what a check does: each run waits to be told its result."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.running: list[asyncio.Future[Result]] = []
        self.most = 0
        self.runs = 0
        monkeypatch.setattr(runner_module, "check_tcp", self.probe)

    async def probe(self, check: TcpCheck, _tls: object) -> Result:
        told: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.running.append(told)
        self.runs += 1
        self.most = max(self.most, len(self.running))
        try:
            return await told
        finally:
            self.running.remove(told)

    async def end(self, status: str = "passing", output: str = "") -> None:
        for told in list(self.running):
            told.set_result(Result(status, output))
        await turns()


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Probes:
    return Probes(monkeypatch)


def test_the_first_run_is_staggered_and_the_others_follow_the_interval(probes: Probes) -> None:
    async def main() -> None:
        async with lab() as it:
            for number in range(50):
                it.start(f"c{number}", TCP)
            await turns()
            assert all(0 <= seconds < 10 for seconds in it.clock.asked)
            assert len(set(it.clock.asked)) == 50
            await it.pass_time(10)
            assert len(probes.running) == 50
            it.clock.asked.clear()
            await probes.end()
            assert it.clock.asked == [10] * 50

    run(main)


def test_a_first_run_may_be_at_once(probes: Probes) -> None:
    async def main() -> None:
        async with lab() as it:
            it.start("c", TCP, at_once=True)
            await turns()
            assert len(probes.running) == 1
            await probes.end()
            assert it.clock.asked == [10]

    run(main)


def test_an_interval_below_a_second_is_raised_and_said(
    probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with lab() as it:
            it.start("fast", TcpCheck("127.0.0.1:1", interval=0.01))
            await it.pass_time(1)
            await probes.end()
            assert it.clock.asked[-1] == 1.0
        assert "check 'fast' has interval below minimum of 1s" in caplog.text

    run(main)


def test_a_slow_check_never_overlaps_itself(probes: Probes) -> None:
    async def main() -> None:
        async with lab() as it:
            it.start("slow", TCP)
            for _ in range(5):
                await it.pass_time(100)
            assert probes.runs == 1
            await probes.end()
            await it.pass_time(10)
            assert probes.runs == 2

    run(main)


def test_only_so_many_are_in_flight_and_the_others_get_their_turn(probes: Probes) -> None:
    async def main() -> None:
        async with lab(max_in_flight=3) as it:
            for number in range(10):
                it.start(f"c{number}", TCP)
            await it.pass_time(10)
            while probes.running:
                assert len(probes.running) <= 3
                await probes.end()
            assert (probes.runs, probes.most) == (10, 3)
            assert len({key for key, _, _ in it.seen}) == 10

    run(main)


def test_results_pass_through_the_thresholds(probes: Probes) -> None:
    async def main() -> None:
        async with lab() as it:
            check = TcpCheck("127.0.0.1:1", interval=10, failures_before_critical=3, success_before_passing=2)
            it.start("c", check)
            for status in ("passing", "passing", "critical", "critical", "critical", "passing"):
                await it.pass_time(10)
                await probes.end(status)
            assert [status for _, status, _ in it.seen] == ["passing", "critical"]

    run(main)


@pytest.mark.parametrize(("extra", "cut"), [(0, False), (1, True)])
def test_what_a_check_says_is_bounded_whatever_its_kind(probes: Probes, extra: int, cut: bool) -> None:
    async def main() -> None:
        async with lab() as it:
            it.start("c", TcpCheck("127.0.0.1:1", interval=10, output_max_size=100))
            await it.pass_time(10)
            size = 100 + MAX_FRAME_BYTES
            await probes.end("critical", "x" * (size + extra))
            assert it.seen[0][2] == "x" * size + (
                f" ... (captured {size} of {size + 1} bytes)" if cut else ""
            )

    run(main)


def test_what_is_stopped_reports_nothing_any_more(probes: Probes) -> None:
    async def main() -> None:
        async with lab() as it:
            it.start("c", TCP)
            await it.pass_time(10)
            it.runners.stop("c")
            it.runners.stop("c")
            it.runners.stop("never started")
            await it.pass_time(100)
            assert probes.running == []
            assert it.seen == []
            it.start("c", TCP)
            await it.pass_time(10)
            await probes.end("warning")
            assert [status for _, status, _ in it.seen] == ["warning"]

    run(main)


def test_a_result_that_comes_after_the_stop_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        may_end = asyncio.Event()

        async def late(check: TcpCheck, _tls: object) -> Result:
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()
            return Result("critical", "too late")

        monkeypatch.setattr(runner_module, "check_tcp", late)
        made = Lab()
        made.start("c", TCP)
        await made.pass_time(10)
        task = made.runners._watches["c"].task
        assert task is not None
        made.runners.stop("c")
        await turns()
        assert made.seen == []
        await cancel_and_wait(task)

    run(main)


def test_a_successor_waits_until_the_one_before_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        may_end, running = asyncio.Event(), [0, 0]

        async def stubborn(check: TcpCheck, _tls: object) -> Result:
            running[0] += 1
            running[1] = max(running)
            try:
                await asyncio.Event().wait()
            finally:
                await may_end.wait()
                running[0] -= 1
            raise AssertionError

        monkeypatch.setattr(runner_module, "check_tcp", stubborn)
        async with lab() as it:
            it.start("c", TCP)
            await it.pass_time(10)
            it.start("c", TCP)
            it.start("c", TCP)
            await it.pass_time(100)
            assert running == [1, 1]
            may_end.set()
            await turns()
            await it.pass_time(10)
            assert running == [1, 1]

    run(main)


def test_a_bug_in_a_check_or_in_the_callback_ends_neither(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(check: TcpCheck, _tls: object) -> Result:
        raise RuntimeError("a bug")

    monkeypatch.setattr(runner_module, "check_tcp", broken)

    async def main() -> None:
        async with lab() as it:
            told: list[str] = []

            def refuse(status: str, output: str) -> None:
                told.append(f"{status}: {output}")
                raise KeyError(status)

            it.runners.start("c", TCP, refuse)
            for _ in range(3):
                await it.pass_time(10)
            assert told == ["critical: the check could not be run: a bug"] * 3

    run(main)
    assert 'check "c" could not be run' in caplog.text
    assert 'what check "c" found could not be taken in' in caplog.text


def test_a_definition_with_a_fault_changes_nothing(probes: Probes) -> None:
    async def main() -> None:
        async with lab() as it:
            it.start("c", TCP)
            with pytest.raises(ConfigError, match="Interval must be > 0"):
                it.start("c", TcpCheck("127.0.0.1:1"))
            await it.pass_time(10)
            assert len(probes.running) == 1

    run(main)


def test_ttl_checks_are_updated_and_expire(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with lab() as it:
            it.start("c", TtlCheck(10), ttl_remaining=3, last_output="before")
            assert it.runners.ttl_remaining("c") == 3
            await it.pass_time(2)
            it.runners.ttl_update("c", "warning", "hm")
            await it.pass_time(9)
            assert it.runners.ttl_remaining("c") == 1
            await it.pass_time(1)
            assert it.seen == [
                ("c", "warning", "hm"),
                ("c", "critical", "TTL expired (last output before timeout follows): hm"),
            ]
            assert it.runners.ttl_remaining("other") is None

    run(main)
    assert 'Check "c" missed TTL, is now critical' in caplog.text


@pytest.mark.parametrize("key", ["tcp", "unknown"])
def test_only_a_ttl_check_can_be_updated(probes: Probes, key: str) -> None:
    async def main() -> None:
        async with lab() as it:
            it.start("tcp", TCP)
            with pytest.raises(NotTtlError, match=f'^CheckID "{key}" does not have associated TTL$'):
                it.runners.ttl_update(key, "passing", "")

    run(main)


@loops
def test_every_kind_runs(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        with stub_agent() as web:
            web.answer("GET /health", b"fine")
            checks = {
                "script": (ScriptCheck(("echo", "hi"), interval=10), "hi\n"),
                "http": (
                    HttpCheck(f"http://{web.address}/health", interval=10),
                    f"HTTP GET http://{web.address}/health: 200 OK Output: fine",
                ),
                "tcp": (TcpCheck(web.address, interval=10), f"TCP connect {web.address}: Success"),
                "udp": (UdpCheck("127.0.0.1:1", interval=10), "read udp 127.0.0.1:1: connection refused"),
                "h2ping": (
                    H2PingCheck("127.0.0.1:1", use_tls=False, interval=10),
                    "HTTP2 ping of 127.0.0.1:1 failed: dial tcp 127.0.0.1:1: connect: connection refused",
                ),
                "grpc": (GrpcCheck("127.0.0.1:1", interval=10), "rpc error: code = Unavailable"),
                "docker": (
                    DockerCheck("web", ("true",), interval=10),
                    "create exec failed for container web",
                ),
                "certificate": (CertificateCheck(f"{tmp_path}/a", interval=10), "Certificate "),
                "alias": (AliasCheck(service_id="web"), "No checks found."),
                "ttl": (TtlCheck(10), "TTL expired"),
            }
            async with lab(docker_socket=str(tmp_path / "docker.sock")) as it:
                for key, (check, _) in checks.items():
                    it.start(key, check)
                await it.pass_time(10)
                await until(lambda: {key for key, _, _ in it.seen} == checks.keys(), "a result of each")
                for key, _, output in it.seen:
                    assert output.startswith(checks[key][1]), key

    run(main, loop)


@loops
def test_stopping_all_leaves_no_process_and_no_task(loop: str) -> None:
    async def main() -> None:
        before = {child.pid for child in psutil.Process().children(recursive=True)}

        def started() -> set[int]:
            return {child.pid for child in psutil.Process().children(recursive=True)} - before

        async with lab() as it:
            for number in range(5):
                it.start(f"c{number}", ScriptCheck(("sh", "-c", "sleep 600 & sleep 600"), interval=10))
            await it.pass_time(10)
            await until(lambda: len(started()) >= 15, "all are running")
            await it.runners.stop_all()
            await until(lambda: not started(), "nothing is left")
            assert it.seen == []

    run(main, loop)
