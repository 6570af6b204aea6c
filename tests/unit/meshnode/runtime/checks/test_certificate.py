"""Certificates in files and behind TLS listeners, trusted or not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshnode.local.check_type import CertificateCheck
from meshnode.runtime.checks.certificate import check_certificate
from meshnode.runtime.checks.clock import LoopClock
from tests.support.certs import make_ca, make_cert
from tests.support.checks import START, TurnedClock, server_context
from tests.support.rpc_lab import LOOPS, run

CA = make_ca()
loops = pytest.mark.parametrize("loop", LOOPS)


def check(target: str, timeout: float = 5.0) -> CertificateCheck:
    return CertificateCheck(target, interval=10, timeout=timeout)


@loops
@pytest.mark.parametrize(
    ("days", "status"), [(0, "passing"), (61, "warning"), (91, "critical"), (-1, "critical")]
)
def test_a_file_is_judged_by_the_clock(tmp_path: Path, loop: str, days: int, status: str) -> None:
    pair = make_cert(["web.example"], CA, not_before=START, not_after=START + timedelta(days=90))
    file, _ = pair.write(tmp_path, "web")
    clock = TurnedClock()
    clock.advance(days * 86400)
    result = run(lambda: check_certificate(check(file), clock), loop)
    assert result.status == status
    assert result.output.startswith(f'Certificate {file}: subject "CN=web.example", serial {pair.serial}, ')


@loops
def test_what_a_server_shows_is_judged_without_being_trusted(tmp_path: Path, loop: str) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    good = make_cert(["other.example"], CA)
    old = make_cert(["other.example"], CA, not_before=yesterday - timedelta(days=9), not_after=yesterday)

    async def main() -> None:
        for pair, status, text in ((good, "passing", "days left"), (old, "critical", "expired 1.0 days ago")):
            done = asyncio.Event()

            async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.transport.abort()
                done.set()  # noqa: B023 - one server at a time

            server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(pair, tmp_path))
            async with server:
                place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
                result = await check_certificate(check(place), LoopClock())
                await done.wait()
            assert result.status == status
            assert text in result.output
            assert f'{place}: subject "CN=other.example", serial {pair.serial}' in result.output

    run(main, loop)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("missing", "can't be read: no such file or directory"),
        ("", "is not a file: write the path of a certificate"),
        ("text", "holds no certificate that can be read"),
    ],
)
def test_what_cannot_be_read_is_critical_with_the_reason(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "text").write_text("no certificate")
    path = f"{tmp_path}/{name}"
    result = run(lambda: check_certificate(check(path), TurnedClock()))
    assert result.status == "critical"
    assert result.output.startswith(f"Certificate {path}: {text}")


def test_a_server_that_says_nothing_or_no_tls_is_critical() -> None:
    async def main() -> None:
        handled = asyncio.Semaphore(0)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if await reader.read(1) and talks:
                writer.write(b"220 mail.example ESMTP\r\n" * 10)
            await reader.read()
            writer.transport.abort()
            handled.release()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            for talks in (False, True):
                result = await check_certificate(check(place, timeout=0.3), LoopClock())
                wanted = "does not look like a TLS handshake" if talks else "nothing came in 0.3 s"
                assert result.status == "critical"
                assert wanted in result.output
                await handled.acquire()
        gone = await check_certificate(check(place), LoopClock())
        assert gone.output == f"Certificate {place}: dial tcp {place}: connect: connection refused"
        await asyncio.sleep(0)

    run(main)
