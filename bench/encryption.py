"""What encryption costs, layer by layer, each beside the same without it, in turns and with confidence intervals.

    python bench/encryption.py [--seconds 2] [--repetitions 5] [--connections 16] [--out artifacts/encryption]

Real agents, sidecars and Envoy (where it is installed) on loopback. The load is made by this process; the processor
time is that of the programs measured. The same is asked of a lab, over its network, by ``playbooks/overhead.yml``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

# In place of this directory, in which ``http.py`` would hide the library's ``http``.
sys.path[0] = str(Path(__file__).parents[1])

from meshnode.base.address import Address  # noqa: E402
from meshnode.cli.overhead import conditions, write_reports  # noqa: E402
from meshnode.gossip.memberlist.keyring import Keyring  # noqa: E402
from meshnode.gossip.memberlist.packet import add_crc, open_packet  # noqa: E402
from meshnode.prove.cost import schedule  # noqa: E402
from meshnode.prove.cost_report import Costs, markdown  # noqa: E402
from meshnode.runtime.load import Target, measure  # noqa: E402
from tests.support.envoy import envoy_binary  # noqa: E402
from tests.support.mesh_agent import CLEAN, Mesh, MeshAgent, wait  # noqa: E402
from tests.support.proxy_command import CONSUL  # noqa: E402
from tests.support.wire import free_port  # noqa: E402

CLEAR: Mapping[str, Any] = {
    **dict.fromkeys(("encrypt", "ca_file", "cert_file", "key_file"), None),
    **dict.fromkeys(("verify_incoming", "verify_outgoing", "verify_server_hostname", "ports"), None),
}
CONNECT: Mapping[str, Any] = {"connect": {"enabled": True}}
SMALL, LARGE = "/v1/kv/small?raw", "/v1/kv/large?raw"
#: Intentions of other services that a decision is made among.
INTENTIONS = 200
#: The size of a gossip message, and how many of them are sealed and opened in one go.
MESSAGE_BYTES, GO = 1024, 500

Sampler = Callable[[float, int], dict[str, float]]


@contextlib.contextmanager
def pair(directory: Path, **config: Any) -> Iterator[Mesh]:
    """A server and a client with two values in the store."""
    directory.mkdir()
    with Mesh.new(directory) as mesh:
        ports = {} if "ports" in config else {"ports": {"https": 10443, "grpc": 8502}}
        mesh.add(
            "server1", 1, server=True, bootstrap_expect=1, log_level="WARN", **CONNECT, **config, **ports
        )
        mesh.add("client1", 2, retry_join=[f"{mesh.network}.1"], log_level="WARN", **config)
        for agent in mesh.agents.values():
            agent.launch()
        mesh.wait_alive("server1", "client1")
        wait(lambda: mesh.leader("server1", "client1"), "there is a leader")
        for path, size in ((SMALL, 100), (LARGE, 256 * 1024)):
            key = path.partition("?")[0].removeprefix("/v1/kv/")
            (directory / key).write_bytes(b"x" * size)
            assert mesh["server1"].cli("kv", "put", key, f"@{directory / key}").returncode == 0
        yield mesh


class Sidecars:
    """Pairs of sidecars in front of the server's HTTP port."""

    def __init__(self, mesh: Mesh, directory: Path, stack: contextlib.ExitStack) -> None:
        self._agent = mesh["server1"]
        self._directory = directory
        self._stack = stack

    def pair(self, name: str, service: str, *, envoy: bool = False) -> Target:
        public, entry = free_port(), free_port()
        app = {
            "DestinationServiceName": service,
            "LocalServiceAddress": self._agent.host,
            "LocalServicePort": 8500,
        }
        self._register(f"{service}-proxy", public, app)
        upstream = {"DestinationName": service, "LocalBindPort": entry}
        self._register(
            f"web-{service}-proxy", free_port(), {"DestinationServiceName": "web", "Upstreams": [upstream]}
        )
        started = [
            self._start(f"{service}-proxy", envoy=envoy),
            self._start(f"web-{service}-proxy", envoy=envoy),
        ]
        wait(lambda: answers(entry), f"the sidecars of {service} let through", 60)
        return Target(
            name, Address("127.0.0.1", entry), SMALL, bulk=LARGE,
            wire=Address("127.0.0.1", public), processes=(*(one.pid for one in started), self._agent.pid),
        )  # fmt: skip

    def _register(self, name: str, port: int, proxy: dict[str, Any]) -> None:
        body = {
            "Kind": "connect-proxy",
            "ID": name,
            "Name": name,
            "Address": "127.0.0.1",
            "Port": port,
            "Proxy": proxy,
        }
        done = self._agent.api("/v1/agent/service/register", "PUT", json.dumps(body).encode())
        assert done[0] == 200, done

    def _start(self, name: str, *, envoy: bool) -> subprocess.Popen[bytes]:
        command = [CONSUL, "connect", "envoy" if envoy else "proxy", "-proxy-id", name]
        command += ["-admin-bind", f"127.0.0.1:{free_port()}"] if envoy else []
        address = {
            "CONSUL_HTTP_ADDR": f"{self._agent.host}:8500",
            "CONSUL_GRPC_ADDR": f"{self._agent.host}:8502",
        }
        with (self._directory / f"{name}.log").open("wb") as log:
            started = subprocess.Popen(command, stdout=log, stderr=log, env=CLEAN | os.environ | address)
        self._stack.callback(started.wait)
        self._stack.callback(started.kill)
        return started


