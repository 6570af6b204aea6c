"""What the tests of procedures on a running mesh look at."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tests.lab.labs import Lab, Run, private_copy
from tests.lab.quickstart import NODES

__all__ = [
    "BACK",
    "CA",
    "ENCRYPT",
    "NODES",
    "ROTATE",
    "fresh_mesh",
    "keys",
    "no_lock_is_left",
    "no_request_failed",
    "one_new_key",
    "phases",
    "processes",
    "stopped",
    "table",
    "told",
    "trusted",
]

ROTATE, ENCRYPT, CA = (f"playbooks/{name}.yml" for name in ("gossip_rotate", "gossip_encrypt", "ca_rotate"))
BACK = ("-e", "gossip_encrypt_state=absent")
PROBES = re.compile(r"^\s+([\w-]+)\s+(http|tcp|new tcp|kv) .*?\s+(\d+)\s+(\d+) failed\s", re.MULTILINE)


def fresh_mesh(checkout: Path, name: str, network: str, port: int) -> Iterator[Lab]:
    """A quickstart of its own, made by site.yml and taken down at the end."""
    lab = private_copy(checkout, "quickstart", name, network, port)
    lab.fresh()
    lab.play()
    yield lab
    lab.down()


def told(lab: Lab, node: str) -> dict[str, Any]:
    """What the node's agent says of itself."""
    said: dict[str, Any] = json.loads(lab.on(node, "curl", "-s", "http://127.0.0.1:8500/v1/agent/self"))
    return said


def keys(lab: Lab) -> dict[str, list[str]]:
    """Fingerprints of each node's keys, the primary first."""
    return {node: told(lab, node)["Meshnode"]["GossipKeyFingerprints"] for node in NODES}


def one_new_key(lab: Lab, before: dict[str, list[str]]) -> None:
    """Every node has the same key and no other, which is not the one of before."""
    found = {tuple(of_node) for of_node in keys(lab).values()}
    assert len(found) == 1
    assert len(next(iter(found))) == 1
    assert found != {tuple(of_node) for of_node in before.values()}


def phases(lab: Lab) -> set[tuple[bool, bool, bool]]:
    """Of all nodes: has a key, refuses clear, sends sealed."""
    found = set()
    for node in NODES:
        said = told(lab, node)
        gossip = said["DebugConfig"]["gossip"]
        has_key = bool(said["Meshnode"]["GossipKeyFingerprints"])
        found.add((has_key, gossip["verify_incoming"], gossip["verify_outgoing"]))
    return found


def processes(lab: Lab) -> dict[str, str]:
    """The process of each agent."""
    return {node: lab.process(node) for node in NODES}


def stopped(lab: Lab, stop: str, *words: str, playbook: str, seconds: float = 250) -> None:
    """Break the procedure off at that phase."""
    stop_at = ("-e", f"mesh_procedure_stop_at={stop}")
    run = lab.play(*stop_at, *words, playbook=playbook, fails=True, seconds=seconds)
    assert f"stopped at {stop}" in run.output


def table(run: Run, node: str) -> list[str]:
    """The node's row of the table of before and after."""
    lines = run.output.partition("Before and after:")[2].splitlines()
    return next(line.split() for line in lines if line.split()[:1] == [node])


def trusted(lab: Lab) -> set[str]:
    """How many certificates each node trusts."""
    return {
        lab.on(node, "grep", "-c", "BEGIN CERTIFICATE", "/etc/consul.d/ssl/ca.cert").strip() for node in NODES
    }


def no_request_failed(run: Run, kinds: Collection[str] = ("http", "tcp", "kv")) -> None:
    """The table of the probes is there, has requests of each of ``kinds``, and not one that failed."""
    rows = PROBES.findall(run.output)
    assert {kind for _node, kind, *_ in rows} == set(kinds), run.output[-4000:]
    assert all(int(requests) > 0 and failed == "0" for *_, requests, failed in rows), rows


def no_lock_is_left(lab: Lab) -> None:
    """Nobody's turn, and no probe."""
    assert (lab.store / "procedure.json").read_text().strip() == ""
    for node in lab.nodes:
        assert lab.said(node, "systemctl", "is-active", "mesh-probe").strip() == "inactive"
        assert "No such file" in lab.said(node, "ls", "/run/mesh-probe")
