"""What the tests of procedures on a running mesh look at."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tests.lab.labs import Lab, Run, private_copy, until
from tests.lab.quickstart import NODES

__all__ = [
    "BACK",
    "CA",
    "ENCRYPT",
    "NODES",
    "ROTATE",
    "SSL",
    "backed_up_and_restored",
    "catalog",
    "curl",
    "doors",
    "fresh_mesh",
    "inventory_says",
    "keys",
    "listed",
    "lose",
    "no_lock_is_left",
    "no_request_failed",
    "one_new_key",
    "phases",
    "processes",
    "required",
    "stopped",
    "table",
    "told",
    "trusted",
    "voters",
]

ROTATE, ENCRYPT, CA = (f"playbooks/{name}.yml" for name in ("gossip_rotate", "gossip_encrypt", "ca_rotate"))
SSL = "/etc/consul.d/ssl"
BACK = ("-e", "gossip_encrypt_state=absent")
PROBES = re.compile(r"^\s+([\w-]+)\s+(http|tcp|new tcp|kv) .*?\s+(\d+)\s+(\d+) failed\s", re.MULTILINE)


def fresh_mesh(checkout: Path, name: str, network: str, port: int) -> Iterator[Lab]:
    """A quickstart of its own, made by site.yml and taken down at the end."""
    lab = private_copy(checkout, "quickstart", name, network, port)
    lab.fresh()
    lab.play()
    yield lab
    lab.down()


def inventory_says(lab: Lab, **variables: object) -> None:
    """What the user writes into the inventory of all nodes."""
    lab.write("group_vars/mesh.yml", {**lab.read("group_vars/mesh.yml"), **variables})


def listed(lab: Lab, group: str, node: str, number: int | None) -> None:
    """Have the node in the inventory, or not in it."""
    hosts = lab.read("hosts.yml")
    of_group = hosts["all"]["children"]["mesh"]["children"][group]["hosts"]
    of_group.pop(node, None)
    if number is not None:
        address = f"{lab.network}.{number}"
        by_ssh = lab.read("group_vars/mesh.yml")["ansible_connection"] == "ssh"
        host = address if by_ssh else f"{lab.name}-{node}"
        of_group[node] = {"ansible_host": host, "mesh_address": address}
    lab.write("hosts.yml", hosts)


def lose(lab: Lab, node: str) -> None:
    """The machine and its disk; the others have noticed it."""
    subprocess.run(["docker", "rm", "--force", f"{lab.name}-{node}"], check=True, capture_output=True)
    others = [name for name in lab.nodes if name != node]
    until(f"{node} is missed", lambda: all(node not in lab.alive(other) for other in others), 60)


def told(lab: Lab, node: str) -> dict[str, Any]:
    """What the node's agent says of itself."""
    said: dict[str, Any] = json.loads(lab.on(node, "curl", "-s", "http://127.0.0.1:8500/v1/agent/self"))
    return said


def keys(lab: Lab) -> dict[str, list[str]]:
    """Fingerprints of each node's keys, the primary first."""
    return {node: told(lab, node)["Meshnode"]["GossipKeyFingerprints"] for node in lab.nodes}


def one_new_key(lab: Lab, before: dict[str, list[str]]) -> None:
    """Every node has the same key and no other, which is not the one of before."""
    found = {tuple(of_node) for of_node in keys(lab).values()}
    assert len(found) == 1
    assert len(next(iter(found))) == 1
    assert found != {tuple(of_node) for of_node in before.values()}


def phases(lab: Lab) -> set[tuple[bool, bool, bool]]:
    """Of all nodes: has a key, refuses clear, sends sealed."""
    found = set()
    for node in lab.nodes:
        said = told(lab, node)
        gossip = said["DebugConfig"]["gossip"]
        has_key = bool(said["Meshnode"]["GossipKeyFingerprints"])
        found.add((has_key, gossip["verify_incoming"], gossip["verify_outgoing"]))
    return found


def processes(lab: Lab) -> dict[str, str]:
    """The process of each agent."""
    return {node: lab.process(node) for node in lab.nodes}


