"""``sidecar_service`` on real agents: the second document's files and commands, with socat on both ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.mesh_agent import MeshAgent, loopback, wait
from tests.support.programs import needs
from tests.support.proxy_command import ProxyCommand, application, talk
from tests.support.wire import free_port

pytestmark = needs("socat")
TIMEOUT = 60.0
Start = Callable[..., ProxyCommand]


class Node(MeshAgent):
    def define(self, name: str, service: dict[str, Any] | None) -> None:
        """Write, or remove, the definition of a service and reload."""
        path = self.data_dir.parent / f"{self.name}.d" / f"{name}.json"
        if service is None:
            path.unlink()
        else:
            path.write_text(json.dumps({"service": {"name": name, **service}}))
        done = self.cli("reload")
        assert done.returncode == 0, done.stderr


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    network = loopback()
    made = []
    for number, name in enumerate(("server1", "client1"), 1):
        (tmp_path / f"{name}.d").mkdir()
        config = {"server": True, "bootstrap": True} if number == 1 else {"retry_join": [f"{network}.1"]}
        arguments = ("-config-dir", str(tmp_path / f"{name}.d"))
        connect = {"connect": {"enabled": True}}
        made.append(Node(name, f"{network}.{number}", tmp_path, connect | config, arguments=arguments))
    try:
        for one in made:
            one.start()
        yield made[0], made[1]
    finally:
        for one in made:
            one.kill()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts proxies, which are ended after the test."""
    with ExitStack() as stack:

        def begin(agent: Node, *arguments: str) -> ProxyCommand:
            file = tmp_path / f"proxy-{len(list(tmp_path.glob('proxy-*')))}.log"
            proxy = ProxyCommand(file, f"http://{agent.host}:8500", *arguments)
            stack.callback(proxy.kill)
            proxy.wait_for("public listener starting on")
            return proxy

        yield begin


def echoes(port: int) -> None:
    wait(lambda: talk(port, "hello\n") == "hello\n", f"hello comes back from {port}", TIMEOUT)


def upstream(port: int) -> dict[str, Any]:
    proxy = {"upstreams": [{"destination_name": "socat", "local_bind_port": port}]}
    return {"port": 8080, "connect": {"sidecar_service": {"proxy": proxy}}}


def test_the_document_s_sidecars_reach_each_other_and_follow_a_reload(
    nodes: tuple[Node, Node], start: Start, tmp_path: Path
) -> None:
    server, client = nodes
    port, first, second = free_port(), free_port(), free_port()
    with application(port, tmp_path):
        server.define("socat", {"port": port, "connect": {"sidecar_service": {}}})
        proxy = start(server, "-sidecar-for", "socat")
        assert proxy.banner[2:4] == [
            "        Sidecar for ID: socat",
            "              Proxy ID: socat-sidecar-proxy",
        ]
        client.define("web", upstream(first))
        following = start(client, "-sidecar-for", "web")
        echoes(first)
        client.define("web", upstream(second))
        echoes(second)
        assert talk(first, "hello\n") == ""
        assert following.process.poll() is None
        (instance,) = client.get("/v1/health/connect/socat?passing")
        assert (instance["Service"]["ID"], instance["Node"]["Node"]) == ("socat-sidecar-proxy", "server1")
        server.define("socat", None)
        wait(lambda: client.get("/v1/health/connect/socat") == [], "the sidecar is gone", TIMEOUT)


def test_a_sidecar_registered_by_the_command_line_keeps_its_port_over_a_restart(
    nodes: tuple[Node, Node], tmp_path: Path
) -> None:
    server, _ = nodes
    for name in ("a", "b"):
        path = tmp_path / f"{name}.hcl"
        path.write_text(
            f'service {{ name = "{name}"  port = 80  connect {{ sidecar_service {{ tags = ["s"] }} }} }}'
        )
        done = server.cli("services", "register", str(path))
        assert (done.returncode, done.stdout) == (0, f"Registered service: {name}\n"), done.stderr
    before = server.get("/v1/agent/service/b-sidecar-proxy")
    assert (before["Tags"], before["Proxy"]["LocalServicePort"]) == (["s"], 80)
    assert server.cli("services", "deregister", str(tmp_path / "a.hcl")).returncode == 0
    assert sorted(server.get("/v1/agent/services")) == ["b", "b-sidecar-proxy"]
    server.kill()
    server.start()
    after = server.get("/v1/agent/service/b-sidecar-proxy")
    assert after["Port"] == before["Port"] >= 21000
