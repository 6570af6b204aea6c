"""Real agents on loopback: each has an address of its own, and so the default ports; ended whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.waiting import until

__all__ = ["MESHNODE", "Mesh", "MeshAgent", "loopback", "run_mesh", "wait"]

MESHNODE = str(Path(sys.executable).with_name("meshnode"))
#: Failures are noticed within seconds, on a busy machine too. A message is sent twice as often as on a LAN: four
#: times is too few for a small pool with members that died just now, which gossip still goes to.
FAST = {
    "retransmit_mult": 8,
    "gossip_interval": "100ms",
    "probe_interval": "500ms",
    "probe_timeout": "300ms",
    "suspicion_mult": 2,
}
#: No variable of the one who runs the tests reaches an agent or a command.
CLEAN = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}


def wait(condition: Callable[[], Any], what: str, timeout: float = 30.0) -> Any:
    """The first truthy result of ``condition``; fails naming ``what`` after ``timeout`` seconds."""
    return asyncio.run(until(condition, what, timeout))


def loopback() -> str:
    """The first three bytes of a part of 127.0.0.0/8 that nobody else is likely to use."""
    return f"127.{random.randint(1, 254)}.{random.randint(1, 254)}"


@dataclass
class MeshAgent:
    """One agent: its configuration, its process, its log, and the command line talking to it."""

    name: str
    host: str
    directory: Path
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def config_file(self) -> Path:
        return self.directory / f"{self.name}.json"

    @property
    def data_dir(self) -> Path:
        return self.directory / f"{self.name}-data"

    @property
    def log_file(self) -> Path:
        return self.directory / f"{self.name}.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def write_config(self, **changes: Any) -> None:
        """Write the configuration; a change to ``None`` removes a key."""
        self.config |= changes
        base = {
            "node_name": self.name,
            "bind_addr": self.host,
            "client_addr": self.host,
            "data_dir": str(self.data_dir),
            "gossip_lan": FAST,
            "gossip_wan": FAST,
            "performance": {"leave_drain_time": "200ms"},
            "retry_interval": "1s",
            "log_level": "DEBUG",
        }
        whole = {key: value for key, value in (base | self.config).items() if value is not None}
        self.config_file.write_text(json.dumps(whole, indent=1))

    def launch(self) -> None:
        """Start the process and return at once."""
        self.write_config()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [MESHNODE, "agent", "-config-file", str(self.config_file), *self.arguments],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=CLEAN | self.environment,
            )  # fmt: skip

    def start(self) -> None:
        """Start the process and wait until it runs."""
        before = self.log.count("==> Consul agent running!")
        self.launch()
        wait(lambda: self.log.count("==> Consul agent running!") > before or self.exited, f"{self.name} runs")
        assert not self.exited, self.log

    def run_to_end(self, timeout: float = 20.0) -> tuple[int, str]:
        """Start it and wait until it ends by itself: exit code and what it wrote."""
        before = len(self.log)
        self.launch()
        return self.wait_exit(timeout), self.log[before:]

    @property
    def exited(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def wait_exit(self, timeout: float = 20.0) -> int:
        assert self.process is not None
        return self.process.wait(timeout)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Without a goodbye."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def wait_for_log(self, text: str, timeout: float = 30.0) -> str:
        """The first line with ``text`` in it."""

        def find() -> str:
            return next((line for line in self.log.splitlines() if text in line), "")

        return str(wait(find, f"{text!r} in the log of {self.name}", timeout))

    def cli(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command against this agent's plain HTTP port."""
        return run_mesh(*arguments, **({"CONSUL_HTTP_ADDR": f"{self.host}:8500"} | environment))

    def api(self, path: str, method: str = "GET", body: bytes = b"") -> tuple[int, str]:
        """Status and body of a request to the plain HTTP port, by curl."""
        data = ("--data-binary", body.decode()) if body else ()
        done = subprocess.run(
            ["curl", "-s", "-X", method, "-w", "\n%{http_code}", *data, f"http://{self.host}:8500{path}"],
            capture_output=True, text=True, check=False, env=CLEAN, timeout=60,
        )  # fmt: skip
        text, _, status = done.stdout.rpartition("\n")
        return int(status), text

    def get(self, path: str) -> Any:
        status, text = self.api(path)
        assert status == 200, (status, text)
        return json.loads(text)

    def statuses(self, *, wan: bool = False) -> dict[str, str]:
        """Name -> status word, as the agent sees it; empty when it doesn't answer."""
        done = self.cli("members", "-format=json", *(["-wan"] if wan else []))
        if done.returncode:
            return {}
        return {member["Node"]: member["Status"] for member in json.loads(done.stdout)}


