"""A large lab from nothing: stood up, stood up again, verified, watched at rest, rolled. Prints the figures of it.

``make scale``, or with ``NODES=40``: so many nodes of inventories/scale, which are made anew. What the playbooks print
is kept below artifacts/scale. Ends with 1 at the first run that fails, and leaves the lab up to be looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).parents[1]
INVENTORY = ROOT / "inventories" / "scale"
KEPT = ROOT / "artifacts" / "scale"
#: A configuration that every agent has to be restarted for.
CHANGE = ("-e", "mesh_node_ui=true")
RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s", re.MULTILINE)
LAST_LINES = 40
#: Runs on a node: seconds of CPU and resident bytes of each unit, and what the whole container takes, without what the
#: kernel would give back at once.
COST = """
import glob, json, os
ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
units = {}
for folder in glob.glob("/proc/[0-9]*"):
    try:
        stat = open(folder + "/stat").read().rpartition(")")[2].split()
        unit = open(folder + "/cgroup").read().partition("system.slice/")[2].partition("\\n")[0].partition("/")[0]
    except OSError:
        continue
    cpu, memory = units.get(unit, (0, 0))
    units[unit] = (cpu + (int(stat[11]) + int(stat[12])) / ticks, memory + int(stat[21]) * page)
whole = 0
for used, details in (("memory/memory.usage_in_bytes", "memory/memory.stat"), ("memory.current", "memory.stat")):
    if os.path.exists("/sys/fs/cgroup/" + used):
        rows = dict(line.split() for line in open("/sys/fs/cgroup/" + details))
        idle = int(rows.get("total_inactive_file") or rows["inactive_file"])
        whole = int(open("/sys/fs/cgroup/" + used).read()) - idle
        break
