"""Labs of the tests: the inventories that users have, copied, with a name, a network and ports of their own."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
#: What a run may cost; CONTRIBUTING.md, Ansible.
MAX_REMOTE_CALLS = 8
CONFIG = "/etc/consul.d/meshnode.json"
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
#: Neither secrets nor caches: what a fresh clone has, and what was edited since.
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "artifacts", "build", "dist", "*.tar.gz")


def until(what: str, true: Callable[[], bool], seconds: float = 60) -> float:
    """Seconds until it was so; fails the test, naming ``what``, when it is not in time."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - begun


def copy_checkout(folder: Path) -> Path:
    """This repository as it is now: an edit while the tests run would be a new package, and so a change."""
    shutil.copytree(ROOT, folder, symlinks=True, ignore=NOT_COPIED)
    (ROOT / ".cache").mkdir(exist_ok=True)  # a fresh clone has none yet
    (folder / ".cache").symlink_to(ROOT / ".cache")
    return folder


def environment(config: Path | None = None, collections: Path | None = None) -> dict[str, str]:
    """A user's, without what make or a developer's shell says to Ansible."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    found["PATH"] = f"{BIN}:{os.environ['PATH']}"
    if config:
        found["ANSIBLE_CONFIG"] = str(config)
    if collections:
        found["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
    return found


@dataclass(frozen=True)
class Run:
    """What a run of a playbook printed."""

    code: int
    output: str

    @property
    def changed(self) -> dict[str, int]:
        """Changes of each node; localhost's, of the containers, are not counted."""
        return {host: count for host, count in self.changed_everywhere.items() if host != "localhost"}

    @property
    def changed_everywhere(self) -> dict[str, int]:
        return {host: int(changed) for host, _ok, changed, *_others in RECAP.findall(self.output)}

    def remote_calls(self, address: str) -> int:
        """Commands and transfers that went to the node; the run was a -vvv one."""
        found = re.findall(
            rf"^<{re.escape(address)}> (?:SSH: )?(?:EXEC|PUT|FETCH)\b.*", self.output, re.MULTILINE
        )
        over_ssh = [line for line in found if "> SSH: " in line]
        return len(over_ssh or found)


