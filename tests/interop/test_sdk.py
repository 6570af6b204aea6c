"""Native services on real agents: the guide's examples, OpenSSL as a foreign client, denials, a rotation under load."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from meshnode.base.errors import MeshError
from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.sdk import Service
from meshnode.sdk.httpx_transport import MeshTransport
from meshnode.testing import Mesh, MeshAgent
from meshnode.testing.waiting import wait_until
from tests.support.asynchronous import asynchronous
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
GUIDE = re.findall(r"```python\n(.*?)```", (ROOT / "docs/sdk.md").read_text(), re.DOTALL)
EXAMPLE = ROOT / "docs/examples/native_echo.py"


@pytest.fixture(scope="module")
def agent() -> Iterator[MeshAgent]:
    """A client of a server with Connect; both have to take part in a rotation."""
    connect = {"connect": {"enabled": True, "ca_config": {"leaf_cert_ttl": "1h"}}}
    with Mesh(servers=1, clients=1, config=connect) as mesh:
        (client,) = mesh.clients
        client.wait_for("/v1/agent/connect/ca/roots")
        yield client


@pytest.fixture(autouse=True)
def _no_intentions(agent: MeshAgent) -> Iterator[None]:
    yield
    for intention in agent.api("/v1/connect/intentions") or []:
        agent.api(f"/v1/connect/intentions/{intention['ID']}", method="DELETE")


def environment(agent: MeshAgent) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CONSUL_")}
    return {**kept, "CONSUL_HTTP_ADDR": agent.http, "PYTHONUNBUFFERED": "1"}


def run(agent: MeshAgent, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True, text=True, check=False, timeout=60, env=environment(agent),
    )  # fmt: skip


def deny(agent: MeshAgent, source: str, destination: str) -> None:
    body = {"SourceName": source, "DestinationName": destination, "Action": "deny"}
    agent.api("/v1/connect/intentions", method="POST", body=body)


@contextlib.contextmanager
def native_echo(agent: MeshAgent, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The example as a process; its port, and its output."""
    log = tmp_path / "echo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLE), "--host", "127.0.0.1", "--port", "0"],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment(agent),
        )  # fmt: skip
    try:
        wait_until(lambda: " listens on " in log.read_text() or process.poll() is not None, 20)
        found = re.search(r"listens on 127\.0\.0\.1:(\d+)", log.read_text())
        assert found, log.read_text()
        agent.wait_for("/v1/health/connect/echo", until=lambda rows: len(rows) == 1)
        yield int(found[1]), log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()


# The guide


@pytest.mark.parametrize(
    ("number", "printed"),
    [
        (0, r"spiffe://[0-9a-f-]+\.consul/ns/default/dc/dc1/svc/echo\nb'hello\\n'\n"),
        (1, r"True .+\n"),
        (2, r"service:default/socat: it has no instance\n"),
    ],
)
def test_each_example_of_the_guide_does_what_it_says(agent: MeshAgent, number: int, printed: str) -> None:
    done = run(agent, "-c", GUIDE[number])
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(printed, done.stdout), done.stdout


def test_the_example_for_uvicorn_says_when_there_is_none(agent: MeshAgent) -> None:
    done = run(agent, "-c", f"import sys; sys.modules['uvicorn'] = None\n{GUIDE[3]}")
    assert (done.returncode, done.stderr) == (1, "this example needs uvicorn\n")


def test_the_whole_program_serves_asks_and_deregisters(agent: MeshAgent, tmp_path: Path) -> None:
    with native_echo(agent, tmp_path) as (_, log):
        done = run(agent, str(EXAMPLE), "--service", "web", "--ask", "echo", "hello there")
        assert (done.returncode, done.stdout) == (0, "hello there\n"), done.stderr
        assert re.search(r"serving spiffe://.*/svc/web\n", log.read_text())
        deny(agent, "web", "echo")
        done = run(agent, str(EXAMPLE), "--service", "web", "--ask", "echo", "hello there")
        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr
        assert "DENY default/web => default/echo" in log.read_text()
    assert agent.wait_for("/v1/health/connect/echo", until=lambda rows: rows == []) == []


def test_a_program_without_its_agent_says_what_to_set(agent: MeshAgent) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--ask", "echo", "x"],
        capture_output=True, text=True, check=False, timeout=60,
        env=environment(agent) | {"CONSUL_HTTP_ADDR": "127.0.0.1:1"},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("native_echo: the agent gives 'echo' no certificate: can't reach the agent")
    assert "Traceback" not in done.stderr


