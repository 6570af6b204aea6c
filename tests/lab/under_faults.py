"""Faults on a node of a lab, the promises that chaos.yml counts, and that nothing is left behind."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.lab.labs import BIN, Lab, Run

__all__ = ["ad_hoc", "nothing_is_left", "promises_kept", "under"]

COUNTS = re.compile(r"(\d+) acknowledged writes, (\d+) lost; (\d+) operations on shared keys, (\d+) keys")
DENIED = re.compile(r"(\d+) tries of denied pairs, (\d+) connected")


def promises_kept(run: Run, *, denied_pairs: bool = True) -> None:
    """There was load, nothing of it was lost, nobody who is denied came through, and the wire was judged.

    ``denied_pairs``: the services of this lab try some.
    """
    print(run.output[run.output.index("Faults and what they cost:") :])
    (counts,) = COUNTS.findall(run.output)
    acknowledged, lost, operations, unexplained = map(int, counts)
    assert acknowledged > 100
    assert operations > 100
    assert (lost, unexplained) == (0, 0)
    ((tries, connected),) = DENIED.findall(run.output)
    assert (int(tries) > 10) is denied_pairs
    assert connected == "0"
    assert "PROVED" in run.output


def nothing_is_left(lab: Lab) -> None:
    """No fault, no watcher, no rule, no turn."""
    assert (lab.store / "procedure.json").read_text().strip() == ""
    for node in lab.nodes:
        assert lab.said(node, "sh", "-c", "ls /run/mesh-fault/*.undo").startswith("ls: cannot access")
        assert "mesh-fault" not in lab.on(node, "iptables", "-S")
        assert "mesh-fault" not in lab.on(node, "mount")
        assert lab.on(node, "ip", "rule").count("\n") == 3
        running = lab.on(
            node, "systemctl", "list-units", "--plain", "--no-legend", "mesh-chaos*", "mesh-fault*"
        )
        assert running.strip() == ""
        assert "No such file" in lab.said(node, "ls", "/run/mesh-chaos")
        assert "No such file" in lab.said(node, "ls", "/run/systemd/system/consul.service.d")


def ad_hoc(lab: Lab, node: str, **options: Any) -> dict[str, Any]:
    """The module mesh_fault on the node, as a person would call it."""
    words = ["-i", str(lab.inventory), node, "-m", "meshnode.lab.mesh_fault", "-a", json.dumps(options)]
    environment = {**lab.environment, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    done = subprocess.run(
        [str(BIN / "ansible"), *words],
        env=environment,
        cwd=lab.checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return answer


@contextmanager
def under(lab: Lab, fault: str, node: str, **options: Any) -> Iterator[None]:
    """The node has the fault; it has none afterwards."""
    wire = lab.checkout / "roles" / "mesh_chaos" / "files" / "wire.py"
    peers = [address for name, address in lab.nodes.items() if name != node]
    place = {"address": lab.nodes[node], "peers": peers, "script": wire.read_text(), "max_seconds": 300}
    assert ad_hoc(lab, node, fault=fault, **place, **options)["faults"] == [fault]
    try:
        yield
    finally:
        assert ad_hoc(lab, node, state="absent")["undone"] == [fault]
