"""``consul connect proxy`` on real agents, with socat on both ends: the documents' commands and what they show."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from meshnode.testing import Mesh, MeshAgent
from tests.support.mesh_agent import wait
from tests.support.programs import needs
from tests.support.proxy_command import ProxyCommand, application, consul, said, talk, with_sidecar
from tests.support.wire import free_port

pytestmark = needs("socat")

UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
Start = Callable[..., ProxyCommand]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with Mesh(servers=1, clients=2, config={"connect": {"enabled": True}}) as made:
        made["server1"].wait_for("/v1/connect/ca/roots")
        yield made


@contextmanager
def starter(directory: Path) -> Iterator[Start]:
    """Starts proxies, which are ended at the end."""
    with ExitStack() as stack:

        def begin(agent: MeshAgent, *arguments: str, **environment: str) -> ProxyCommand:
            file = directory / f"proxy-{len(list(directory.glob('proxy-*')))}.log"
            proxy = ProxyCommand(file, agent.http, *arguments, **environment)
            stack.callback(proxy.kill)
            return proxy

        yield begin


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starter(tmp_path) as begin:
        yield begin


@pytest.fixture(scope="module")
def socat(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyCommand]:
    """The document's service socat on the server, its echo server and its sidecar."""
    server, port, directory = mesh["server1"], free_port(), tmp_path_factory.mktemp("socat")
    with (
        configured(server, with_sidecar("socat", port)),
        application(port, directory),
        starter(directory) as begin,
    ):
        proxy = begin(server, "-sidecar-for", "socat")
        proxy.wait_for("public listener starting on")
        yield proxy


@contextmanager
def configured(agent: MeshAgent, service: dict[str, Any]) -> Iterator[None]:
    """A service in the configuration, as the documents have it: a file, then ``consul reload``."""
    before = agent.config_file.read_text()

    def load(text: str) -> None:
        agent.config_file.write_text(text)
        assert consul(agent.http, "reload") == "Configuration reload triggered\n"

    known = json.loads(before)
    load(json.dumps({**known, "services": [*known.get("services", []), service]}))
    agent.wait_for("/v1/agent/services", until=lambda found: service["name"] in found)
    try:
        yield
    finally:
        load(before)
        agent.wait_for("/v1/agent/services", until=lambda found: service["name"] not in found)


def register(agent: MeshAgent, service: str, port: int, **proxy: Any) -> None:
    """A proxy of ``service`` by the API."""
    body = {"Kind": "connect-proxy", "ID": f"{service}-sidecar-proxy", "Name": f"{service}-sidecar-proxy"}
    ours = {"DestinationServiceName": service, "DestinationServiceID": service}
    whole = {**body, "ID": proxy.pop("ID", body["ID"]), "Port": port, "Proxy": {**ours, **proxy}}
    agent.api("/v1/agent/service/register", method="PUT", body=whole)


def deregister(agent: MeshAgent, *ids: str) -> None:
    for one in ids:
        agent.api(f"/v1/agent/service/deregister/{one}", method="PUT")


def connects(port: int) -> None:
    """The upstream is known to this node, and lets us through."""
    wait(lambda: talk(port, "hello\n") == "hello\n", "hello comes back")


def test_a_proxy_of_flags_says_what_the_document_says(mesh: Mesh, start: Start, socat: ProxyCommand) -> None:
    port = free_port()
    proxy = start(mesh["client1"], "-service", "web", "-upstream", f"socat:{port}")
    proxy.wait_ready()
    assert proxy.banner == [
        "==> Consul Connect proxy starting...",
        "    Configuration mode: Flags",
        "               Service: web",
        f"              Upstream: socat => :{port}",
        "       Public listener: Disabled",
        "",
    ]
    assert proxy.log[:2] == [
        f"[INFO] 127.0.0.1:{port}->service:default/socat starting on 127.0.0.1:{port}",
        "[INFO] Proxy loaded config and ready to serve",
    ]
    assert re.fullmatch(
        rf"\[INFO\] TLS Identity: spiffe://{UUID}\.consul/ns/default/dc/dc1/svc/web", proxy.log[2]
    )
    assert re.fullmatch(r"\[INFO\] TLS Roots   : \[Consul CA \d+\]", proxy.log[3])
    connects(port)
    assert proxy.stop(signal.SIGINT) == 0
    assert proxy.output.endswith("==> Consul Connect proxy shutdown\n")


