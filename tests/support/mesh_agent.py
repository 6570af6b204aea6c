"""Agents of the tests: those of ``meshnode.testing``, configured freely, and driven by the command line and curl."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshnode.testing.addresses import Reservation
from meshnode.testing.credentials import Credentials
from meshnode.testing.mesh import FAST_GOSSIP
from meshnode.testing.process import STOP_TIMEOUT, AgentProcess
from meshnode.testing.waiting import wait_until

if TYPE_CHECKING:
    from meshnode.pki.leaf import Role

__all__ = ["CLEAN", "MESHNODE", "Mesh", "MeshAgent", "loopback", "run_mesh", "wait"]

MESHNODE = str(Path(sys.executable).with_name("meshnode"))
#: No variable of the one who runs the tests reaches an agent or a command.
CLEAN = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
#: Networks that :func:`loopback` gave away, kept from others until this process ends.
_RESERVED: list[Reservation] = []


def wait(condition: Callable[[], Any], what: str, timeout: float = 30.0) -> Any:
    """The first truthy result of ``condition``; fails naming ``what`` after ``timeout`` seconds."""
    last: Any = None

    def asked() -> Any:
        nonlocal last
        last = condition()
        return last

    try:
        return wait_until(asked, timeout)
    except TimeoutError:
        raise AssertionError(f"after {timeout:g} s still not: {what} (last seen: {last!r})") from None


def loopback() -> str:
    """The first three bytes of a part of 127.0.0.0/8 that is nobody else's."""
    _RESERVED.append(Reservation())
    return _RESERVED[-1].network


class MeshAgent(AgentProcess):
    """One agent with the default ports on ``host``; ``config`` is over what all of them have, see ``write_config``."""

    def __init__(
        self,
        name: str,
        host: str,
        directory: Path,
        config: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        super().__init__(name, directory, arguments=arguments, environment=CLEAN | dict(environment or {}))
        self.host = host
        self.config = dict(config or {})

    def write_config(self, **changes: Any) -> None:
        """Write the configuration; a change to ``None`` removes a key."""
        self.config |= changes
        base = {
            "node_name": self.name,
            "bind_addr": self.host,
            "client_addr": self.host,
            "data_dir": str(self.data_dir),
            "gossip_lan": dict(FAST_GOSSIP),
            "gossip_wan": dict(FAST_GOSSIP),
            "performance": {"leave_drain_time": "200ms"},
            "retry_interval": "1s",
            "log_level": "DEBUG",
        }
        whole = {key: value for key, value in (base | self.config).items() if value is not None}
        self.config_file.write_text(json.dumps(whole, indent=1))

    def launch(self) -> None:
        """Write its configuration, start its process and return at once."""
        self.write_config()
        super().launch()

    def run_to_end(self, timeout: float = STOP_TIMEOUT) -> tuple[int, str]:
        """Start it and wait until it ends by itself: exit code and what it wrote."""
        before = len(self.log)
        self.launch()
        return self.wait_exit(timeout), self.log[before:]

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
    """Agents of one cluster and what they share; ``key`` is the gossip key."""

    network: str
    directory: Path
    credentials: Credentials
    key: str
    agents: dict[str, MeshAgent] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __getitem__(self, name: str) -> MeshAgent:
        return self.agents[name]

    @property
    def ca(self) -> Path:
        return self.credentials.ca_file

    def certificate(self, role: Role, host: str = "", dc: str = "dc1") -> tuple[str, str]:
        """Make a certificate: (certificate, key) files."""
        certificate, key = self.credentials.issue(f"{dc}-{role}-{next(self._numbers)}", role, dc, host)
        return str(certificate), str(key)

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
                if not agent.running:
                    raise agent.error("exited while it was waited for")
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
        reservation = Reservation()
        credentials = Credentials(directory)
        mesh = cls(reservation.network, directory, credentials, credentials.gossip_key)
        try:
            yield mesh
        finally:
            for agent in mesh.agents.values():
                agent.kill()
            reservation.close()


def run_mesh(
    *arguments: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``meshnode`` to its end with nothing in its environment but what is given."""
    return subprocess.run(
        [MESHNODE, *arguments],
        capture_output=True, text=True, check=False, cwd=cwd, env=CLEAN | environment, timeout=60,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
