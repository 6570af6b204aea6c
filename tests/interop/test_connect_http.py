"""Intentions about requests on a real agent, enforced by ``connect proxy`` in front of an application of HTTP."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from meshnode.testing import Mesh, MeshAgent
from tests.support.mesh_agent import CLEAN, wait
from tests.support.programs import needs
from tests.support.proxy_command import ProxyCommand, consul
from tests.support.wire import free_port

pytestmark = needs("curl")

ALLOW_V1 = [{"Action": "allow", "HTTP": {"PathPrefix": "/v1/", "Methods": ["GET"]}}]
ALLOW_ALL = [{"Action": "allow", "HTTP": {"PathPrefix": "/"}}]


PUBLIC = free_port()


class Shows(BaseHTTPRequestHandler):
    """Answers with the path and the headers that it got."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "headers": dict(self.headers.items())}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture(scope="module")
def agent() -> Iterator[MeshAgent]:
    with Mesh(
        servers=1, clients=0, config={"connect": {"enabled": True}, "default_intention_policy": "deny"}
    ) as made:
        made["server1"].wait_for("/v1/connect/ca/roots")
        yield made["server1"]


@pytest.fixture(scope="module")
def application() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shows)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def intend(agent: MeshAgent, permissions: list[dict[str, Any]]) -> None:
    body = {"SourceName": "web", "DestinationName": "api", "Permissions": permissions}
    for row in agent.api("/v1/connect/intentions"):
        agent.api(f"/v1/connect/intentions/{row['ID']}", method="DELETE")
    agent.api("/v1/connect/intentions", method="POST", body=body)


def service(port: int, **sidecar: Any) -> dict[str, Any]:
    """api and its sidecar, on a port that nobody else on this machine has."""
    return {"Name": "api", "Port": port, "Connect": {"SidecarService": {"Port": PUBLIC, **sidecar}}}


@pytest.fixture(scope="module")
def proxies(
    agent: MeshAgent, application: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, ProxyCommand, ProxyCommand]]:
    """Where web reaches api; the proxy of api, which speaks HTTP by service-defaults, and that of web."""
    directory, port = tmp_path_factory.mktemp("http"), free_port()
    agent.api(
        "/v1/config", method="PUT", body={"Kind": "service-defaults", "Name": "api", "Protocol": "http"}
    )
    agent.api("/v1/agent/service/register", method="PUT", body=service(application))
    intend(agent, ALLOW_V1)
    with ExitStack() as stack:
        api = ProxyCommand(directory / "api.log", agent.http, "-sidecar-for", "api", "-log-level", "debug")
        stack.callback(api.kill)
        api.wait_for("public listener starting on")
        web = ProxyCommand(directory / "web.log", agent.http, "-service", "web", "-upstream", f"api:{port}")
        stack.callback(web.kill)
        web.wait_ready()
        wait(lambda: curl(f"http://127.0.0.1:{port}/v1/a")[0] == 200, "web reaches api")
        yield port, api, web


def curl(*arguments: str) -> tuple[int, str]:
    """Status and body; 0 when there was no answer."""
    done = subprocess.run(
        ["curl", "-s", "-m", "10", "--path-as-is", "-w", "\n%{http_code}", *arguments],
        capture_output=True, text=True, check=False, env=CLEAN,
    )  # fmt: skip
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_a_request_is_let_through_by_its_path_and_method_and_the_log_names_the_rule(
    agent: MeshAgent, proxies: tuple[int, ProxyCommand, ProxyCommand]
) -> None:
    port, api, _ = proxies
    status, body = curl(f"http://127.0.0.1:{port}/v1/x/..//a")
    assert (status, json.loads(body)["path"]) == (200, "/v1/a")
    assert (
        "URI=spiffe://"
        in {k.lower(): v for k, v in json.loads(body)["headers"].items()}["x-forwarded-client-cert"]
    )
    assert curl(f"http://127.0.0.1:{port}/admin") == (403, "RBAC: access denied")
    assert curl("-d", "x", f"http://127.0.0.1:{port}/v1/a")[0] == 403
    assert curl(f"http://127.0.0.1:{port}/v1/../admin")[0] == 403
    assert curl(f"http://127.0.0.1:{port}/v1/..%2fadmin")[0] == 400
    (row,) = agent.api("/v1/connect/intentions")
    line = api.wait_for("GET 127.0.0.1")
    assert "-> 200" in line
    assert f"rule {row['ID']}" in api.wait_for("/admin HTTP/1.1 -> 403")


