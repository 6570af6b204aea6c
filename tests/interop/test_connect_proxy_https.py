"""A proxy whose agent is behind HTTPS: a renewed client certificate, and a new CA, are used while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.testing import Mesh, MeshAgent
from tests.support.asynchronous import asynchronous
from tests.support.certs import Pair, make_ca, make_cert
from tests.support.connect_lab import answers, lab
from tests.support.waiting import until
from tests.support.wire import free_port


@dataclass
class Front:
    """TLS in front of an agent: it demands a certificate, and remembers the serial number of each connection's."""

    agent: MeshAgent
    shown: list[str] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self, ca: Pair, directory: Path) -> None:
        """With a certificate of ``ca``; clients need one of it too. As by a restart, what was open is dropped."""
        self.stop()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*make_cert(["127.0.0.1"], ca).write(directory, "front"))
        context.load_verify_locations(cadata=ca.pem.decode())
        context.verify_mode = ssl.CERT_REQUIRED
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=context)

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        listen = self.agent.listen
        try:
            with contextlib.suppress(OSError):
                peer = writer.get_extra_info("ssl_object").getpeercert()
                self.shown.append(peer["serialNumber"].lower().lstrip("0"))
                to_reader, to_writer = await asyncio.open_connection(listen.host, listen.http)
                self._writers.add(to_writer)
                both = spawn(_pipe(reader, to_writer), name="in"), spawn(_pipe(to_reader, writer), name="out")
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                await cancel_and_wait(*both)
        finally:
            writer.transport.abort()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


@contextlib.asynccontextmanager
async def front(agent: MeshAgent) -> AsyncIterator[Front]:
    made = Front(agent)
    try:
        yield made
    finally:
        made.stop()


def renew(path: Path, content: bytes) -> None:
    """A new file takes the name, as who renews certificates does it."""
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(content)
    fresh.rename(path)


@asynchronous
async def test_a_renewed_certificate_and_a_new_ca_are_used_without_a_restart(tmp_path: Path) -> None:
    first, second = make_ca("First"), make_ca("Second")
    one, two, three = make_cert(["one"], first), make_cert(["two"], first), make_cert(["three"], second)
    ca, certificate, key = (tmp_path / name for name in ("ca.pem", "client.pem", "client-key.pem"))
    for path, content in ((ca, first.pem), (certificate, one.pem), (key, one.key_pem)):
        renew(path, content)
    files = {"CONSUL_CACERT": ca, "CONSUL_CLIENT_CERT": certificate, "CONSUL_CLIENT_KEY": key}
    with Mesh(servers=1, config={"connect": {"enabled": True}}) as mesh:
        agent, port = mesh["server1"], free_port()
        async with lab(mesh, tmp_path) as (made, app), front(agent) as https:
            await https.start(first, tmp_path)
            await asyncio.to_thread(made.serve, app, agent)
            web = made.start_at(
                f"https://127.0.0.1:{https.port}", "web", "-service", "web", "-upstream", f"echo:{port}",
                **{name: str(path) for name, path in files.items()},
            )  # fmt: skip
            await answers(port)
            assert set(https.shown) == {one.serial}
            renew(certificate, two.pem)
            renew(key, two.key_pem)
            await until(lambda: https.shown[-1] == two.serial, "the renewed one is shown", 30)
            # Another CA altogether, on both sides, and no connection of before.
            renew(ca, second.pem)
            renew(certificate, three.pem)
            renew(key, three.key_pem)
            await https.start(second, tmp_path)
            await until(lambda: https.shown[-1] == three.serial, "the agent is reached again", 60)
            await answers(port)
            assert web.process.poll() is None
            assert "BEGIN" not in web.output