def test_with_acls_a_token_of_the_services_own_is_enough() -> None:
    async def serve(mesh: Mesh) -> None:
        agent = mesh.servers[0]

        def token(*rules: str) -> str:
            name = f"policy-{len(rules)}-{rules[0].split()[1].strip(chr(34))}"
            agent.api("/v1/acl/policy", method="PUT", body={"Name": name, "Rules": "\n".join(rules)})
            made = agent.api("/v1/acl/token", method="PUT", body={"Policies": [{"Name": name}]})
            return str(made["SecretID"])

        nodes = 'node_prefix "" { policy = "read" }'
        echo_token = token('service "echo" { policy = "write" }', nodes)
        web_token = token('service "web" { policy = "write" }', 'service "echo" { policy = "read" }', nodes)
        with pytest.raises(MeshError, match=r'403 \(Permission denied: no rule is about service "other"'):
            async with Service("other", address=agent.http, token=echo_token):
                pass

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                writer.write(data)
            writer.close()

        async with (
            Service("echo", address=agent.http, token=echo_token) as service,
            Service("web", address=agent.http, token=web_token) as web,
        ):
            server = await service.start_server(echo, "127.0.0.1", 0)
            await service.register(server.sockets[0].getsockname()[1], address="127.0.0.1")
            decision = await service.authorize(web.identity)
            assert (decision.allowed, decision.because) == (False, "Default behavior configured by ACLs")
            body = {"SourceName": "web", "DestinationName": "echo", "Action": "allow"}
            made = await asyncio.to_thread(agent.api, "/v1/connect/intentions", method="POST", body=body)

            async def allowed() -> bool:
                return (await service.authorize(web.identity)).allowed

            await until(allowed, "the intention is followed with the service's token")
            reader, writer = await web.dial("echo")
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            await asyncio.to_thread(agent.api, f"/v1/connect/intentions/{made['ID']}", method="DELETE")
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 20) == b"", "it is cut"
            writer.close()

    with Mesh(acl=True, config={"connect": {"enabled": True}}) as mesh:
        mesh.servers[0].wait_for("/v1/agent/connect/ca/roots")
        asyncio.run(serve(mesh))


# OpenSSL on the other end


def saved(agent: MeshAgent, service: str, directory: Path) -> list[str]:
    """Arguments of ``openssl s_client`` that show the leaf of ``service`` and trust the mesh's roots."""
    leaf = agent.api(f"/v1/agent/connect/ca/leaf/{service}")
    roots = agent.api("/v1/agent/connect/ca/roots")
    texts = {
        "cert": leaf["CertPEM"],
        "key": leaf["PrivateKeyPEM"],
        "CAfile": "".join(root["RootCert"] for root in roots["Roots"]),
    }
    arguments = []
    for name, text in texts.items():
        file = directory / f"{service}.{name}"
        file.touch(mode=0o600)
        file.write_text(text)
        arguments += [f"-{name}", str(file)]
    return arguments


class OpenSsl:
    """``openssl s_client`` to a port, line by line."""

    def __init__(self, port: int, *arguments: str) -> None:
        self._process = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-quiet", "-verify_return_error", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def say(self, line: str) -> str:
        """What comes back; empty when the connection ends instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        return self._process.stdout.readline().decode().strip()

    def ended(self) -> bool:
        """Wait until the other side has ended the connection."""
        self._process.wait(20)
        return True

    def __enter__(self) -> OpenSsl:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_is_served_as_a_service_and_as_nobody_it_is_not(
    agent: MeshAgent, tmp_path: Path, version: str
) -> None:
    with native_echo(agent, tmp_path) as (port, log):
        trusted = saved(agent, "web", tmp_path)
        with OpenSsl(port, version, *trusted) as client:
            assert client.say("hello") == "hello"
        with OpenSsl(port, version, *trusted[4:]) as client:
            assert client.say("hello") == ""
        assert "it showed no certificate" in log.read_text()
        other = tmp_path / "self"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-nodes", "-keyout", f"{other}.key", "-out", f"{other}.crt", "-subj", "/CN=web"),
                *("-addext", f"subjectAltName=URI:{agent.api('/v1/agent/connect/ca/leaf/web')['ServiceURI']}"),
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        with OpenSsl(port, version, "-cert", f"{other}.crt", "-key", f"{other}.key", *trusted[4:]) as client:
            assert client.say("hello") == ""
        assert "does not verify" in log.read_text()


def test_an_intention_cuts_a_live_connection_of_openssls_and_no_other(
    agent: MeshAgent, tmp_path: Path
) -> None:
    with native_echo(agent, tmp_path) as (port, log):
        denied, kept = saved(agent, "web", tmp_path), saved(agent, "cron", tmp_path)
        with OpenSsl(port, *denied) as web, OpenSsl(port, *kept) as cron:
            assert (web.say("a"), cron.say("b")) == ("a", "b")
            deny(agent, "web", "echo")
            assert web.ended()
            assert cron.say("still") == "still"
        assert "1 connections of" in log.read_text()


def test_a_revoked_leaf_is_cut_and_not_let_in_again(agent: MeshAgent, tmp_path: Path) -> None:
    with native_echo(agent, tmp_path) as (port, log):
        arguments = saved(agent, "stolen", tmp_path)
        with OpenSsl(port, *arguments) as client:
            assert client.say("a") == "a"
            serial = agent.api("/v1/agent/connect/ca/leaf/stolen")["SerialNumber"]
            agent.api("/v1/connect/ca/revoke", method="PUT", body={"SerialNumber": serial})
            assert client.ended()
        with OpenSsl(port, *arguments) as client:
            assert client.say("a") == ""
        assert f"Certificate {serial} is revoked" in log.read_text()


# Changes under load


@contextlib.asynccontextmanager
async def web_pair(agent: MeshAgent) -> AsyncIterator[tuple[Service, Service]]:
    """``api`` answers HTTP, ``web`` asks it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        writer.close()

    async with Service("api", address=agent.http) as api, Service("web", address=agent.http) as web:
        server = await api.start_server(answer, "127.0.0.1", 0)
        await api.register(server.sockets[0].getsockname()[1], address="127.0.0.1")
        yield api, web