def test_a_sidecar_of_a_service_says_what_the_document_says(
    mesh: Mesh, start: Start, socat: ProxyCommand
) -> None:
    assert socat.banner == [
        "==> Consul Connect proxy starting...",
        "    Configuration mode: Agent API",
        "        Sidecar for ID: socat",
        "              Proxy ID: socat-sidecar-proxy",
        "",
    ]
    server, port = mesh["server1"], free_port()
    web = with_sidecar("web", 8080, upstreams=[{"destination_name": "socat", "local_bind_port": port}])
    with configured(server, web):
        proxy = start(server, "-sidecar-for", "web")
        proxy.wait_for("public listener starting on")
        assert proxy.banner[2:4] == [
            "        Sidecar for ID: web",
            "              Proxy ID: web-sidecar-proxy",
        ]
        assert proxy.log[:2] == [
            f"[INFO] 127.0.0.1:{port}->service:default/socat starting on 127.0.0.1:{port}",
            "[INFO] Proxy loaded config and ready to serve",
        ]
        assert proxy.log[2].startswith("[INFO] TLS Identity: spiffe://")
        assert proxy.log[3].startswith("[INFO] TLS Roots   : [Consul CA ")
        connects(port)
        wait(lambda: healthy(server, "web", "socat"), "the checks of both sidecars pass")
        proxy.kill()


def healthy(agent: MeshAgent, *services: str) -> bool:
    """The checks that a sidecar is registered with are of what really listens there."""
    paths = [f"/v1/agent/health/service/id/{service}-sidecar-proxy" for service in services]
    return all(agent.request(path).status == 200 for path in paths)


def test_a_proxy_is_configured_by_the_route_of_managed_proxies_too(
    mesh: Mesh, start: Start, socat: ProxyCommand
) -> None:
    """The variables that an agent gives to a proxy that it starts."""
    client, port = mesh["client1"], free_port()
    register(client, "web", free_port(), Upstreams=[{"DestinationName": "socat", "LocalBindPort": port}])
    proxy = start(client, CONSUL_PROXY_ID="web-sidecar-proxy")
    proxy.wait_ready()
    assert proxy.banner[1:3] == [
        "    Configuration mode: Agent API",
        "              Proxy ID: web-sidecar-proxy",
    ]
    connects(port)
    deregister(client, "web-sidecar-proxy")


def test_a_denied_service_gets_nothing_while_another_one_connects(
    mesh: Mesh, start: Start, socat: ProxyCommand
) -> None:
    server, web_port, other_port = mesh["server1"], free_port(), free_port()
    web = start(mesh["client1"], "-service", "web", "-upstream", f"socat:{web_port}")
    other = start(mesh["client2"], "-service", "kiririmode", "-upstream", f"socat:{other_port}")
    for proxy, port in ((web, web_port), (other, other_port)):
        proxy.wait_ready()
        connects(port)

    assert (
        consul(server.http, "intention", "create", "-deny", "web", "socat")
        == "Created: web => socat (deny)\n"
    )
    wait(lambda: talk(web_port, "hello\n") == "", "web gets nothing")
    assert talk(other_port, "hello world\n") == "hello world\n"
    line = socat.wait_for("refused")
    assert re.search(
        r"public #\d+ from 127\.0\.0\.1:\d+ refused: spiffe://.*/svc/web: .*DENY.*web => .*socat", line
    )

    assert consul(server.http, "intention", "delete", "web", "socat") == "Intention deleted.\n"
    connects(web_port)


