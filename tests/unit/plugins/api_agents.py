"""Real agents for the modules that use the HTTP API, and Ansible's own commands against them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.mesh_agent import CLEAN, Mesh, MeshAgent, wait

__all__ = ["ROOT", "ApiAgent", "ansible", "running"]

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class ApiAgent:
    """One server. ``plain`` and ``secure`` are options for its HTTP and its HTTPS, which wants a client certificate."""

    mesh: Mesh
    agent: MeshAgent
    certificate: tuple[str, str]

    @property
    def plain(self) -> dict[str, Any]:
        return {"address": f"http://{self.agent.host}:8500"}

    @property
    def secure(self) -> dict[str, Any]:
        return {
            "address": f"https://{self.agent.host}:10443",
            "ca_file": str(self.mesh.ca),
            "client_cert": self.certificate[0],
            "client_key": self.certificate[1],
        }

    @property
    def environment(self) -> dict[str, str]:
        """The same for the variables of Consul."""
        return {
            "CONSUL_HTTP_ADDR": f"{self.agent.host}:10443",
            "CONSUL_HTTP_SSL": "true",
            "CONSUL_CACERT": str(self.mesh.ca),
            "CONSUL_CLIENT_CERT": self.certificate[0],
            "CONSUL_CLIENT_KEY": self.certificate[1],
        }


@contextlib.contextmanager
def running(directory: Path, **config: Any) -> Iterator[ApiAgent]:
    """A server that leads itself, with TLS; ended at the end of the block."""
    with Mesh.new(directory) as mesh:
        agent = mesh.add("s1", 1, server=True, bootstrap_expect=1, **config)
        agent.start()
        wait(lambda: agent.api("/v1/status/leader")[1] not in ('""', ""), "a leader")
        yield ApiAgent(mesh, agent, mesh.certificate("cli"))


def ansible(
    directory: Path, command: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``ansible``, ``ansible-playbook``, ... from this checkout, with a home of its own."""
    home = directory / "home"
    home.mkdir(exist_ok=True)
    inventory = directory / "hosts.yml"
    if not inventory.exists():
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory.write_text(json.dumps({"all": {"hosts": {"localhost": host}}}))
    settings = {
        "ANSIBLE_CONFIG": str(directory / "none.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_INVENTORY": str(inventory),
        "ANSIBLE_HOME": str(home),
        "HOME": str(home),
    }
    (directory / "none.cfg").touch()
    return subprocess.run(
        [str(Path(sys.executable).with_name(command)), *arguments],
        capture_output=True, text=True, check=False, timeout=100, cwd=directory, stdin=subprocess.DEVNULL,
        env=CLEAN | {"LANG": os.environ.get("LANG", "C.UTF-8"), "LC_ALL": "C.UTF-8"} | settings | environment,
    )  # fmt: skip
