"""Three servers on one log in Debian's etcd and a client agent, under a load that is judged at the end."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshnode.base.address import Address
from meshnode.prove.linearizability import violations
from meshnode.testing.history import Workload, ask
from tests.support.certs import make_ca, make_cert
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster
from tests.support.mesh_agent import Mesh, MeshAgent, wait
from tests.support.network import Network

__all__ = [
    "CLIENT",
    "SECONDS",
    "SERVERS",
    "Lab",
    "add_agent",
    "etcd_log",
    "judge",
    "kept",
    "lab_in_network",
    "lab_on_etcd",
    "raise_lab",
]

SERVERS = ("server1", "server2", "server3")
CLIENT = "client1"
#: Seconds of load in each phase of a long scenario.
SECONDS = float(os.environ.get("CHAOS_SECONDS", "10"))


@dataclass
class Lab:
    """``names`` are the agents that are meant to run."""

    mesh: Mesh
    etcd: EtcdCluster
    names: list[str] = field(default_factory=lambda: [*SERVERS, CLIENT])
    network: Network | None = None

    def inside(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Where the processes of ``name`` (an agent, or ``etcd0``) are started."""
        return self.network.inside(name) if self.network is not None else contextlib.nullcontext()

    def launch(self, name: str) -> None:
        """Start an agent that was added."""
        with self.inside(name):
            self.mesh[name].launch()

    def launch_etcd(self, number: int) -> None:
        with self.inside(f"etcd{number}"):
            self.etcd.launch(number)

    def host(self, name: str) -> str:
        return self.mesh[name].host

    @property
    def hosts(self) -> list[str]:
        return [self.host(name) for name in self.names]

    def leader(self, *without: str) -> str:
        """The name of the server that all but ``without`` call the leader; empty while they don't agree."""
        said = set()
        for name in self.names:
            if name in without:
                continue
            answer = ask(self.host(name), "/v1/status/leader", timeout=3)
            said.add(json.loads(answer.body).partition(":")[0] if answer.status == 200 else "")
        address = said.pop() if len(said) == 1 else ""
        return next((name for name in SERVERS if address and self.host(name) == address), "")

    def wait_leader(self, *without: str, timeout: float = 60.0) -> str:
        """The leader that is not one of ``without``."""
        return str(wait(lambda: self._other(without), f"a leader that isn't {without}", timeout))

    def _other(self, without: tuple[str, ...]) -> str:
        found = self.leader(*without)
        return found if found not in without else ""

    def restart(self, *names: str) -> None:
        """Start agents that were killed and wait until all see all."""
        for name in names:
            self.launch(name)
        self.mesh.wait_alive(*self.names)
        self.wait_leader()


def etcd_log(etcd: EtcdCluster, **more: Any) -> dict[str, Any]:
    """``state_log`` of an agent."""
    ca, cert, key = etcd.files("client")
    endpoints = [f"https://{address}" for address in etcd.clients]
    return {
        "engine": "etcd",
        "endpoints": endpoints,
        "ca_file": ca,
        "cert_file": cert,
        "key_file": key,
        **more,
    }


def add_agent(lab: Lab, name: str, number: int, **config: Any) -> MeshAgent:
    server = name.startswith("server")
    extra = {"bootstrap_expect": 3, "state_log": etcd_log(lab.etcd)} if server else {}
    join = [f"{lab.mesh.network}.1"]
    return lab.mesh.add(name, number, server=server, retry_join=join, **(extra | config))


def raise_lab(lab: Lab, environments: Mapping[str, dict[str, str]] | None = None) -> None:
    """Add and start all agents, each with its own environment, and wait for a leader."""
    wait(lambda: lab.etcd.leader() >= 0, "etcd has a leader", 60)
    for number, name in enumerate(lab.names, 1):
        add_agent(lab, name, number).environment |= (environments or {}).get(name, {})
        lab.launch(name)
    lab.mesh.wait_alive(*lab.names)
    lab.wait_leader()


def folders(directory: Path) -> tuple[Path, Path]:
    """Of etcd and of the agents: each has a CA of its own, in files of the same name."""
    made = directory / "etcd", directory / "mesh"
    for each in made:
        each.mkdir(parents=True)
    return made


@contextlib.contextmanager
def lab_on_etcd(directory: Path, environments: Mapping[str, dict[str, str]] | None = None) -> Iterator[Lab]:
    """The whole of it on loopback, up and with a leader."""
    etcd_files, mesh_files = folders(directory)
    with etcd_cluster(etcd_files, 3) as etcd, Mesh.new(mesh_files) as mesh:
        lab = Lab(mesh, etcd)
        raise_lab(lab, environments)
        yield lab


@contextlib.contextmanager
def lab_in_network(directory: Path, *bad_wires: str) -> Iterator[Lab]:
    """The same with a network namespace for each agent and each member of etcd."""
    etcd_files, mesh_files = folders(directory)
    with Network.new() as network, Mesh.new(mesh_files) as mesh:
        members = [
            network.add(f"etcd{number}", 11 + number, bad_wire=f"etcd{number}" in bad_wires)
            for number in range(3)
        ]
        etcd = EtcdCluster(
            etcd_files, [Address(host, 2379) for host in members], [Address(host, 2380) for host in members]
        )
        ca = make_ca()
        ca.write(etcd_files, "ca")
        make_cert(["etcd", *members], ca).write(etcd_files, "member")
        make_cert(["server1"], ca).write(etcd_files, "client")
        mesh.network = network.prefix
        lab = Lab(mesh, etcd, network=network)
        for number, name in enumerate(lab.names, 1):
            network.add(name, number, bad_wire=name in bad_wires)
        try:
            for number in range(3):
                lab.launch_etcd(number)
            raise_lab(lab)
            yield lab
        finally:
            for process in etcd.processes.values():
                process.kill()
                process.wait(20)


def kept(host: str, prefix: str, how: str = "consistent") -> dict[str, str]:
    """All keys and values under ``prefix``."""
    answer = ask(host, f"/v1/kv/{prefix}?recurse&{how}", timeout=30)
    if answer.status == 404:
        return {}
    assert answer.status == 200, (host, answer)
    return {
        entry["Key"]: base64.b64decode(entry["Value"] or "").decode() for entry in json.loads(answer.body)
    }


def judge(scenario: str, load: Workload, hosts: list[str], *, within: float, since: float = 0.0) -> float:
    """After the load has ended: print its figures, and hold it against what each of ``hosts`` has now.

    Returns the longest gap in writes since ``since``, in seconds, which is at most ``within``.
    """
    gap = load.longest_gap(since)
    began = time.monotonic()
    found = violations(load.history)
    took = time.monotonic() - began
    counts = ", ".join(f"{name} {count}" for name, count in sorted(load.outcomes.items()) if count)
    seconds = load.ended - load.began
    total = sum(load.outcomes.values())
    print(f"\n{scenario}: gap in writes {gap:.2f} s; {total} operations in {seconds:.1f} s: {counts}")
    print(f"  judged in {took:.2f} s; errors: {load.last_errors or 'none'}")
    assert not found, "not linearizable:\n" + "\n".join(map(str, found))
    for host in hosts:
        there = kept(host, f"{load.prefix}/ledger")
        lost = {key: value for key, value in load.acknowledged.items() if there.get(key) != value}
        assert not lost, f"{host}: {len(lost)} acknowledged writes are lost, such as {next(iter(lost))}"
    assert gap <= within, f"no write was acknowledged for {gap:.2f} s, more than {within:g} s"
    return gap
