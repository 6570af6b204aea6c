"""Real etcd members on loopback (127.0.2.x), mutual TLS on every port, ended whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshnode.base.address import Address
from meshnode.runtime.etcd_client import EtcdSettings, etcd_tls
from tests.support.certs import make_ca, make_cert
from tests.support.wire import free_port

__all__ = ["EtcdCluster", "etcd_cluster"]

MISSING = "etcd isn't installed: apt-get install etcd-server"


@dataclass
class EtcdCluster:
    directory: Path
    clients: list[Address]
    peers: list[Address]
    tls: bool = True
    options: tuple[str, ...] = ()
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    def files(self, name: str) -> tuple[str, str, str]:
        return tuple(str(self.directory / f"{file}.pem") for file in ("ca", name, f"{name}-key"))  # type: ignore[return-value]

    def settings(self, *, first: int = 0, **changes: Any) -> EtcdSettings:
        """For ``EtcdLog``; member ``first`` is asked first."""
        endpoints = tuple(self.clients[first:] + self.clients[:first])
        tls = etcd_tls(*self.files("client")) if self.tls else None
        return EtcdSettings(endpoints, tls, **changes)

    def launch(self, number: int) -> None:
        client, peer = f"{self.scheme}://{self.clients[number]}", f"{self.scheme}://{self.peers[number]}"
        members = ",".join(f"m{n}={self.scheme}://{each}" for n, each in enumerate(self.peers))
        command = [
            *("etcd", "--name", f"m{number}", "--data-dir", str(self.directory / f"m{number}")),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", members, "--logger", "zap", "--log-level", "warn"),
            *self.options,
        ]
        if self.tls:
            ca, cert, key = self.files("member")
            command += ["--client-cert-auth", "--trusted-ca-file", ca, "--cert-file", cert, "--key-file", key]
            command += ["--peer-client-cert-auth", "--peer-trusted-ca-file", ca]
            command += ["--peer-cert-file", cert, "--peer-key-file", key]
        with (self.directory / f"m{number}.log").open("ab") as log:
            self.processes[number] = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self, number: int, how: signal.Signals = signal.SIGKILL) -> None:
        process = self.processes[number]
        process.send_signal(how)
        if how in (signal.SIGKILL, signal.SIGTERM):
            process.wait(20)

    def etcdctl(self, *arguments: str) -> str:
        """What Debian's ``etcdctl`` says: the witness that we didn't write."""
        command = ["etcdctl", "--endpoints", ",".join(f"{self.scheme}://{a}" for a in self.clients)]
        if self.tls:
            ca, cert, key = self.files("client")
            command += ["--cacert", ca, "--cert", cert, "--key", key]
        environment = {"PATH": os.environ["PATH"], "ETCDCTL_API": "3"}
        done = subprocess.run(
            [*command, *arguments], capture_output=True, check=False, timeout=30, env=environment
        )
        return done.stdout.decode()

    def leader(self) -> int:
        """The number of the member that leads raft; -1 while there is none."""
        statuses = json.loads(self.etcdctl("endpoint", "status", "-w", "json") or "[]")
        for status in statuses:
            if status["Status"]["leader"] == status["Status"]["header"]["member_id"]:
                endpoint = status["Endpoint"].partition("://")[2]
                return [str(address) for address in self.clients].index(endpoint)
        return -1


@contextlib.contextmanager
def etcd_cluster(directory: Path, size: int, *options: str, tls: bool = True) -> Iterator[EtcdCluster]:
    """``size`` members with these command line options too, on their way up."""
    assert shutil.which("etcd"), MISSING
    hosts = [f"127.0.2.{number + 1}" for number in range(size)]
    cluster = EtcdCluster(
        directory,
        [Address(host, free_port(host=host)) for host in hosts],
        [Address(host, free_port(host=host)) for host in hosts],
        tls,
        options,
    )
    ca = make_ca()
    ca.write(directory, "ca")
    # A peer's certificate has to name the address that it calls from, which on loopback is this one.
    make_cert(["etcd", "127.0.0.1", *hosts], ca).write(directory, "member")
    make_cert(["server1"], ca).write(directory, "client")
    try:
        for number in range(size):
            cluster.launch(number)
        yield cluster
    finally:
        for process in cluster.processes.values():
            process.kill()
            process.wait(20)
