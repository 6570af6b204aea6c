"""Peers that are not who or what they should be, against ``connect proxy`` of real agents; applications that fail.

OpenSSL's client is the peer. That the agent knows of each refusal, and why, is part of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshnode.pki import keys
from meshnode.pki.authority import Authority
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.testing import Mesh, MeshAgent
from tests.support.asynchronous import asynchronous
from tests.support.connect_lab import Lab, answers, refused
from tests.support.flows import ask
from tests.support.programs import needs
from tests.support.proxy import Ca, echo_server, server, spiffe, write
from tests.support.proxy_command import ProxyCommand
from tests.support.waiting import until
from tests.support.wire import free_port

pytestmark = needs("openssl", "socat")

#: Clients that connect and say nothing. ``tests/chaos/test_half_open.py`` has ten times as many.
SILENT = 1000
FOREIGN = "99999999-2222-3333-4444-555555555555.consul"


@dataclass
class Target:
    """A proxy of ``echo``, its application, and the key of the mesh's root, so that any leaf can be made."""

    agent: MeshAgent
    proxy: ProxyCommand
    port: int
    ca: Ca

    def refused(self) -> list[dict[str, Any]]:
        found = self.agent.api("/v1/agent/connect/connections", query={"service": "echo"})
        return list(found["Refused"])


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory, app = tmp_path_factory.mktemp("peers"), free_port()
    with Mesh(servers=1, config={"connect": {"enabled": True}}) as mesh, ExitStack() as stack:
        agent = mesh["server1"]
        agent.wait_for("/v1/connect/ca/roots")
        ca = _known_root(agent)
        with (directory / "socat.log").open("ab") as log:
            echo = subprocess.Popen(
                ["socat", f"tcp-l:{app},bind=127.0.0.1,fork,reuseaddr", "exec:/bin/cat"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        stack.callback(echo.wait)
        stack.callback(echo.kill)
        lab = Lab(mesh, directory, stack)
        proxy = lab.serve(app, agent, handshake_timeout_ms=4000)
        port = agent.api("/v1/agent/services")["echo-proxy"]["Port"]
        yield Target(agent, proxy, port, ca)


def _known_root(agent: MeshAgent) -> Ca:
    """Rotate to a root whose key is ours."""
    key = keys.serialize_key(keys.generate_key())
    body = {"Provider": "consul", "Config": {"PrivateKey": key}}
    before = agent.api("/v1/connect/ca/roots")["ActiveRootID"]
    agent.api("/v1/connect/ca/configuration", method="PUT", body=body)
    found = agent.wait_for(
        "/v1/connect/ca/roots",
        until=lambda shown: shown["ActiveRootID"] != before,
    )
    (active,) = (row for row in found["Roots"] if row["Active"])
    ca = Ca(found["TrustDomain"])
    ca.root = Authority.parse(active["RootCert"], key, "root")
    return ca


def talk(target: Target, material: TlsMaterial | None, directory: Path, *extra: str) -> bytes:
    """What comes back for hello."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{target.port}", "-quiet", "-verify_quiet"]
    if material is not None:
        chain, key, _ = write(material, directory, "client")
        command += ["-cert", chain, "-key", key]
    with subprocess.Popen(
        [*command, *extra], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            client.stdin.write(b"hello\n")
            client.stdin.flush()
        answer = client.stdout.read(6)
        client.kill()
    return answer


def web(ca: Ca, **odd: Any) -> TlsMaterial:
    return ca.odd_leaf(odd.pop("uris", [spiffe("web", ca.trust_domain)]), **odd)


def test_a_leaf_as_it_should_be_is_let_in(target: Target, tmp_path: Path) -> None:
    assert talk(target, target.ca.leaf("web"), tmp_path) == b"hello\n"
    assert talk(target, web(target.ca), tmp_path, "-tls1_2") == b"hello\n"


MINUTE = timedelta(minutes=1)
SERVERS_ONLY = (ExtendedKeyUsageOID.SERVER_AUTH,)


@pytest.mark.parametrize(
    ("odd", "kind", "because"),
    [
        ({"uris": [spiffe("web", FOREIGN)]}, "identity.trust_domain", "another trust domain"),
        ({"uris": []}, "identity.no_uri", "no URI among its names"),
        ({"uris": [], "dns": ["web.service.consul"]}, "identity.no_uri", "no URI among its names"),
        ({"uris": "two"}, "identity.many_uris", "2 URIs"),
        ({"uris": ["https://web.example.com"]}, "identity.not_spiffe", "must have 'spiffe' scheme"),
        ({"end": -MINUTE}, "handshake", "certificate has expired"),
        ({"start": 60 * MINUTE, "end": 120 * MINUTE}, "handshake", "certificate is not yet valid"),
        ({"usages": SERVERS_ONLY}, "handshake", "unsuitable certificate purpose"),
        ({"is_ca": True}, "identity.is_authority", "CA:TRUE"),
    ],
)  # fmt: skip
def test_a_certificate_that_will_not_do_is_refused_and_the_agent_knows_why(
    target: Target, odd: dict[str, Any], kind: str, because: str, tmp_path: Path
) -> None:
    ca = target.ca
    if odd.get("uris") == "two":
        odd = {"uris": [spiffe("web", ca.trust_domain), spiffe("db", ca.trust_domain)]}
    known = {row["ID"] for row in target.refused()}
    assert talk(target, web(ca, **odd), tmp_path) == b""
    row = _news(target, known)
    assert (row["Kind"], row["Listener"]) == (kind, "public")
    assert because in row["Because"]
    assert f"public #{row['ID']} from {row['Peer']} refused: " in target.proxy.output


def _news(target: Target, known: set[int]) -> dict[str, Any]:
    """The refusal that was not known yet; a report comes every second."""

    def find(shown: dict[str, Any]) -> list[dict[str, Any]]:
        return [row for row in shown["Refused"] if row["ID"] not in known]

    query = {"service": "echo"}
    shown = target.agent.wait_for("/v1/agent/connect/connections", query=query, until=find)
    return find(shown)[0]


@pytest.mark.parametrize(
    ("what", "extra", "because"),
    [
        ("nothing", (), "it showed no certificate"),
        ("another root", (), "its certificate does not verify"),
        ("ours", ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), "it offers no TLS version from 1.2 on"),
    ],
)
def test_no_certificate_another_root_and_an_old_version_are_refused(
    target: Target, what: str, extra: tuple[str, ...], because: str, tmp_path: Path
) -> None:
    known = {row["ID"] for row in target.refused()}
    shown = {
        "nothing": None,
        "another root": Ca(target.ca.trust_domain).leaf("web"),
        "ours": target.ca.leaf("web"),
    }
    assert talk(target, shown[what], tmp_path, *extra) == b""
    row = _news(target, known)
    assert row["Kind"] == "handshake"
    assert because in row["Because"]


def test_plaintext_gets_an_alert_and_a_hint(target: Target) -> None:
    known = {row["ID"] for row in target.refused()}
    with socket.create_connection(("127.0.0.1", target.port), 20) as sock:
        sock.settimeout(20)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: echo\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b"\x15"
    assert "connect through a sidecar" in _news(target, known)["Because"]


def test_clients_that_say_nothing_keep_nobody_out_and_are_given_up(target: Target, tmp_path: Path) -> None:
    wanted = min(SILENT, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
    with ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", target.port), 20))
            for _ in range(wanted)
        ]
        assert talk(target, target.ca.leaf("web"), tmp_path) == b"hello\n"
        # Each of them, by the proxy's own time-out: this test waits for no other one.
        for sock in silent:
            sock.settimeout(30)
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
    assert talk(target, target.ca.leaf("web"), tmp_path) == b"hello\n"
    (proxy,) = target.agent.wait_for(
        "/v1/agent/connect/connections",
        query={"service": "echo"},
        until=lambda shown: _given_up(shown["Proxies"]) >= wanted,
    )["Proxies"]
    print(f"\n{wanted} silent clients: {_given_up([proxy])} given up")


def _given_up(proxies: list[dict[str, Any]]) -> int:
    names = ("refused.handshake_timeout", "refused.handshakes")
    return sum(proxies[0]["Counters"].get(name, 0) for name in names)


# Applications that fail, behind two real sidecars


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with Mesh(servers=1, config={"connect": {"enabled": True}}) as made:
        made["server1"].wait_for("/v1/connect/ca/roots")
        yield made


async def _greet_then_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ends its own half first, and reports what it hears afterwards on the next connection."""
    writer.write(b"that was all")
    writer.write_eof()
    _heard.append(await reader.read())


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    await asyncio.Event().wait()


_heard: list[bytes] = []


@pytest.mark.timeout(240)
@asynchronous
async def test_applications_that_refuse_hang_reset_or_close_one_half(mesh: Mesh, tmp_path: Path) -> None:
    agent = mesh["server1"]
    with ExitStack() as stack:
        lab = Lab(mesh, tmp_path, stack)
        port, app = lab.source("web", agent), free_port()
        proxy = await asyncio.to_thread(lambda: lab.serve(app, agent))

        async def behind(new: int) -> None:
            """The proxy leads to another port from now on; what is open goes on."""
            found = agent.api("/v1/agent/services")["echo-proxy"]
            ours = {
                "DestinationServiceName": "echo",
                "LocalServiceAddress": "127.0.0.1",
                "LocalServicePort": new,
            }
            body = {"Kind": "connect-proxy", "ID": "echo-proxy", "Name": "echo-proxy", "Address": "127.0.0.1"}
            whole = {**body, "Port": found["Port"], "Proxy": ours}
            await asyncio.to_thread(agent.api, "/v1/agent/service/register", method="PUT", body=whole)

        # Refuses: the connection ends, and the destination's log says why.
        async def told() -> bool:
            await refused(port)
            return "the local application can't be reached" in proxy.output

        await until(told, "it is refused and the reason is told", 60, interval=0.2)
        async with echo_server() as echo:
            await behind(echo.port)
            await answers(port)
        async with server(_hang_up) as rude:
            await behind(rude.port)
            await until(lambda: _is_reset(port), "its reset is passed on", 60)
        async with server(_greet_then_listen) as polite:
            await behind(polite.port)
            await until(lambda: _hears_all(port), "it ended its half, and the other half went on", 60)
        async with server(_hang) as hanging:
            await behind(hanging.port)
            await until(lambda: _waits(port), "it hangs", 60)
            # Somebody else is served meanwhile.
            async with echo_server() as echo:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                await behind(echo.port)
                await answers(port)
                assert not reader.at_eof()
                writer.close()


async def _is_reset(port: int) -> bool:
    try:
        return await ask(port) == b"?"
    except ConnectionResetError:
        return True


async def _hears_all(port: int) -> bool:
    _heard.clear()
    data = b"after the end" * 1000
    with contextlib.suppress(ConnectionError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            if await asyncio.wait_for(reader.read(), 20) != b"that was all":
                return False
            writer.write(data)
            writer.write_eof()
            await until(lambda: _heard, "the application has heard all")
            return _heard == [data]
        finally:
            writer.close()
    return False


async def _waits(port: int) -> bool:
    """Half a second without an answer and without an end."""
    with contextlib.suppress(OSError):
        try:
            await asyncio.wait_for(ask(port), 0.5)
        except TimeoutError:
            return True
    return False