print(json.dumps({"units": units, "whole": whole}))
"""


@dataclass(frozen=True)
class Cost:
    """Of one program or container: the share of a core, and MiB."""

    kind: str
    cpu: float
    mebibytes: float


class FailedError(Exception):
    """A run did not do what it has to; C(str()) says which."""


def play(name: str, playbook: str, *words: str) -> tuple[float, str]:
    """Seconds that the playbook took, and what it printed; raises :class:`FailedError`."""
    begun = time.monotonic()
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(INVENTORY), playbook, *words]
    log = KEPT / f"{name}.log"
    with log.open("w") as file:
        code = subprocess.run(
            command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False
        ).returncode
    took = time.monotonic() - begun
    printed = log.read_text()
    if code:
        last = "\n".join(printed.splitlines()[-LAST_LINES:])
        raise FailedError(f"{last}\n{name}: {playbook} failed after {took:.0f} s; all of it is in {log}")
    print(f"{name}: {took:.0f} s", flush=True)
    return took, printed


def unchanged(name: str, printed: str) -> None:
    """Raise :class:`FailedError` when a run changed something."""
    changed = [f"{host} {count}" for host, count in RECAP.findall(printed) if int(count)]
    if changed or not RECAP.search(printed):
        raise FailedError(
            f"{name}: a second run has nothing to change: {', '.join(changed) or 'it told nothing'}"
        )


def kind_of(unit: str, node: str) -> str:
    """The row of the table that a unit belongs to; empty for what is no part of the mesh."""
    if unit == "consul.service":
        return f"agent of a {node.rstrip('0123456789')}"
    if unit == "etcd.service":
        return "etcd"
    return {"mesh-sidecar": "sidecar", "mesh-app": "application"}.get("-".join(unit.split("-")[:2]), "")


def costs(lab: str, node: str, seconds: float) -> Iterator[Cost]:
    """What each part of the node took in so many seconds."""

    def look() -> dict[str, dict[str, list[float]]]:
        command = ["docker", "exec", f"{lab}-{node}", "python3", "-c", COST]
        told = subprocess.run(command, capture_output=True, check=True).stdout
        found: dict[str, dict[str, list[float]]] = json.loads(told)
        return found

    before, begun = look()["units"], time.monotonic()
    time.sleep(seconds)
    seen, took = look(), time.monotonic() - begun
    after = seen["units"]
    for unit, (cpu, memory) in after.items():
        if kind := kind_of(unit, node):
            yield Cost(kind, (cpu - before.get(unit, [0.0])[0]) / took, memory / 2**20)
    spent = sum(cpu - before.get(unit, [0.0])[0] for unit, (cpu, _) in after.items())
    yield Cost("whole container", spent / took, float(seen["whole"]) / 2**20)


def table(found: Sequence[Cost]) -> list[str]:
    """Rows in Markdown, a kind each."""
    rows = ["| at rest | how many | CPU of one core, mean (most) | memory, mean (most) | together |"]
    rows.append("|---|---|---|---|---|")
    for kind in sorted({one.kind for one in found}, key=lambda kind: (kind.startswith("whole"), kind)):
        cpu = [one.cpu * 100 for one in found if one.kind == kind]
        memory = [one.mebibytes for one in found if one.kind == kind]
        rows.append(
            f"| {kind} | {len(cpu)} | {fmean(cpu):.2f} % ({max(cpu):.2f} %) "
            f"| {fmean(memory):.0f} MiB ({max(memory):.0f} MiB) | {sum(cpu):.0f} %, {sum(memory):.0f} MiB |"
        )
    return rows


def drill(seconds: float) -> list[str]:
    """All of it; the lines of the figures."""
    listed = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(INVENTORY), "--list"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    groups = json.loads(listed.stdout)
    servers, clients = (groups.get(group, {}).get("hosts", []) for group in ("mesh_servers", "mesh_clients"))
    nodes = [*servers, *clients]
    if not nodes:
        raise FailedError(listed.stderr.strip())
    lab = str(groups["_meta"]["hostvars"][nodes[0]]["ansible_host"]).rpartition("-")[0]
    play("down", "playbooks/lab_down.yml")
    stood, _ = play("up", "site.yml")
    again, printed = play("again", "site.yml")
    unchanged("again", printed)
    verified, _ = play("verify", "playbooks/verify.yml")
    with ThreadPoolExecutor(len(nodes)) as pool:
        found = [
            cost for each in pool.map(lambda node: list(costs(lab, node, seconds)), nodes) for cost in each
        ]
    rolled, _ = play("roll", "playbooks/roll.yml", *CHANGE)
    _, printed = play("rolled-again", "site.yml", *CHANGE)
    unchanged("rolled-again", printed)
    return [
        f"{len(servers)} servers, {len(clients)} clients with a sidecar each; {os.cpu_count()} cores, load at the end "
        f"{os.getloadavg()[0]:.1f}",
        "",
        "| run | took |",
        "|---|---|",
        f"| `site.yml` from no container to healthy | {stood:.0f} s |",
        f"| `site.yml` again, changed=0 on every host | {again:.0f} s |",
        f"| `verify.yml` | {verified:.0f} s |",
        f"| `roll.yml`, a configuration that restarts every agent, under probes | {rolled:.0f} s |",
        "",
        *table(found),
    ]


def main() -> int:
    """Run the drill, print the figures, take the lab down."""
    parser = argparse.ArgumentParser(description="Stand a large lab up, change it, and say what it costs.")
    parser.add_argument("--seconds", type=float, default=30, help="how long the mesh at rest is watched")
    parser.add_argument("--keep", action="store_true", help="leave the lab up at the end")
    wanted = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    try:
        lines = drill(wanted.seconds)
        if not wanted.keep:
            play("down", "playbooks/lab_down.yml")
    except FailedError as error:
        print(f"{error}\nmake down LAB=scale   # take it down", file=sys.stderr)
        return 1
    print("\n" + "\n".join(lines))
    (KEPT / "figures.md").write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
