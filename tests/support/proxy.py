"""The proxy's surroundings in memory: a small CA of SPIFFE leafs, decisions, instances, applications."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from meshnode.base.spiffe import ServiceId
from meshnode.pki import keys
from meshnode.pki.connect_ca import create_leaf_request, create_root, parse_leaf_request, sign_leaf
from meshnode.proxy.authorize import Identity
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import Endpoint, ProxyConfig, PublicListener, Upstream
from meshnode.proxy.decision_cache import Decision
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.proxy.sidecar import Sidecar

__all__ = [
    "Ca",
    "Certificates",
    "Clock",
    "Decisions",
    "Instances",
    "Pair",
    "echo_server",
    "spiffe",
    "start_pair",
]

TRUST_DOMAIN = "11111111-2222-3333-4444-555555555555.consul"
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def spiffe(service: str, trust_domain: str = TRUST_DOMAIN, datacenter: str = "dc1") -> str:
    return str(ServiceId(trust_domain, datacenter, service))


def identity(service: str, serial: str = "01") -> Identity:
    """Who shows a leaf of ``service`` with that serial number."""
    now = datetime.now(UTC)
    return Identity(ServiceId(TRUST_DOMAIN, "dc1", service), spiffe(service), serial, now, now)


@dataclass
class Clock:
    """Time stands still until the test moves it."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Ca:
    """A root of ``trust_domain`` and leafs of it, good and bad."""

    def __init__(self, trust_domain: str = TRUST_DOMAIN, name: str = "Consul CA 7") -> None:
        self.trust_domain = trust_domain
        self.root = create_root(name, trust_domain, at=datetime.now(UTC), entropy=os.urandom)

    def leaf(self, service: str, datacenter: str = "dc1") -> TlsMaterial:
        """What a proxy of ``service`` gets."""
        key = keys.generate_key()
        request = parse_leaf_request(
            create_leaf_request(key, ServiceId(self.trust_domain, datacenter, service))
        )
        issued = sign_leaf(
            self.root,
            request,
            trust_domain=self.trust_domain,
            datacenter=datacenter,
            lifetime=timedelta(hours=72),
            at=datetime.now(UTC),
            entropy=os.urandom,
        )
        return TlsMaterial(issued.certificate_pem, keys.serialize_key(key), self.root.certificate_pem)

    def odd_leaf(
        self,
        uris: Sequence[str],
        *,
        start: timedelta = timedelta(hours=-1),
        end: timedelta = timedelta(hours=1),
        usages: tuple[ObjectIdentifier, ...] = BOTH,
        dns: Sequence[str] = (),
        is_ca: bool = False,
    ) -> TlsMaterial:
        """A leaf that our CA would never sign."""
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        names = [
            *(x509.UniformResourceIdentifier(uri) for uri in uris),
            *(x509.DNSName(name) for name in dns),
        ]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.root.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + start)
            .not_valid_after(now + end)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        signed = builder.sign(self.root.key, hashes.SHA256())
        return TlsMaterial(
            keys.serialize_certificate(signed), keys.serialize_key(key), self.root.certificate_pem
        )


def write(material: TlsMaterial, directory: Path, name: str) -> tuple[str, str, str]:
    """Files of the chain, the key and the roots, for other programs."""
    files = [directory / f"{name}{suffix}" for suffix in (".pem", "-key.pem", "-roots.pem")]
    for file, text in zip(files, (material.chain_pem, material.key_pem, material.roots_pem), strict=True):
        file.touch(mode=0o600)
        file.write_text(text)
    return str(files[0]), str(files[1]), str(files[2])


class Certificates:
    """A provider whose material the test replaces."""

    def __init__(self, material: TlsMaterial) -> None:
        self._queue: asyncio.Queue[TlsMaterial] = asyncio.Queue()
        self._queue.put_nowait(material)

    def replace(self, material: TlsMaterial) -> None:
        self._queue.put_nowait(material)

    async def watch(self) -> AsyncIterator[TlsMaterial]:
        while True:
            yield await self._queue.get()