def catalog(lab: Lab) -> set[str]:
    """The names that the catalog has."""
    return {line.split()[0] for line in lab.on("client1", "consul", "catalog", "nodes").splitlines()[1:]}


def voters(lab: Lab, node: str = "server1") -> set[str]:
    """Who votes in etcd, and has run, as this node's etcd says."""
    ask = (
        f"cd /etc/etcd/ssl && ETCDCTL_API=3 etcdctl --endpoints=https://{lab.nodes[node]}:2379 --cacert=ca.cert "
        "--cert=etcd.cert --key=etcd.key member list --write-out=json"
    )
    members = json.loads(lab.on(node, "sh", "-c", ask))["members"]
    return {one["name"] for one in members if one.get("clientURLs") and not one.get("isLearner")}


def curl(lab: Lab, url: str, *words: str) -> str:
    """The status that client1 gets; 000 where nobody answers."""
    return lab.said("client1", "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", *words, url).strip()


def doors(lab: Lab, node: str, *, way: str) -> set[str]:
    """Which of the node's doors answer on the network to somebody who comes that way, as its own command sees it."""
    command = ("/opt/meshnode/current/bin/meshnode", "exposure", "-observe", "-json", "/etc/consul.d")
    found = json.loads(lab.on(node, *command))
    assert found["differences"] == []
    return {
        one["door"]
        for one in found["doors"]
        if one["from"] == "outside" and one["way"] == way and one["seen"] == "answered"
    } - {"dns"}


def required(lab: Lab) -> None:
    """Nobody is answered without a certificate, and every agent calls with TLS; curl agrees."""
    assert doors(lab, "server1", way="mutual TLS") == {"server rpc", "https"}
    for node, address in lab.nodes.items():
        assert doors(lab, node, way="in clear") | doors(lab, node, way="TLS") == set()
        assert curl(lab, f"http://{address}:8500/v1/status/leader") == "000"
        assert curl(lab, f"https://{address}:10443/v1/status/leader") == "000"
        own = ("--cacert", f"{SSL}/ca.cert", "--cert", f"{SSL}/consul.cert", "--key", f"{SSL}/consul.key")
        assert curl(lab, f"https://{address}:10443/v1/status/leader", *own) == "200"
    for node in ("client1", "client2"):
        tls = told(lab, node)["DebugConfig"]["tls"]
        assert (tls["verify_outgoing"], tls["verify_incoming_rpc"]) == (True, True)


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
    return {lab.on(node, "grep", "-c", "BEGIN CERTIFICATE", f"{SSL}/ca.cert").strip() for node in lab.nodes}


def no_request_failed(run: Run, kinds: Collection[str] = ("http", "tcp", "kv")) -> None:
    """The table of the probes is there, has requests of each of ``kinds``, and not one that failed."""
    rows = PROBES.findall(run.output)
    assert {kind for _node, kind, *_ in rows} == set(kinds), run.output[-4000:]
    assert all(int(requests) > 0 and failed == "0" for *_, requests, failed in rows), rows


def no_lock_is_left(lab: Lab) -> None:
    """Nobody's turn, and no probe."""
    assert (lab.store / "procedure.json").read_text().strip() == ""
    for node in lab.nodes:
        said = lab.said(node, "systemctl", "is-active", "mesh-probe").strip()
        if "No such container" in said:  # It has left: the inventory has it still.
            continue
        assert said == "inactive"
        assert "No such file" in lab.said(node, "ls", "/run/mesh-probe")


def backed_up_and_restored(lab: Lab) -> None:
    """A key written after the backup is gone; the secrets are this controller's, and only its owner reads them."""
    lab.on("client1", "consul", "kv", "put", "day-two", "before")
    lab.play(playbook="playbooks/backup.yml")
    (folder,) = (lab.inventory / ".backups" / "dc1").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "state.snap").stat().st_mode & 0o777 == 0o600
    assert (folder / "secrets" / "gossip.json").read_text() == (lab.store / "gossip.json").read_text()
    lab.on("client1", "consul", "kv", "put", "day-two", "after")
    lab.play("-e", f"mesh_backup={folder}", playbook="playbooks/restore.yml")
    assert lab.on("client1", "consul", "kv", "get", "day-two").strip() == "before"
    no_lock_is_left(lab)