def test_a_new_deny_cuts_the_open_connection_and_no_other(
    mesh: Mesh, start: Start, socat: ProxyCommand
) -> None:
    ports = {"web": free_port(), "kiririmode": free_port()}
    for number, (service, port) in enumerate(ports.items(), 1):
        start(mesh[f"client{number}"], "-service", service, "-upstream", f"socat:{port}").wait_ready()
        connects(port)
    with (
        socket.create_connection(("127.0.0.1", ports["web"]), 10) as web,
        socket.create_connection(("127.0.0.1", ports["kiririmode"]), 10) as other,
    ):
        for one in (web, other):
            one.settimeout(20)
            one.sendall(b"open")
            assert one.recv(100) == b"open"
        consul(mesh["server1"].http, "intention", "create", "-deny", "web", "socat")
        try:
            with pytest.raises(ConnectionResetError):
                web.recv(100)
            other.sendall(b"still")
            assert other.recv(100) == b"still"
            assert "is cut: Matched intention: DENY" in socat.wait_for("is cut")
        finally:
            consul(mesh["server1"].http, "intention", "delete", "web", "socat")


def test_the_agent_knows_what_its_proxies_have_open_have_ended_and_have_refused(
    mesh: Mesh, start: Start, socat: ProxyCommand
) -> None:
    server, port = mesh["server1"], free_port()
    web = start(mesh["client1"], "-service", "web", "-upstream", f"socat:{port}")
    web.wait_ready()
    connects(port)

    def rows(kind: str, agent: MeshAgent = server) -> list[dict[str, Any]]:
        found = agent.api("/v1/agent/connect/connections", query={"service": "socat"})
        return [row for row in found[kind] if row["Source"].endswith("/svc/web")]

    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.settimeout(20)
        connection.sendall(b"twelve bytes")
        assert connection.recv(100) == b"twelve bytes"
        (row,) = wait(lambda: [one for one in rows("Connections") if one["BytesIn"] == 12], "it is reported")
        assert (row["ProxyID"], row["Direction"], row["BytesOut"]) == ("socat-sidecar-proxy", "inbound", 12)
        lines = consul(server.http, "connect", "connections", "-service", "socat").splitlines()
        assert lines[0].split()[:5] == ["ID", "Proxy", "Direction", "Source", "Destination"]
        assert [str(row["ID"]), "socat-sidecar-proxy", "inbound", "web", "socat"] in [
            line.split()[:5] for line in lines
        ]
        explained = consul(server.http, "intention", "explain", "-connection", str(row["ID"]))
        assert f"Allowed because:      {row['Because']}" in explained
    wait(lambda: any(one["ID"] == row["ID"] for one in rows("Closed")), "its end is reported")
    assert "both sides ended" in consul(server.http, "connect", "connections", "-closed")

    consul(server.http, "intention", "create", "-deny", "web", "socat")
    try:
        wait(lambda: talk(port, "hello") == "", "it is denied")
        refused = wait(lambda: rows("Refused"), "the refusal is reported")[-1]
        explained = consul(server.http, "intention", "explain", "-connection", str(refused["ID"]))
        assert "DENY" in explained.partition("Refused because:")[2]
        assert socat.wait_for(f"public #{refused['ID']} from {refused['Peer']} refused: spiffe://")
    finally:
        consul(server.http, "intention", "delete", "web", "socat")
    # A proxy of flags reports to its own agent, under an id of its own.
    mesh["client1"].wait_for(
        "/v1/agent/connect/connections",
        until=lambda found: [one["ProxyID"] for one in found["Proxies"]] == [f"web-{web.process.pid}"],
    )


def test_a_proxy_waits_for_an_agent_that_is_away(mesh: Mesh, start: Start, tmp_path: Path) -> None:
    proxy = start(
        mesh["client1"],
        "-service",
        "web",
        "-upstream",
        "socat:9191",
        "-http-addr",
        f"127.0.0.1:{free_port()}",
    )
    assert "Connection refused" in proxy.wait_for(
        "[WARN] waiting for the certificate of web: can't reach the agent"
    )
    assert proxy.stop() == 0