@dataclass
class Mesh:
    """Agents of one cluster and what they share; ``tls`` holds ca, and (certificate, key) by name."""

    network: str
    directory: Path
    key: str
    agents: dict[str, MeshAgent] = field(default_factory=dict)

    def __getitem__(self, name: str) -> MeshAgent:
        return self.agents[name]

    @property
    def ca(self) -> Path:
        return self.directory / "consul-agent-ca.pem"

    def certificate(self, role: str, host: str = "", dc: str = "dc1") -> tuple[str, str]:
        """Make a certificate with the command line: (certificate, key) files."""
        address = [f"-additional-ipaddress={host}"] if host else []
        done = run_mesh("tls", "cert", "create", f"-{role}", f"-dc={dc}", *address, cwd=self.directory)
        assert done.returncode == 0, done.stderr
        saved = [line.removeprefix("==> Saved ") for line in done.stdout.splitlines() if "Saved" in line]
        return str(self.directory / saved[0]), str(self.directory / saved[1])

    def add(self, name: str, number: int, *, server: bool = False, **config: Any) -> MeshAgent:
        """An agent with gossip encryption, verified TLS and HTTPS; not started."""
        host = f"{self.network}.{number}"
        certificate, key = self.certificate("server" if server else "client", host)
        secured = {
            "server": server,
            "encrypt": self.key,
            "ca_file": str(self.ca),
            "cert_file": certificate,
            "key_file": key,
            "verify_incoming": True,
            "verify_outgoing": True,
            "verify_server_hostname": True,
            "ports": {"https": 10443},
        }
        agent = MeshAgent(name, host, self.directory, secured | config)
        self.agents[name] = agent
        return agent

    def wait_alive(self, *names: str) -> None:
        """Wait until each of ``names`` lists exactly all of them as alive."""
        for name in names:
            agent = self.agents[name]
            last: dict[str, str] = {}

            def sees(agent: MeshAgent = agent, last: dict[str, str] = last) -> bool:
                last.clear()
                last.update(agent.statuses())
                return {node for node, status in last.items() if status == "alive"} == set(names)

            try:
                wait(sees, f"{name} sees {names} alive")
            except AssertionError as error:
                raise AssertionError(f"{error}: {last}") from None

    def leader(self, *names: str) -> str:
        """The leader on which ``names`` agree, or empty text."""
        answers = {self.agents[name].get("/v1/status/leader") for name in names}
        return str(answers.pop()) if len(answers) == 1 else ""

    @classmethod
    @contextlib.contextmanager
    def new(cls, directory: Path) -> Iterator[Mesh]:
        """A mesh without agents, with a CA and a gossip key; all processes are ended at the end."""
        done = run_mesh("tls", "ca", "create", cwd=directory)
        assert done.returncode == 0, done.stderr
        mesh = cls(loopback(), directory, run_mesh("keygen").stdout.strip())
        try:
            yield mesh
        finally:
            for agent in mesh.agents.values():
                agent.kill()


def run_mesh(
    *arguments: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``meshnode`` to its end with nothing in its environment but what is given."""
    return subprocess.run(
        [MESHNODE, *arguments],
        capture_output=True, text=True, check=False, cwd=cwd, env=CLEAN | environment, timeout=60,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