def answers(port: int) -> bool:
    done = subprocess.run(
        ["curl", "-s", "-f", "-m", "2", "-o", "/dev/null", f"http://127.0.0.1:{port}{SMALL}"], check=False
    )
    return done.returncode == 0


def of_agents(clear: Mesh, sealed: Mesh) -> list[Target]:
    """HTTP beside HTTPS at one server, and server RPC beside the same in TLS behind a client."""
    server = sealed["server1"]
    context = ssl.create_default_context(cafile=sealed.ca)
    context.check_hostname = False
    context.load_cert_chain(*sealed.certificate("cli"))

    def behind(mesh: Mesh, name: str) -> Target:
        both = tuple(agent.pid for agent in mesh.agents.values())
        wire = Address(mesh["server1"].host, 8300)
        return Target(name, Address(mesh["client1"].host, 8500), SMALL, None, LARGE, wire, both)

    return [
        Target("HTTP", Address(server.host, 8500), SMALL, None, LARGE, None, (server.pid,)),
        Target("HTTPS, mutual", Address(server.host, 10443), SMALL, context, LARGE, None, (server.pid,)),
        behind(clear, "server RPC"),
        behind(sealed, "server RPC, mutual TLS"),
    ]


def gossip(*, sealed: bool) -> Sampler:
    """Messages wrapped and unwrapped in this process: with a checksum, as without a key, and sealed with AES-GCM."""
    ring, message = Keyring([os.urandom(32)]), b"\x08" + os.urandom(MESSAGE_BYTES - 1)

    def sample(seconds: float, connections: int) -> dict[str, float]:
        count, began, used, size = 0, time.monotonic(), time.process_time(), 0
        while time.monotonic() < began + seconds:
            for _ in range(GO):
                packet = ring.seal(message, os.urandom(12), b"") if sealed else add_crc(message)
                open_packet(packet, b"", ring if sealed else None, True)
            count, size = count + GO, len(packet)
        passed, used = time.monotonic() - began, time.process_time() - used
        return {
            "requests_per_second": count / passed,
            "megabytes_per_second": count * MESSAGE_BYTES / passed / 1e6,
            "cpu_ms_per_1000_requests": used / count * 1e6,
            "cpu_s_per_gib": used / (count * MESSAGE_BYTES) * (1 << 30),
            "wire_bytes_per_request": size,
        }

    return sample


def over(target: Target) -> Sampler:
    return lambda seconds, connections: asyncio.run(measure(target, seconds, connections))


def intend(agent: MeshAgent) -> None:
    """Many intentions about others, and one that lets web talk to each of the guarded services."""
    rows = [(f"other{number}", "guarded", "deny") for number in range(INTENTIONS // 2)]
    rows += [(f"other{number}", "envoyed", "deny") for number in range(INTENTIONS - len(rows))]
    for source, destination, action in [*rows, ("web", "guarded", "allow"), ("web", "envoyed", "allow")]:
        body = {"SourceName": source, "DestinationName": destination, "Action": action}
        done = agent.api("/v1/connect/intentions", "POST", json.dumps(body).encode())
        assert done[0] == 200, done


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path("artifacts/encryption"))
    options = parser.parse_args()
    told = conditions(options.seconds, options.repetitions, options.connections)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        clear = stack.enter_context(pair(directory / "clear", **CLEAR))
        sealed = stack.enter_context(pair(directory / "sealed"))
        sidecars = Sidecars(sealed, directory, stack)
        found = [*of_agents(clear, sealed), sidecars.pair("sidecars, no intentions", "bare")]
        intend(sealed["server1"])
        found.append(sidecars.pair(f"sidecars, {INTENTIONS} intentions", "guarded"))
        if envoy_binary() is not None:
            found.append(sidecars.pair(f"Envoy, {INTENTIONS} intentions", "envoyed", envoy=True))
        else:
            print("Envoy is not installed: left out")
        samplers = {"gossip": gossip(sealed=False), "gossip, AES-GCM": gossip(sealed=True)}
        samplers |= {target.name: over(target) for target in found}
        bases = {"gossip, AES-GCM": "gossip", "HTTPS, mutual": "HTTP", "server RPC, mutual TLS": "server RPC"}
        bases |= {name: "HTTP" for name in samplers if name.startswith(("sidecars", "Envoy"))}
        samples: dict[str, list[dict[str, float]]] = {name: [] for name in samplers}
        for name in schedule(list(samplers), options.repetitions, random.Random(options.repetitions)):
            samples[name].append(samplers[name](options.seconds, options.connections))
            print(f"{name} measured", flush=True)
    load = ", ".join(f"{one:.2f}" for one in os.getloadavg())
    costs = Costs(samples, bases, (*told, f"Load average of the machine afterwards: {load}."))
    options.out.mkdir(parents=True, exist_ok=True)
    write_reports(
        costs,
        json_file=str(options.out / "samples.json"),
        html_file=str(options.out / "report.html"),
        markdown_file=str(options.out / "report.md"),
    )
    print(markdown(costs))
    print(f"The page with plots: {options.out / 'report.html'}")


if __name__ == "__main__":
    main()
