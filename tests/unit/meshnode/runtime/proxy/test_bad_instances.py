"""Instances that are not who they have to be, with OpenSSL's server: the application behind us sends them no byte."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshnode.proxy.balance import Instance
from meshnode.proxy.config import ProxyConfig
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.proxy.sidecar import Sidecar
from tests.support.asynchronous import asynchronous
from tests.support.proxy import Ca, Decisions, Instances, make_sidecar, server, spiffe, upstream, write
from tests.support.waiting import until
from tests.support.wire import free_port

CA = Ca()
API = spiffe("api")
MINUTE = timedelta(minutes=1)


@contextlib.asynccontextmanager
async def openssl_server(material: TlsMaterial, directory: Path, *more: str) -> AsyncIterator[int]:
    """``s_server -rev`` answers each line reversed."""
    port, (chain, key, _) = free_port(), write(material, directory, "server")
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-rev", "-cert", chain, "-key", key]
    with (directory / "openssl.log").open("wb") as log:
        process = subprocess.Popen([*command, *more], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        listening = f":{port:04X} 00000000:0000 0A"
        await until(lambda: listening in Path("/proc/net/tcp").read_text(), "openssl listens")
        yield port
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def web_to(port: int) -> AsyncIterator[Sidecar]:
    web, _ = make_sidecar(CA, "web", Decisions(), Instances({"api": [Instance("127.0.0.1", port, API)]}))
    await web.start(ProxyConfig("web", None, (upstream(),)))
    try:
        yield web
    finally:
        await web.stop(drain_timeout=0)


async def said(web: Sidecar) -> bytes:
    """What comes back for a line; nothing when the connection is reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", web.address("service:default/api").port)
    try:
        writer.write(b"olleh\n")
        return await asyncio.wait_for(reader.readline(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@asynchronous
async def test_one_that_is_as_it_should_be_is_talked_to(tmp_path: Path) -> None:
    for odd in ({}, {"dns": ["api.example"]}):
        async with openssl_server(CA.odd_leaf([API], **odd), tmp_path) as port, web_to(port) as web:  # type: ignore[arg-type]
            assert await said(web) == b"hello\n"


@pytest.mark.parametrize(
    ("material", "more", "because"),
    [
        (lambda: CA.odd_leaf([spiffe("api", "other.consul")]), (), "another trust domain"),
        (lambda: CA.odd_leaf([spiffe("api", datacenter="dc2")]), (), "expected is"),
        (lambda: CA.odd_leaf([spiffe("mail")]), (), "expected is"),
        (lambda: CA.odd_leaf([]), (), "no URI among its names"),
        (lambda: CA.odd_leaf([], dns=["api.service.consul"]), (), "no URI among its names"),
        (lambda: CA.odd_leaf([API, spiffe("mail")]), (), "2 URIs"),
        (lambda: CA.odd_leaf([API], end=-MINUTE), (), "certificate has expired"),
        (lambda: CA.odd_leaf([API], start=60 * MINUTE, end=120 * MINUTE), (), "not yet valid"),
        (lambda: CA.odd_leaf([API], usages=(ExtendedKeyUsageOID.CLIENT_AUTH,)), (), "certificate purpose"),
        (lambda: CA.odd_leaf([API], is_ca=True), (), "CA:TRUE"),
        (lambda: Ca().leaf("api"), (), "does not verify"),
        (lambda: CA.leaf("api"), ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), "TLS"),
    ],
)  # fmt: skip
@asynchronous
async def test_one_that_will_not_do_gets_no_byte_and_is_told_why(
    material: object, more: tuple[str, ...], because: str, tmp_path: Path
) -> None:
    async with openssl_server(material(), tmp_path, *more) as port, web_to(port) as web:  # type: ignore[operator]
        assert await said(web) == b""
        await until(lambda: web.ledger.refused, "it is told")
        assert because in web.ledger.refused[-1].because
        assert len(web.ledger) == len(web.ledger.closed) == 0
    assert b"olleh" not in (tmp_path / "openssl.log").read_bytes()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 smtp.example\r\n", b"\0" * 64])
@asynchronous
async def test_one_that_speaks_no_tls_is_named(answer: bytes) -> None:
    heard = bytearray()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        while data := await reader.read(4096):
            heard.extend(data)

    async with server(speak) as plain, web_to(plain.port) as web:
        assert await said(web) == b""
        await until(lambda: web.ledger.refused, "it is told")
        assert "TLS" in web.ledger.refused[-1].because
    assert b"olleh" not in heard