@pytest.mark.parametrize(("others", "text"), [
    ((), "==> Error preparing configuration: No sidecar proxy registered for lonely"),
    (("a", "b"), "==> Error preparing configuration: More than one sidecar proxy registered for lonely."),
])  # fmt: skip
def test_no_proxy_or_several_are_told_as_consul_tells_it(
    mesh: Mesh, start: Start, others: tuple[str, ...], text: str
) -> None:
    client = mesh["client1"]
    for name in others:
        register(client, "lonely", free_port(), ID=name)
    proxy = start(client, "-sidecar-for", "lonely")
    assert proxy.process.wait(20) == 1
    assert text in proxy.output
    if others:
        assert "    Start proxy with -proxy-id and one of the following IDs: a, b" in proxy.output
    deregister(client, *others)


def test_a_registered_proxy_is_dialled_and_gone_at_the_end(mesh: Mesh, start: Start, tmp_path: Path) -> None:
    server, app, public, port = mesh["server1"], free_port(), free_port(), free_port()
    arguments = (
        "-service",
        "echo",
        "-listen",
        f"{server.host}:{public}",
        "-service-addr",
        f"127.0.0.1:{app}",
    )
    with application(app, tmp_path):
        proxy = start(server, *arguments, "-register", "-register-id", "one")
        proxy.wait_for("registered as echo-proxy-one")
        assert f"       Public listener: {server.host}:{public} => 127.0.0.1:{app}" in proxy.banner
        found = server.api("/v1/agent/services")["echo-proxy-one"]
        assert (found["Kind"], found["Service"], found["Port"]) == ("connect-proxy", "echo-proxy", public)
        start(mesh["client1"], "-service", "web", "-upstream", f"echo:{port}").wait_ready()
        connects(port)
        assert proxy.stop() == 0
    assert "echo-proxy-one" not in server.api("/v1/agent/services")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_changed_registration_moves_listeners_and_leaves_connections_alone(
    mesh: Mesh, start: Start, socat: ProxyCommand, workers: str
) -> None:
    client, old, new = mesh["client1"], free_port(), free_port()

    def lead(port: int) -> None:
        register(client, "web", 21099, Upstreams=[{"DestinationName": "socat", "LocalBindPort": port}])

    lead(old)
    proxy = start(client, "-proxy-id", "web-sidecar-proxy", "-workers", workers)
    proxy.wait_ready()
    connects(old)
    with socket.create_connection(("127.0.0.1", old), 10) as connection:
        connection.settimeout(20)
        connection.sendall(b"before")
        assert connection.recv(100) == b"before"
        lead(new)
        wait(
            lambda: said(proxy, rf"\[INFO\] 127.0.0.1:{new}->service:default/socat starting on .*"),
            "it moved",
        )
        connects(new)
        wait(lambda: talk(old, "hello") == "", "nobody listens on the old port")
        connection.sendall(b"after")
        assert connection.recv(100) == b"after"
    assert proxy.stop() == 0
    deregister(client, "web-sidecar-proxy")


def test_a_proxy_goes_on_while_its_agent_is_away_and_follows_it_again(
    mesh: Mesh, start: Start, socat: ProxyCommand
) -> None:
    client, old, new = mesh["client2"], free_port(), free_port()

    def lead(port: int) -> None:
        register(client, "web", 21099, Upstreams=[{"DestinationName": "socat", "LocalBindPort": port}])

    lead(old)
    proxy = start(client, "-proxy-id", "web-sidecar-proxy")
    proxy.wait_ready()
    connects(old)
    client.kill()
    proxy.wait_for("is not followed for now")
    assert talk(old, "hello") == "hello"
    client.launch()
    client.wait_running()
    mesh.wait_healthy()
    lead(new)
    connects(new)
    deregister(client, "web-sidecar-proxy")


def test_workers_end_with_the_process_that_started_them(mesh: Mesh, start: Start) -> None:
    proxy = start(mesh["client1"], "-service", "web", "-upstream", f"socat:{free_port()}", "-workers", "2")
    proxy.wait_ready()
    workers = psutil.Process(proxy.process.pid).children(recursive=True)
    assert len(workers) >= 2
    proxy.kill()
    _, alive = psutil.wait_procs(workers, 20)
    assert alive == []