@pytest.mark.timeout(180)
@asynchronous
async def test_a_rotation_of_the_root_fails_no_request_and_ends_no_connection(agent: MeshAgent) -> None:
    async def ask(path: str, **options: Any) -> Any:
        return await asyncio.to_thread(agent.api, path, **options)

    async with web_pair(agent) as (api, web):
        stopped, answers, failures = asyncio.Event(), [0], []

        async def load(client: httpx.AsyncClient) -> None:
            while not stopped.is_set():
                try:
                    answers[0] += (await client.get("http://api.mesh/")).status_code == 200
                except httpx.HTTPError as error:
                    failures.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(0.01)  # the load of a service, not of a benchmark

        reader, writer = await web.dial("api")
        before = (api.identity.serial, web.identity.serial, api.roots)
        key = await asyncio.to_thread(
            subprocess.run,
            ["openssl", "ecparam", "-genkey", "-noout", "-name", "prime256v1"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        # One keeps its connections, the other makes a new one for each request.
        async with (
            httpx.AsyncClient(transport=MeshTransport(web)) as keeping,
            httpx.AsyncClient(transport=MeshTransport(web, keepalive_expiry=0.0)) as dialling,
        ):
            tasks = [spawn(load(client), name="load") for client in (keeping, dialling)]
            try:
                config = {"PrivateKey": key.stdout, "LeafCertTTL": "1h"}
                await ask(
                    "/v1/connect/ca/configuration",
                    method="PUT",
                    body={"Provider": "consul", "Config": config},
                )

                def rotated() -> bool:
                    now = (api.identity.serial, web.identity.serial, api.roots)
                    return all(new != old for new, old in zip(now, before, strict=True)) and (
                        len(api.roots) == len(web.roots) == 1
                    )

                await until(rotated, "both have a leaf of the new root, and only that root", 90)
                so_far = answers[0]
                await until(lambda: answers[0] > so_far + 20, "requests go on")
            finally:
                stopped.set()
                await asyncio.wait(tasks, timeout=20)
                await cancel_and_wait(*tasks)
        assert failures == []
        assert answers[0] > 50
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 200"), (
            "a connection of before the rotation goes on"
        )
        writer.close()


@asynchronous
async def test_services_outlive_their_agent(agent: MeshAgent) -> None:
    async with (
        web_pair(agent) as (_, web),
        httpx.AsyncClient(transport=MeshTransport(web, keepalive_expiry=0.0)) as client,
    ):
        assert (await client.get("http://api.mesh/")).status_code == 200
        await asyncio.to_thread(agent.kill)
        for _ in range(5):
            assert (await client.get("http://api.mesh/")).status_code == 200
        await asyncio.to_thread(agent.start)
        await asyncio.to_thread(deny, agent, "web", "api")

        async def refused() -> bool:
            try:
                await client.get("http://api.mesh/")
            except httpx.HTTPError:
                return True
            return False

        await until(refused, "changes are followed again", 30)
