"""The foreign witness: OpenSSL's own command on the other end of our TLS. A relay adds or drops the byte 0x03."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from meshnode.base.address import Address
from meshnode.rpc.codec import Request, Response, ResponseParser, serialize_request
from meshnode.runtime.rpc_client import CallTimeoutError, TlsRefusedError
from tests.support.certs import Pair, make_cert
from tests.support.programs import needs
from tests.support.rpc_lab import Mesh, client_of, prefixing_relay, run, serving
from tests.support.waiting import until

pytestmark = needs("openssl")


async def s_client(
    address: Address, *arguments: str, stdin: bytes = b"", wanted: int = 0
) -> tuple[bytes, str]:
    """Talk through ``openssl s_client``; returns what came back (up to ``wanted`` bytes) and what it reported."""
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", str(address), "-verify_return_error", "-quiet", "-no_ign_eof", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(stdin)
    got = b""
    while len(got) < wanted and (data := await process.stdout.read(65536)):
        got += data
    process.stdin.close()
    _, report = await asyncio.gather(process.stdout.read(), process.stderr.read())
    await process.wait()
    return got, report.decode()


def identity(mesh: Mesh, name: str, pair: Pair | None = None) -> list[str]:
    certificate, key = (pair or make_cert([name], mesh.ca)).write(mesh.directory, name)
    return ["-cert", certificate, "-key", key, "-CAfile", mesh.file("ca")]


@pytest.mark.parametrize(
    "options",
    [
        ["-tls1_3"],
        ["-tls1_2"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
    ],
)
def test_openssl_calls_a_method_over_mutual_tls(tmp_path: Path, options: list[str]) -> None:
    mesh = Mesh.make(tmp_path)
    request = b"\x00" + serialize_request(Request("A.B", 5, "over openssl"))

    async def main() -> None:
        async with serving(tls=mesh.server()) as (_, address), prefixing_relay(address, b"\x03") as relay:
            named = ["-verify_hostname", "server.dc1.consul"]
            got, report = await s_client(
                relay, *identity(mesh, "witness"), *options, *named, stdin=request, wanted=len(request)
            )
            assert ResponseParser().feed(got) == [Response("A.B", 5, "", b"over openssl")], report

    run(main)


@pytest.mark.parametrize(
    ("case", "counter"),
    [
        ("none-1.3", "no_certificate"),
        ("none-1.2", "no_certificate"),
        ("stranger-1.3", "other_ca"),
        ("stranger-1.2", "other_ca"),
        ("version", "version"),
        ("weak", "ciphers"),
    ],
)
def test_openssl_is_refused_as_any_stranger(tmp_path: Path, case: str, counter: str) -> None:
    mesh = Mesh.make(tmp_path)
    version = "-tls1_2" if case.endswith("1.2") else "-tls1_3"
    arguments = {
        "none": ["-CAfile", mesh.file("ca"), version],
        "stranger": [*identity(mesh, "evil", make_cert(["evil"], mesh.stranger)), version],
        "version": [*identity(mesh, "old"), "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        "weak": [*identity(mesh, "weak"), "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"],
    }[case.split("-")[0]]

    async def main() -> None:
        async with (
            serving(tls=mesh.server()) as (server, address),
            prefixing_relay(address, b"\x03") as relay,
        ):
            call = b"\x00" + serialize_request(Request("A.B", 5, 1))
            got, report = await s_client(relay, *arguments, stdin=call, wanted=1)
            assert got == b""
            assert "alert" in report.lower(), report
            assert server.counters[f"refused.tls_{counter}"] == 1
            assert server.counters["request"] == 0

    run(main)


@asynccontextmanager
async def s_server(mesh: Mesh, pair: Pair, *arguments: str) -> AsyncIterator[Address]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    certificate, key = pair.write(mesh.directory, "s_server")
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", certificate, "-key", key,
        "-CAfile", mesh.file("ca"), "-quiet", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    try:
        await until(listens, "s_server listens", interval=0.02)
        yield Address("127.0.0.1", port)
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_our_client_judges_a_server_of_openssl(tmp_path: Path, version: str) -> None:
    mesh = Mesh.make(tmp_path)
    tls = mesh.client(verify_server_hostname=True)

    async def attempt(pair: Pair, *arguments: str) -> None:
        async with (
            s_server(mesh, pair, version, *arguments) as target,
            prefixing_relay(target, drop=1) as relay,
            client_of(tls) as client,
        ):
            await client.call(relay, "A.B", None, timeout=2)

    async def main() -> None:
        with pytest.raises(CallTimeoutError):  # TLS stands; s_server speaks no yamux
            await attempt(make_cert(["server.dc1.consul"], mesh.ca), "-Verify", "2", "-verify_return_error")
        with pytest.raises(TlsRefusedError, match='issued by "CN=Stranger CA"'):
            await attempt(make_cert(["server.dc1.consul"], mesh.stranger))
        with pytest.raises(TlsRefusedError, match=r"for server\.dc9\.consul"):
            await attempt(make_cert(["server.dc9.consul"], mesh.ca))

    run(main)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_server_of_openssl_that_refuses_our_client_is_explained(tmp_path: Path, version: str) -> None:
    mesh = Mesh.make(tmp_path)
    tls = mesh.client(make_cert(["evil"], mesh.stranger))

    async def main() -> None:
        pair = make_cert(["server.dc1.consul"], mesh.ca)
        verify = ["-Verify", "2", "-verify_return_error"]
        async with (
            s_server(mesh, pair, version, *verify) as target,
            prefixing_relay(target, drop=1) as relay,
            client_of(tls) as client,
        ):
            with pytest.raises(TlsRefusedError, match="the peer refused our certificate"):
                await client.call(relay, "A.B", None, timeout=5)

    run(main)
