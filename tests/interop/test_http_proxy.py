"""The HTTP listener with foreign programs on its ends: curl, Envoy in front and behind, gRPC through it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from grpclib.client import Channel
from grpclib.health.service import Health
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpclib.server import Server

from meshnode.proxy.config import Endpoint, ProxyConfig, PublicListener
from tests.support.asynchronous import asynchronous
from tests.support.envoy import client_sidecar, running
from tests.support.envoy_http import http_cluster, http_command, http_filter
from tests.support.http_proxy import certificate_files, listening, server_context, show_app
from tests.support.programs import needs
from tests.support.proxy import Ca, Decisions, Instances, local, make_sidecar, spiffe, write
from tests.support.wire import free_port

pytestmark = needs("curl", "envoy")


async def curl(*arguments: str) -> tuple[int, str, str]:
    """Status, version of HTTP, and body."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "-s", "-m", "20", "-w", "\n%{http_code} %{http_version}", *arguments),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    out, _ = await process.communicate()
    body, _, last = out.decode().rpartition("\n")
    status, _, version = last.partition(" ")
    return int(status), version, body


@contextlib.asynccontextmanager
async def envoy(
    directory: Path, filter_: dict[str, Any], *clusters: dict[str, Any]
) -> AsyncIterator[Endpoint]:
    """Envoy listening in the clear."""
    port = free_port()
    async with running(http_command(directory, port, filter_, *clusters), port):
        yield local(port)


@asynchronous
async def test_curl_speaks_every_version_through_every_kind_of_listener(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"0123456789" * 100_000)
    async with (
        show_app() as app,
        listening(app) as plain,
        listening(app, server_tls=server_context()) as tls,
    ):
        http, https = f"http://127.0.0.1:{plain.address.port}/a", f"https://127.0.0.1:{tls.address.port}/a"
        for arguments, version in (
            (("--http1.1", http), "1.1"),
            (("--http1.0", http), "1.1"),
            (("--http2-prior-knowledge", http), "2"),
            (("-k", "--http1.1", https), "1.1"),
            (("-k", "--http2", https), "2"),
        ):
            status, spoken, shown = await curl(*arguments)
            assert (status, spoken) == (200, version), arguments
            assert json.loads(shown)["path"] == "/a"
            status, _, shown = await curl(
                "--data-binary", f"@{body}", "-H", "Expect: 100-continue", *arguments
            )
            assert status == 200, arguments
            assert json.loads(shown)["body"] == body.read_text(), arguments


@asynchronous
async def test_curl_uploads_in_chunks_and_asks_for_many_at_once() -> None:
    async with show_app() as app, listening(app, server_tls=server_context()) as tls:
        url = f"https://127.0.0.1:{tls.address.port}"
        chunked = ("-H", "Transfer-Encoding: chunked", "-d", "abc")
        assert json.loads((await curl("-k", "--http1.1", *chunked, url))[2])["body"] == "abc"
        status, _, body = await curl("-k", "--http2", "-Z", f"{url}/[1-50]")
        assert body.count('"path"') == 50
        assert tls.counters["responses.2xx"] == 51
        assert tls.counters["connections"] <= 6, "the fifty share a connection"
        assert status == 200


@asynchronous
async def test_envoy_in_front_speaks_http_2_to_us(tmp_path: Path) -> None:
    root, _ = certificate_files(tmp_path)
    async with show_app() as app, listening(app, server_tls=server_context(), trust_forwarded=True) as ours:
        route = {"route": {"cluster": "to", "timeout": "10s"}}
        async with envoy(
            tmp_path,
            http_filter("AUTO", route),
            http_cluster(("127.0.0.1", ours.address.port), root=root, http2=True),
        ) as front:
            status, _, body = await curl("-d", "hello", f"http://127.0.0.1:{front.port}/x?y=1")
            shown = json.loads(body)
            headers = dict(shown["headers"])
            assert (status, shown["path"], shown["body"]) == (200, "/x?y=1", "hello")
            assert headers["x-envoy-expected-rq-timeout-ms"] == "10000"
            assert len(headers["x-request-id"]) == 36


@asynchronous
async def test_envoy_behind_us_speaks_http_2_and_counts_one_connection(tmp_path: Path) -> None:
    answer = {"direct_response": {"status": 200, "body": {"inline_string": "from Envoy"}}}
    async with (
        envoy(tmp_path, http_filter("HTTP2", answer)) as behind,
        listening(behind, upstream_http2=True) as ours,
    ):
        for path in ("a", "b"):
            assert await curl(f"http://127.0.0.1:{ours.address.port}/{path}") == (200, "1.1", "from Envoy")
        assert len(ours._relay.pool) == 1


@asynchronous
async def test_envoys_sidecar_reaches_an_application_of_http_behind_ours(tmp_path: Path) -> None:
    ca, decisions = Ca(), Decisions()
    api, _ = make_sidecar(ca, "api", decisions, Instances())
    async with show_app() as app:
        await api.start(ProxyConfig("api", PublicListener(local(0), app, protocol="http")))
        try:
            port, files = free_port(), write(ca.leaf("web"), tmp_path, "web")
            to = ("127.0.0.1", api.address().port)
            async with running(client_sidecar(tmp_path, port, to, files, spiffe("api")), port):
                status, _, body = await curl(f"http://127.0.0.1:{port}/a")
                assert status == 200
                assert f"URI={spiffe('web')}" in body
                decisions.denied.add("web")
                await api.recheck()
                assert await curl(f"http://127.0.0.1:{port}/a") == (403, "1.1", "RBAC: access denied")
        finally:
            await api.stop(drain_timeout=0)


@asynchronous
async def test_grpc_passes_with_its_trailers_and_streams() -> None:
    server, port = Server([Health()]), free_port()
    await server.start("127.0.0.1", port)
    try:
        async with (
            listening(local(port), upstream_http2=True) as ours,
            Channel("127.0.0.1", ours.address.port) as channel,
        ):
            stub = HealthStub(channel)
            found = await stub.Check(HealthCheckRequest(service=""))
            assert found.status == HealthCheckResponse.SERVING
            async with stub.Watch.open() as stream:
                await stream.send_message(HealthCheckRequest(service=""))
                first = await stream.recv_message()
                assert first is not None
                assert first.status == HealthCheckResponse.SERVING
                await stream.cancel()
            found = await stub.Check(HealthCheckRequest(service=""))
            assert found.status == HealthCheckResponse.SERVING
    finally:
        server.close()
        await server.wait_closed()
