"""Renewed files of a client: used by the next connection, and a half-written pair by none."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshnode.base.errors import ConfigError
from meshnode.client.agent import AgentClient
from meshnode.client.endpoint import TlsFiles
from meshnode.client.settings import ApiSettings
from meshnode.client.tls import RenewedContext
from tests.support.asynchronous import asynchronous
from tests.support.certs import Pair, make_ca, make_cert

CA = make_ca()


def files(directory: Path, pair: Pair) -> TlsFiles:
    (directory / "ca.pem").write_bytes(CA.pem)
    certificate, key = pair.write(directory, "client")
    return TlsFiles(ca_file=str(directory / "ca.pem"), certificate=certificate, key=key)


def replace(path: str, content: bytes) -> None:
    """As who renews a certificate does: a new file takes the name."""
    fresh = Path(path + ".new")
    fresh.write_bytes(content)
    fresh.rename(path)


def test_the_context_stays_while_the_files_do_and_is_made_again_when_one_is_another(tmp_path: Path) -> None:
    found = files(tmp_path, make_cert(["one"], CA))
    renewed = RenewedContext(found)
    first = renewed.current()
    assert renewed.current() is first
    two = make_cert(["two"], CA)
    replace(found.certificate, two.pem)
    assert renewed.current() is first, "its key is not there yet"
    replace(found.key, two.key_pem)
    second = renewed.current()
    assert second is not first
    replace(found.ca_file, CA.pem + make_ca("Another").pem)
    assert len(renewed.current().get_ca_certs()) == 2


def test_what_can_not_be_used_is_told_once_without_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = make_cert(["one"], CA)
    found = files(tmp_path, pair)
    renewed = RenewedContext(found)
    first = renewed.current()
    replace(found.certificate, b"no PEM")
    assert [renewed.current() for _ in range(5)] == [first] * 5
    (line,) = caplog.messages
    assert found.certificate in line
    assert "are not used yet" in line
    assert pair.key_pem.decode().splitlines()[1] not in caplog.text


def test_files_that_could_never_be_used_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't load the TLS files .*missing\.pem"):
        RenewedContext(TlsFiles(ca_file=str(tmp_path / "missing.pem"))).current()


@contextlib.asynccontextmanager
async def https_agent(directory: Path) -> AsyncIterator[str]:
    """Answers each request with the serial number of the certificate that it was shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_cert(["127.0.0.1"], CA).write(directory, "server"))
    context.load_verify_locations(cadata=CA.pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown = writer.get_extra_info("ssl_object").getpeercert()["serialNumber"].lower().lstrip("0")
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while await reader.readuntil(b"\r\n\r\n"):
                body = f'"{shown}"'.encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@asynchronous
async def test_a_renewed_certificate_is_shown_to_the_agent_without_a_restart(tmp_path: Path) -> None:
    one, two = make_cert(["one"], CA), make_cert(["two"], CA)
    found = files(tmp_path, one)
    async with https_agent(tmp_path) as address:
        client = AgentClient(
            ApiSettings(
                address=address, ca_file=found.ca_file, client_cert=found.certificate, client_key=found.key
            )
        )
        assert await client.get_json("/v1/agent/self") == one.serial
        replace(found.certificate, two.pem)
        assert await client.get_json("/v1/agent/self") == one.serial, "half of a pair changes nothing"
        replace(found.key, two.key_pem)
        # The connection that was kept open showed the old one: it is not used again.
        assert await client.get_json("/v1/agent/self") == two.serial
        await client.close()