def test_a_changed_permission_holds_for_the_next_request_of_the_same_connection(
    agent: MeshAgent, proxies: tuple[int, ProxyCommand, ProxyCommand]
) -> None:
    port, _, _ = proxies
    try:
        intend(agent, ALLOW_ALL)
        wait(lambda: curl(f"http://127.0.0.1:{port}/admin")[0] == 200, "the new permission holds")
    finally:
        intend(agent, ALLOW_V1)
    wait(lambda: curl(f"http://127.0.0.1:{port}/admin")[0] == 403, "the old permission holds again")


def test_what_was_denied_is_shown_with_its_rule(
    agent: MeshAgent, proxies: tuple[int, ProxyCommand, ProxyCommand]
) -> None:
    port, _, _ = proxies
    assert curl(f"http://127.0.0.1:{port}/denied")[0] == 403
    (row,) = agent.api("/v1/connect/intentions")

    def shown() -> list[Any]:
        found = agent.api("/v1/agent/connect/connections")["Refused"]
        return [entry for entry in found if entry["Rule"] == row["ID"] and "/denied" in entry["Because"]]

    (entry,) = wait(shown, "the report has arrived")[-1:]
    assert (entry["Kind"], entry["Request"]) == ("denied", "GET /denied")


def test_a_refused_request_can_be_looked_up_on_either_side(
    agent: MeshAgent, proxies: tuple[int, ProxyCommand, ProxyCommand]
) -> None:
    port, api, _ = proxies

    def explain(number: int) -> str:
        return consul(agent.http, "intention", "explain", "-connection", str(number))

    def rows(kind: str, direction: str) -> list[Any]:
        found = agent.api("/v1/agent/connect/connections")[kind]
        return [row for row in found if row["Direction"] == direction]

    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(b"GET /looked-up?token=secret HTTP/1.1\r\nHost: api\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 403 ")

        def reported() -> list[Any]:
            found = agent.api("/v1/agent/connect/connections")["Refused"]
            return [row for row in found if row["Request"] == "GET /looked-up"]

        (row,) = wait(reported, "the refusal is reported")
        (rule,) = agent.api("/v1/connect/intentions")
        number, connection = row["ID"], row["Connection"]
        # Where it was refused: by the number in the log, and by that of the connection.
        assert api.wait_for(
            f"public #{number} from {row['Peer']}, GET /looked-up on #{connection}, refused: "
        )
        assert f"refused as #{number}, rule {rule['ID']}" in api.wait_for("/looked-up HTTP/1.1 -> 403")
        for asked in (number, connection):
            assert f"GET /looked-up, on connection {connection}" in explain(asked)
            assert rule["ID"] in explain(asked)
        # Where it came from: both sides know one address, and what intentions say.
        (there,) = [one for one in rows("Connections", "inbound") if one["ID"] == connection]
        out = wait(
            lambda: [one for one in rows("Connections", "outbound") if one["Local"] == there["Peer"]],
            "the connection is reported by its other end",
        )
        assert row["Peer"] == there["Peer"]
        told = consul(agent.http, "intention", "explain", "web", "api", "-path", "/looked-up")
        assert f"Identities: {row['Source']} => {there['Destination']}\n" in told
        assert re.search(r"api-sidecar-proxy remembers, \S+ old: each request by its permissions, ", told)
        told = explain(out[0]["ID"])
        assert f"Known there as:       {row['Peer']}\n" in told
        assert rule["ID"] in told.partition("The other side decides.")[2]
        assert "secret" not in api.output


def test_as_tcp_the_same_intention_denies_the_connection(
    agent: MeshAgent, application: int, proxies: tuple[int, ProxyCommand, ProxyCommand]
) -> None:
    port, _, _ = proxies
    as_tcp = {"Proxy": {"Config": {"protocol": "tcp"}}}
    try:
        agent.api("/v1/agent/service/register", method="PUT", body=service(application, **as_tcp))
        wait(lambda: curl(f"http://127.0.0.1:{port}/v1/a")[0] == 0, "the connection is refused")

        def both_sides() -> list[Any]:
            found = agent.api("/v1/agent/connect/connections")
            peers = {row["Peer"]: row for row in found["Refused"] if not row["Request"]}
            return [(peers[row["Local"]], row) for row in found["Closed"] if row["Local"] in peers]

        refused, ended = wait(both_sides, "both sides report it")[-1]
        assert (refused["Kind"], refused["Connection"]) == ("denied", 0)
        flags = ("-connection", str(ended["ID"]), "-proxy", ended["ProxyID"])
        told = consul(agent.http, "intention", "explain", *flags)
        assert f"Known there as:       {refused['Peer']}\n" in told
        assert refused["Rule"] in told.partition("The other side decides.")[2]
    finally:
        agent.api("/v1/agent/service/register", method="PUT", body=service(application))
    wait(lambda: curl(f"http://127.0.0.1:{port}/v1/a")[0] == 200, "requests are looked at again")