@dataclass
class Decisions:
    """Everybody may, but the services and the serial numbers that are named; ``fail`` makes it answer nothing."""

    denied: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    fail: bool = False
    asked: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    _changes: asyncio.Queue[None] = field(default_factory=asyncio.Queue)

    async def decide(self, source: Identity) -> Decision:
        self.asked.append(source.uri)
        if self.gate is not None:
            await self.gate.wait()
        if self.fail:
            raise ConnectionError("the agent does not answer")
        if source.serial in self.revoked:
            return Decision(False, f"certificate {source.serial} is revoked")
        if source.service.service in self.denied:
            return Decision(False, f"intention {source.service.service} => api denies it", "deny-1")
        return Decision(True, "intention * => api allows it", "allow-1")

    def deny(self, *services: str) -> None:
        """Deny these and say that something changed."""
        self.denied.update(services)
        self._changes.put_nowait(None)

    async def changes(self) -> AsyncIterator[None]:
        while True:
            yield await self._changes.get()


@dataclass
class Instances:
    """Instances by the name of the destination."""

    known: dict[str, list[Instance]] = field(default_factory=dict)
    fail: bool = False

    async def instances(self, upstream: Upstream) -> Sequence[Instance]:
        if self.fail:
            raise ConnectionError("the agent does not answer")
        return self.known.get(upstream.destination, [])


@dataclass
class Pair:
    """A client sidecar of ``web`` and a server sidecar of ``api`` in front of an application."""

    ca: Ca
    web: Sidecar
    api: Sidecar
    decisions: Decisions
    instances: Instances
    certificates: dict[str, Certificates]

    @property
    def port(self) -> int:
        """Where the application of ``web`` connects to."""
        return self.web.address("service:default/api").port

    @property
    def public_port(self) -> int:
        return self.api.address().port


@contextlib.asynccontextmanager
async def client(pair: Pair) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection of the application of ``web`` to its upstream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    """Send ``data`` to what echoes; what came back."""
    writer.write(data)
    return await asyncio.wait_for(reader.readexactly(len(data)), 20)


def listening(sidecar: Sidecar) -> list[str]:
    """Addresses of its listeners."""
    return [item["Address"] for item in sidecar.report()["Listeners"]]


def local(port: int) -> Endpoint:
    return Endpoint("127.0.0.1", port)


def upstream(destination: str = "api", **settings: object) -> Upstream:
    return Upstream(local(0), destination, **settings)  # type: ignore[arg-type]


def make_sidecar(
    ca: Ca, service: str, decisions: Decisions, instances: Instances, **options: object
) -> tuple[Sidecar, Certificates]:
    certificates = Certificates(ca.leaf(service))
    sidecar = Sidecar(certificates, decisions, instances, rng=random.Random(1), **options)  # type: ignore[arg-type]
    return sidecar, certificates


@contextlib.asynccontextmanager
async def start_pair(
    app: Endpoint, *, public: dict[str, object] | None = None, leads: dict[str, object] | None = None
) -> AsyncIterator[Pair]:
    """Both sidecars running; stopped without draining at the end."""
    ca, decisions, instances = Ca(), Decisions(), Instances()
    api, api_certificates = make_sidecar(ca, "api", decisions, instances)
    web, web_certificates = make_sidecar(ca, "web", Decisions(), instances)
    try:
        listener = PublicListener(local(0), app, **(public or {}))  # type: ignore[arg-type]
        await api.start(ProxyConfig("api", listener))
        instances.known["api"] = [Instance("127.0.0.1", api.address().port, spiffe("api"))]
        await web.start(ProxyConfig("web", None, (upstream(**(leads or {})),)))
        yield Pair(ca, web, api, decisions, instances, {"web": web_certificates, "api": api_certificates})
    finally:
        await web.stop(drain_timeout=0)
        await api.stop(drain_timeout=0)


@contextlib.asynccontextmanager
async def server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object],
) -> AsyncIterator[Endpoint]:
    """An application; closes what it still has open at the end."""
    writers: list[asyncio.StreamWriter] = []

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            result = handle(reader, writer)
            if asyncio.iscoroutine(result):
                await result

    # More than a test opens at once: a connection that finds the queue full is asked for again after a second, which is
    # all the time that a sidecar gives an application.
    listening = await asyncio.start_server(run, "127.0.0.1", 0, backlog=1024)
    try:
        yield local(listening.sockets[0].getsockname()[1])
    finally:
        listening.close()
        for writer in writers:
            writer.close()
        for writer in writers:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def echo_server() -> contextlib.AbstractAsyncContextManager[Endpoint]:
    """Gives back what it gets, and ends when its client has ended."""
    return server(_echo)
