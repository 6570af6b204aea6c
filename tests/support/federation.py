"""Two datacenters on loopback, the second one with the first as its primary, and what both sides of a test ask them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from meshnode.testing import Mesh, MeshAgent
from tests.support.proxy_command import CONSUL

__all__ = ["CONFIG", "allowed", "consul", "dig", "leaf", "register", "roots", "stop_servers", "verified"]

#: Of every agent.
CONFIG: Final[Mapping[str, Any]] = {
    "primary_datacenter": "dc1",
    "connect": {"enabled": True},
    "translate_wan_addrs": True,
}


def consul(agent: MeshAgent, *arguments: str) -> str:
    """What the command prints; it has to succeed."""
    command = [CONSUL, *arguments[:1], f"-http-addr={agent.http}", *arguments[1:]]
    if arguments[0] in {"operator", "intention", "connect", "catalog", "kv", "config"}:
        command = [CONSUL, *arguments[:2], f"-http-addr={agent.http}", *arguments[2:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dig(agent: MeshAgent, name: str, kind: str = "A") -> list[str]:
    host, port = agent.dns
    command = ["dig", "+short", "+tries=1", "+time=5", f"@{host}", "-p", str(port), name, kind]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split("\n")[
        :-1
    ]


def register(agent: MeshAgent, service: str, address: str, wan: str, port: int = 80) -> None:
    """A service on a node of its own, which has an address for other datacenters."""
    body = {
        "Node": f"node-of-{service}",
        "Address": address,
        "TaggedAddresses": {"wan": wan},
        "Service": {"Service": service, "Port": port},
    }
    agent.api("/v1/catalog/register", method="PUT", body=body)


def allowed(agent: MeshAgent, source: str, destination: str) -> bool:
    query = {"source": source, "destination": destination}
    return bool(agent.api("/v1/connect/intentions/check", query=query)["Allowed"])


def roots(agent: MeshAgent) -> dict[str, Any]:
    answer: dict[str, Any] = agent.api("/v1/agent/connect/ca/roots")
    return answer


def leaf(agent: MeshAgent, service: str) -> dict[str, Any]:
    answer: dict[str, Any] = agent.api(f"/v1/agent/connect/ca/leaf/{service}")
    return answer


def verified(directory: Path, chain: str, trusted: Sequence[Mapping[str, Any]]) -> str:
    """Empty when OpenSSL takes the leaf in front of ``chain`` with those roots, else what it says."""
    (directory / "chain.pem").write_text(chain)
    (directory / "roots.pem").write_text("".join(root["RootCert"] for root in trusted))
    files = ["-CAfile", "roots.pem", "-untrusted", "chain.pem", "chain.pem"]
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-show_chain", *files],
        cwd=directory, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stdout + done.stderr


def stop_servers(mesh: Mesh, datacenter: str) -> list[MeshAgent]:
    """Kill the servers of a datacenter, as a cut of the only link to it does for the other; those that were killed."""
    found = [agent for agent in mesh.servers if agent.datacenter == datacenter]
    for agent in found:
        agent.kill()
    return found


def rewrite(agent: MeshAgent, **changed: Any) -> None:
    """Change the configuration of an agent that doesn't run."""
    config = {**json.loads(agent.config_file.read_text()), **changed}
    agent.config_file.write_text(json.dumps(config))
