"""Managed proxies of real agents: a document's commands, with socat, and what outlives a restart of the agent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.mesh_agent import MeshAgent, loopback, wait
from tests.support.programs import needs
from tests.support.proxy_command import application, talk
from tests.support.wire import free_port

pytestmark = needs("socat")
TIMEOUT = 60.0


class Node(MeshAgent):
    """An agent with a directory of definitions beside its own configuration, as the documents have it."""

    def __init__(self, name: str, host: str, directory: Path, **config: Any) -> None:
        self.definitions = directory / f"{name}.d"
        self.definitions.mkdir()
        super().__init__(name, host, directory, config, arguments=("-config-dir", str(self.definitions)))

    def define(self, name: str, service: dict[str, Any] | None) -> None:
        """Write, or remove, the definition of a service and reload."""
        path = self.definitions / f"{name}.json"
        if service is None:
            path.unlink()
        else:
            path.write_text(json.dumps({"service": {"name": name, **service}}))
        done = self.cli("reload")
        assert done.returncode == 0, done.stderr

    @property
    def snapshot(self) -> dict[str, Any]:
        path = self.data_dir / "proxy" / "snapshot.json"
        found: dict[str, Any] = json.loads(path.read_text())["Proxies"] if path.exists() else {}
        return found

    def proxy(self, proxy_id: str, other_than: int = 0) -> int:
        """The process of a proxy, once it runs and is not ``other_than``."""

        def find() -> int:
            pid = int(self.snapshot.get(proxy_id, {}).get("Config", {}).get("Pid", 0))
            return pid if pid != other_than and psutil.pid_exists(pid) else 0

        return int(wait(find, f"{proxy_id} runs", TIMEOUT))

    def end(self) -> None:
        """The agent, and the proxies that it would leave behind."""
        self.kill()
        for row in self.snapshot.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(row["Config"]["Pid"], signal.SIGKILL)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    network, made = loopback(), []

    def start(name: str, number: int, **config: Any) -> Node:
        connect = {"enabled": True, "proxy": {"allow_managed_root": True}}
        made.append(Node(name, f"{network}.{number}", tmp_path, **({"connect": connect} | config)))
        made[-1].start()
        return made[-1]

    try:
        yield start
    finally:
        for one in made:
            one.end()


def echoes(port: int) -> None:
    wait(lambda: talk(port, "hello\n") == "hello\n", f"hello comes back from {port}", TIMEOUT)


def test_the_document_s_services_reach_each_other_until_that_is_denied(
    node: Callable[..., Node], tmp_path: Path
) -> None:
    server = node("server1", 1, server=True, bootstrap=True)
    client = node("client1", 2, retry_join=[server.host])
    port, upstream = free_port(), free_port()
    with application(port, tmp_path):
        server.define("socat", {"port": port, "connect": {"proxy": {}}})
        client.define("web", {"port": free_port(), "connect": {"proxy": {"config": {"upstreams": [
            {"destination_name": "socat", "local_bind_port": upstream}]}}}})  # fmt: skip
        echoes(upstream)
        command = psutil.Process(server.proxy("socat-proxy")).cmdline()
        assert command[-2:] == ["connect", "proxy"]
        assert not any(server.snapshot["socat-proxy"]["Config"]["ProxyToken"] in word for word in command)
        log = server.data_dir / "proxy" / "logs" / "socat-proxy-stdout.log"
        assert "Proxy loaded config and ready to serve" in log.read_text()
        assert (
            client.cli("intention", "create", "-deny", "web", "socat").stdout
            == "Created: web => socat (deny)\n"
        )
        wait(lambda: talk(upstream, "hello\n") == "", "nothing comes back", TIMEOUT)
        assert client.cli("intention", "delete", "web", "socat").stdout == "Intention deleted.\n"
        echoes(upstream)

        def reported() -> bool:
            connections = server.get("/v1/agent/connect/connections?service=socat")
            return [row["ProxyID"] for row in connections["Proxies"]] == ["socat-proxy"]

        wait(reported, "the proxy has reported", TIMEOUT)
        served = [row["Served"] for row in server.get("/v1/agent/certs") if row["Name"] == "socat"]
        assert [list(listeners) for listeners in served] == [["socat-proxy/public"]]
        pid = server.proxy("socat-proxy")
        server.define("socat", None)
        wait(lambda: not psutil.pid_exists(pid), "the proxy has ended with its service", TIMEOUT)
        assert "socat-proxy" not in server.get("/v1/agent/services")


def test_connections_through_managed_proxies_live_on_while_the_agent_is_restarted(
    node: Callable[..., Node], tmp_path: Path
) -> None:
    server = node("server1", 1, server=True, bootstrap=True)
    port, upstream = free_port(), free_port()
    upstreams = {"upstreams": [{"destination_name": "socat", "local_bind_port": upstream}]}
    with application(port, tmp_path):
        server.define("socat", {"port": port, "connect": {"proxy": {}}})
        server.define("web", {"port": free_port(), "connect": {"proxy": {"config": upstreams}}})
        echoes(upstream)
        pids = {proxy_id: server.proxy(proxy_id) for proxy_id in ("socat-proxy", "web-proxy")}
        with socket.create_connection(("127.0.0.1", upstream), timeout=TIMEOUT) as connection:
            assert asked(connection, b"before") == b"before"
            server.signal(signal.SIGTERM)
            server.wait_exit()
            assert asked(connection, b"meanwhile") == b"meanwhile"
            server.start()
            server.wait_for_log('managed proxy "socat-proxy" runs already')
            server.wait_for_log('managed proxy "web-proxy" runs already')
            assert asked(connection, b"after") == b"after"
        assert {proxy_id: server.proxy(proxy_id) for proxy_id in pids} == pids
        os.killpg(pids["socat-proxy"], signal.SIGKILL)
        assert server.proxy("socat-proxy", other_than=pids["socat-proxy"])
        assert server.proxy("web-proxy") == pids["web-proxy"]
        echoes(upstream)


def asked(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    return connection.recv(1024)


def test_a_root_agent_is_told_which_key_lets_it_run_proxies(node: Callable[..., Node]) -> None:
    server = node("server1", 1, server=True, bootstrap=True, connect={"enabled": True})
    server.define("socat", {"port": free_port(), "connect": {"proxy": {}}})
    if os.geteuid() == 0:
        server.wait_for_log("set connect.proxy.allow_managed_root to true, or run the agent as another user")
        assert server.snapshot == {}
    else:
        assert server.proxy("socat-proxy")
    assert "socat-proxy" in server.get("/v1/agent/services")
