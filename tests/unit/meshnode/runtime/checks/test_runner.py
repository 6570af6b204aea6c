"""The runner: pace, turns, thresholds and kinds of checks, on a clock that the test turns."""

from __future__ import annotations

from pathlib import Path

import pytest

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
from meshnode.runtime.checks.runner import MAX_FRAME_BYTES, NotTtlError
from tests.support.checks import turns
from tests.support.http_stub import stub_agent
from tests.support.rpc_lab import run
from tests.support.waiting import until
from tests.unit.meshnode.runtime.checks.runner_lab import TCP, Probes, lab, loops


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
