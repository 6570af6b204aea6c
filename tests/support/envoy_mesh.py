"""Services with sidecars of either kind on one real agent: Envoy by ``connect envoy``, ours by ``connect proxy``."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.mesh_agent import CLEAN, MeshAgent, loopback, wait
from tests.support.proxy_command import CONSUL
from tests.support.wire import free_port

__all__ = ["EchoServer", "EnvoyMesh", "Side", "exchange", "opened"]


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


class EchoServer(socketserver.ThreadingTCPServer):
    """Sends back what comes; ends with the test."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, handler: type[socketserver.BaseRequestHandler] = _Echo) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def end(self) -> None:
        self.shutdown()
        self.server_close()


def opened(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), 5)
    made.settimeout(5)
    return made


def exchange(flow: socket.socket, data: bytes = b"hello") -> bytes:
    """What comes back; empty when the connection has ended."""
    try:
        flow.sendall(data)
        return flow.recv(65536)
    except (ConnectionError, TimeoutError):
        return b""


@dataclass
class Side:
    """A running sidecar; ``admin`` is Envoy's port for questions about itself."""

    proxy_id: str
    process: subprocess.Popen[bytes]
    log: Path
    admin: int = 0

    @property
    def admin_answers(self) -> bool:
        """Whether it is an Envoy."""
        return self.log.name.startswith("envoy")

    def serials(self) -> set[str]:
        """Serial numbers of the certificates that Envoy presents, without leading zeros of a byte."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/certs", timeout=10) as answer:
            rows = json.load(answer)["certificates"]
        return {str(one["serial_number"]) for row in rows for one in row.get("cert_chain", [])}

    def priorities(self, cluster: str) -> set[int]:
        """The priorities of the endpoints that Envoy has for a cluster whose name begins so."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.admin}/clusters?format=json", timeout=10
        ) as answer:
            rows = json.load(answer)["cluster_statuses"]
        found = [host for row in rows if row["name"].startswith(cluster) for host in row["host_statuses"]]
        return {int(host.get("priority", 0)) for host in found}

    def stats(self, *names: str) -> dict[str, int]:
        """Envoy's counters that end in one of ``names``."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/stats?format=json", timeout=10) as answer:
            rows = json.load(answer)["stats"]
        return {row["name"]: row["value"] for row in rows if row.get("name", "").endswith(names)}


@dataclass
class EnvoyMesh:
    """One agent, and what runs beside it."""

    agent: MeshAgent
    directory: Path
    sides: list[Side] = field(default_factory=list)
    ended: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @classmethod
    @contextlib.contextmanager
    def new(cls, directory: Path, **config: Any) -> Iterator[EnvoyMesh]:
        base = {"server": True, "bootstrap": True, "connect": {"enabled": True}, "ports": {"grpc": 8502}}
        agent = MeshAgent("one", f"{loopback()}.1", directory, base | config)
        mesh = cls(agent, directory)
        try:
            agent.start()
            yield mesh
        finally:
            for side in mesh.sides:
                side.process.kill()
                side.process.wait()
            agent.kill()
            mesh.ended.close()

    def application(self, handler: type[socketserver.BaseRequestHandler] = _Echo) -> EchoServer:
        """An application that ends with the mesh."""
        made = EchoServer(handler)
        self.ended.callback(made.end)
        return made

    def opened(self, port: int) -> socket.socket:
        """A connection that ends with the mesh, if it hasn't before."""
        return self.ended.enter_context(opened(port))

    def register(self, name: str, port: int, *upstreams: tuple[str, int], **config: Any) -> None:
        """A service with a sidecar; ``upstreams`` are names and ports to listen on."""
        found = [{"DestinationName": to, "LocalBindPort": at} for to, at in upstreams]
        sidecar = {"Port": free_port(), "Proxy": {"Upstreams": found, "Config": config}}
        body = {"Name": name, "Port": port, "Connect": {"SidecarService": sidecar}}
        status, text = self.agent.api("/v1/agent/service/register", "PUT", json.dumps(body).encode())
        assert status == 200, text

    def start(
        self, kind: str, service: str, *arguments: str, own: tuple[str, ...] = (), **environment: str
    ) -> Side:
        """A sidecar of ``service``: ``envoy`` or ``proxy``."""
        return self._run(
            kind, f"{service}-sidecar-proxy", ("-sidecar-for", service, *own), arguments, environment
        )

    def gateway(self, kind: str, name: str, address: str) -> Side:
        """An Envoy that registers itself as a gateway: ``ingress`` or ``terminating``."""
        own = (f"-gateway={kind}", "-register", "-service", name, "-address", address)
        return self._run("envoy", name, own, (), {})

    def _run(
        self,
        kind: str,
        proxy_id: str,
        own: tuple[str, ...],
        arguments: tuple[str, ...],
        environment: dict[str, str],
    ) -> Side:
        admin, number = free_port(), len(self.sides)
        own = (*own, "-admin-bind", f"127.0.0.1:{admin}") if kind == "envoy" else own
        more = ("--", "--log-level", "warning", *arguments) if kind == "envoy" else arguments
        log = self.directory / f"{kind}-{number}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [CONSUL, "connect", kind, *own, *more],
                stdout=file, stderr=file, stdin=subprocess.DEVNULL,
                env=CLEAN | {"CONSUL_HTTP_ADDR": f"http://{self.agent.host}:8500"} | environment,
            )  # fmt: skip
        side = Side(proxy_id, process, log, admin)
        self.sides.append(side)
        return side

    def side(self, service: str) -> Side:
        """The sidecar of ``service`` that was started last."""
        return next(one for one in reversed(self.sides) if one.proxy_id == f"{service}-sidecar-proxy")

    def reaches(self, port: int, what: str = "") -> None:
        """Wait until a new connection is answered."""

        def answered() -> bool:
            with contextlib.suppress(ConnectionError, TimeoutError), opened(port) as flow:
                return exchange(flow) == b"hello"
            return False

        try:
            wait(answered, what or f"an answer on {port}", 40.0)
        except AssertionError as error:
            logs = "\n".join(f"{side.log.name}: {side.log.read_text()[-1500:]}" for side in self.sides)
            raise AssertionError(f"{error}\n{logs}\n{self.agent.log[-3000:]}") from None

    def is_refused(self, port: int) -> None:
        """Wait until a new connection is not answered."""

        def refused() -> bool:
            with contextlib.suppress(ConnectionError, TimeoutError), opened(port) as flow:
                return exchange(flow) == b""
            return True

        wait(refused, f"no answer on {port}")

    def cli(self, *arguments: str) -> str:
        done = self.agent.cli(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def types(self, proxy_id: str) -> dict[str, dict[str, Any]]:
        """Type -> its row, of the Envoy of a proxy; empty while it isn't connected."""
        rows = json.loads(self.cli("connect", "proxies", "-proxy", proxy_id, "-format", "json"))
        return {each["Type"]: each for row in rows for each in row["Types"]}