@dataclass(frozen=True)
class Lab:
    """An inventory with its own secrets, in a checkout of its own."""

    name: str
    checkout: Path

    @property
    def inventory(self) -> Path:
        return self.checkout / "inventories" / self.name

    @property
    def store(self) -> Path:
        return self.inventory / ".secrets" / "dc1"

    @property
    def nodes(self) -> dict[str, str]:
        """Names and addresses."""
        groups = self.read("hosts.yml")["all"]["children"]["mesh"]["children"].values()
        return {name: host["mesh_address"] for group in groups for name, host in group["hosts"].items()}

    @property
    def network(self) -> str:
        """The first three numbers of its addresses."""
        return next(iter(self.nodes.values())).rpartition(".")[0]

    @property
    def published(self) -> str:
        """Address and port of this machine that lead to a node's HTTPS API."""
        found = re.search(r"127\.0\.0\.1:\d+", (self.inventory / "hosts.yml").read_text())
        assert found, f"{self.inventory} publishes no port"
        return found[0]

    def read(self, name: str) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((self.inventory / name).read_text())
        return loaded

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        (self.inventory / name).write_text(yaml.safe_dump(dict(content), sort_keys=False))

    def copy(self, name: str) -> Lab:
        """Another inventory with the same content, and no secrets."""
        other = replace(self, name=name)
        shutil.copytree(self.inventory, other.inventory, ignore=NOT_COPIED)
        return other

    def command(self, *words: str, playbook: str = "site.yml") -> list[str]:
        program = str(BIN / "ansible-playbook")
        return [program, "-i", str(self.inventory), str(self.checkout / playbook), *words]

    @property
    def environment(self) -> dict[str, str]:
        return environment(config=self.checkout / "ansible.cfg") | {"PWD": str(self.checkout)}

    def play(self, *words: str, playbook: str = "site.yml", fails: bool = False, seconds: float = 250) -> Run:
        done = subprocess.run(
            self.command(*words, playbook=playbook),
            env=self.environment,
            cwd=self.checkout,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        run = Run(done.returncode, done.stdout + done.stderr)
        assert (run.code != 0) is fails, run.output[-8000:]
        return run

    def down(self) -> None:
        self.play(playbook="playbooks/lab_down.yml")

    def fresh(self) -> None:
        """No containers and no secrets: as if nobody had ever run anything."""
        self.down()
        shutil.rmtree(self.inventory / ".secrets", ignore_errors=True)

    def on(self, node: str, *command: str) -> str:
        """What the command on the node says; through the engine, whatever the connection of Ansible is."""
        done = subprocess.run(
            ["docker", "exec", f"{self.name}-{node}", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def said(self, node: str, *command: str) -> str:
        """What the command on the node says, whether it succeeds or not."""
        words = ["docker", "exec", f"{self.name}-{node}", *command]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def members(self, node: str) -> dict[str, str]:
        """Names and states, as the node sees them."""
        rows = [line.split() for line in self.on(node, "consul", "members").splitlines()[1:]]
        assert len({row[0] for row in rows}) == len(rows), rows
        return {row[0]: row[2] for row in rows}

    def alive(self, node: str) -> set[str]:
        return {name for name, state in self.members(node).items() if state == "alive"}

    def process(self, node: str) -> str:
        return self.on(node, "systemctl", "show", "consul", "-p", "MainPID").strip()

    def secrets(self) -> list[str]:
        """Keys, and the lines of private keys: what no output may hold."""
        found = [entry["key"] for entry in json.loads((self.store / "gossip.json").read_text())["keys"]]
        found += (self.store / "ca" / "1" / "ca.key").read_text().splitlines()[1:-1]
        for node in self.nodes:
            for key in self.on(
                node, "sh", "-c", "ls /etc/consul.d/ssl/consul.key /etc/etcd/ssl/*.key || true"
            ).split():
                found += self.on(node, "cat", key).splitlines()[1:-1]
        assert len(found) >= 2 + len(self.nodes)
        return found

    def printed_secrets(self, run: Run) -> list[str]:
        """Beginnings of the secrets that the run printed."""
        return [secret[:6] + "..." for secret in self.secrets() if secret in run.output]

    def left_behind(self) -> list[str]:
        """What the engine has of the lab."""
        label = ["--filter", f"label=io.meshnode.lab={self.name}", "--quiet"]
        kinds = (["ps", "--all"], ["network", "ls"], ["volume", "ls"])
        listed = [
            subprocess.run(["docker", *kind, *label], capture_output=True, text=True, check=True).stdout
            for kind in kinds
        ]
        return " ".join(listed).split()


#: Held until this process ends.
_CLAIMS: list[IO[str]] = []


def claim(name: str) -> None:
    """One session of tests for each lab: two of them on one engine would take each other's containers away."""
    claimed = (Path(tempfile.gettempdir()) / f"meshnode-lab-{name}-{os.getuid()}.lock").open("a+")
    try:
        fcntl.flock(claimed, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        claimed.seek(0)
        raise RuntimeError(
            f'the lab "{name}" is in use by process {claimed.read()}, another session of these tests: let it end'
        ) from None
    claimed.truncate(0)
    claimed.write(str(os.getpid()))
    claimed.flush()
    _CLAIMS.append(claimed)


def private_copy(checkout: Path, inventory: str, name: str, network: str, port: int) -> Lab:
    """``inventories/<inventory>`` with another lab_name, network (``172.28.250``) and published port.

    Where it has several networks, they are this one and those after it.
    """
    claim(name)
    lab = Lab(inventory, checkout).copy(name)
    old_name = lab.read("group_vars/all.yml")["lab_name"]
    files = sorted(lab.inventory.rglob("*.yml"))
    used = re.findall(r"172\.28\.(\d+)", "".join(path.read_text() for path in files))
    head, _, number = network.rpartition(".")
    others = {old: f"{head}.{int(number) + at}" for at, old in enumerate(sorted(set(used), key=int))}
    for path in files:
        text = path.read_text().replace(f"lab_name: {old_name}", f"lab_name: {name}")
        text = text.replace(f"ansible_host: {old_name}-", f"ansible_host: {name}-")
        text = re.sub(r"172\.28\.(\d+)", lambda found: others[found[1]], text)
        path.write_text(re.sub(r"127\.0\.0\.1:\d+:", f"127.0.0.1:{port}:", text))
    with (lab.inventory / "group_vars" / "all.yml").open("a") as file:
        file.write(f"mesh_node_package_cache_dir: {json.dumps(str(ROOT / '.cache'))}\n")
    return lab
