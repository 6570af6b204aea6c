"""The lab `federation`: two datacenters whose servers share a link, what is seen on it, and how both do without it.

The tests follow each other on one lab and are run in the order of this file.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.labs import MAX_REMOTE_CALLS, Lab, private_copy
from tests.support.programs import skip

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

SERVERS = ("dc1-server1", "dc2-server1")
CLIENTS = ("dc1-client1", "dc2-client1")
WAN_ADDRESS = "172.28.245.12"
WORD = "canaryonthelink1"
#: Can another address be reached from here: yes, or why not?
REACH = """
import socket, sys
with socket.socket() as tried:
    tried.settimeout(2)
    try:
        tried.connect((sys.argv[1], int(sys.argv[2])))
        print("yes")
    except OSError as error:
        print("no", error)
"""


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    """Its networks are 172.28.243 of dc1, 172.28.244 of dc2, and 172.28.245, the link."""
    made = private_copy(checkout, "federation", "fedtest", "172.28.243", 0)
    made.fresh()
    yield made
    made.down()


def store(lab: Lab, name: str) -> list[str]:
    """The gossip keys that the controller keeps under that name."""
    path = lab.inventory / ".secrets" / name / "gossip.json"
    return [entry["key"] for entry in json.loads(path.read_text())["keys"]]


def ring(lab: Lab, node: str, pool: str) -> list[str]:
    """The keys in a node's file, of the pool local or remote."""
    keys: list[str] = json.loads(lab.on(node, "cat", f"/var/lib/consul/serf/{pool}.keyring"))
    return keys


def until(what: str, true: Callable[[], bool], seconds: float = 60) -> None:
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    print(f"{what}: {time.monotonic() - begun:.1f} s")


def echoed(lab: Lab) -> bool:
    """Whether socat in dc2 answers web in dc1, through both sidecars."""
    said = lab.said("dc1-server1", "sh", "-c", "echo hello | timeout 5 nc -N 127.0.0.1 9191")
    return said == "hello\n"


def test_one_command_makes_two_datacenters_that_know_each_other(lab: Lab) -> None:
    run = lab.play("-vvv")
    for node in SERVERS + CLIENTS:
        assert 0 < run.remote_calls(f"{lab.name}-{node}") <= MAX_REMOTE_CALLS
        assert lab.alive(node) == {other for other in lab.nodes if other[:3] == node[:3]}
        assert set(lab.on(node, "consul", "catalog", "datacenters").split()) == {"dc1", "dc2"}
    shown = run.output.partition("\nMESH ***")[2]
    assert sorted(re.findall(r"^(\S+) +\w+ +(dc\d) +healthy ", shown, re.MULTILINE)) == sorted(
        (node, node[:3]) for node in lab.nodes
    )
    assert lab.printed_secrets(run) == []
    assert [key for name in ("dc2", "wan") for key in store(lab, name) if key in run.output] == []
    lab.play(playbook="playbooks/verify.yml")


def test_each_lan_has_a_key_of_its_own_and_only_servers_have_the_one_of_the_wan(lab: Lab) -> None:
    keys = {name: store(lab, name) for name in ("dc1", "dc2", "wan")}
    assert len({key for ring in keys.values() for key in ring}) == len(keys)
    for node in SERVERS + CLIENTS:
        assert ring(lab, node, "local") == keys[node[:3]]
    for node in SERVERS:
        assert ring(lab, node, "remote") == keys["wan"]
        said = lab.on(node, "stat", "-c", "%a %U", "/var/lib/consul/serf/remote.keyring")
        assert said.split() == ["600", "consul"]
    for node in CLIENTS:
        assert "No such file" in lab.said(node, "ls", "/var/lib/consul/serf/remote.keyring")


def test_only_servers_are_on_the_link(lab: Lab) -> None:
    def reaches(node: str, address: str, port: int) -> str:
        return lab.on(node, "python3", "-c", REACH, address, str(port)).split()[0]

    assert reaches("dc1-server1", WAN_ADDRESS, 8300) == "yes"
    assert reaches("dc1-client1", WAN_ADDRESS, 8300) == "no"
    for node, other in (("dc1-client1", "dc2-client1"), ("dc2-server1", "dc1-client1")):
        assert reaches(node, lab.nodes[other], 8301) == "no"


def test_a_service_talks_to_one_of_the_other_datacenter(lab: Lab) -> None:
    assert echoed(lab)
    rows = json.loads(lab.on("dc2-server1", "curl", "-s", "127.0.0.1:8500/v1/agent/connect/ca/leaf/socat"))
    assert rows["ServiceURI"].endswith("/ns/default/dc/dc2/svc/socat")
    lab.on("dc1-client1", "consul", "kv", "put", "-datacenter=dc2", "color", "green")
    assert lab.on("dc2-client1", "consul", "kv", "get", "color") == "green\n"


def capture(lab: Lab, *words: str) -> str:
    """What the playbook said, in one line."""
    given = ("-e", f"mesh_capture_artifacts={artifacts(lab)}", "-e", "mesh_capture_seconds=2", *words)
    return " ".join(lab.play(*given, playbook="playbooks/capture.yml").output.split())


def test_a_capture_proves_the_link_encrypted(lab: Lab) -> None:
    if os.geteuid() != 0:
        skip("bridge")
    output = capture(lab, "-e", "mesh_capture_where=bridge", "-e", f"mesh_capture_canary={WORD}")
    assert (
        "everything on ports 8300, 8302, 21000 is encrypted, and 1 canary planted can be read nowhere"
        in output
    )
    assert [key for name in ("dc1", "dc2", "wan") for key in store(lab, name) if key in output] == []
    verdicts = {
        one["port"]: one for one in json.loads((artifacts(lab) / "verdict.json").read_text())["verdicts"]
    }
    gossip = verdicts[8302]["flows"]
    assert {flow["level"] for flow in gossip} == {"encrypted and authenticated"}
    # To a port and from it over TCP; datagrams are between two.
    assert {flow["direction"] for flow in gossip} == {"to", "from", "between"}
    assert verdicts[8301]["judgement"] == verdicts[10443]["judgement"] == "silent"


def test_the_keys_of_the_lans_do_not_open_what_servers_say_over_the_wan(lab: Lab) -> None:
    if os.geteuid() != 0:
        skip("bridge")
    judged = {name: judge(lab, store(lab, name)) for name in ("dc1", "dc2", "wan")}
    assert {name: done.returncode for name, done in judged.items()} == {"dc1": 2, "dc2": 2, "wan": 0}


def artifacts(lab: Lab) -> Path:
    return lab.checkout / "artifacts" / lab.name


def judge(lab: Lab, keys: list[str]) -> subprocess.CompletedProcess[str]:
    """The last capture of the link, judged with these keys; they are read from a pipe."""
    command = [sys.executable, "-m", "meshnode", "prove", "-no-control", "-ports=8302", "-gossip-keyring=-"]
    return subprocess.run(
        [*command, f"-canary={WORD}", str(artifacts(lab) / "bridge.pcap")],
        input=json.dumps(keys), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_every_network_of_every_node_is_proved_too(lab: Lab) -> None:
    assert "everything on ports 8300, 8301, 8302, 10443, 21000 is encrypted" in capture(lab)


def link(lab: Lab, *words: str) -> None:
    subprocess.run(
        ["docker", "network", *words, f"{lab.name}-wan", f"{lab.name}-dc2-server1"],
        check=True,
        capture_output=True,
    )


def test_a_datacenter_that_is_cut_off_goes_on_and_catches_up(lab: Lab) -> None:
    link(lab, "disconnect")
    try:
        for client in CLIENTS:
            lab.on(client, "consul", "kv", "put", "cut/off", client)
            assert lab.on(client, "consul", "kv", "get", "cut/off") == f"{client}\n"
            assert lab.alive(client) == {other for other in lab.nodes if other[:3] == client[:3]}
        assert "Unexpected response code: 500" in lab.said(
            "dc1-client1", "consul", "kv", "get", "-datacenter=dc2", "cut/off"
        )
        assert not echoed(lab)
        # Said in the primary; the other one decides by what it knew.
        lab.on("dc1-client1", "consul", "intention", "create", "-deny", "-replace", "web", "socat")
        assert "Allowed" in lab.said("dc2-client1", "consul", "intention", "check", "web", "socat")
    finally:
        link(lab, "connect", "--ip", WAN_ADDRESS)
    # Gossip looks for servers that failed every 30 seconds.
    far = ("consul", "kv", "get", "-datacenter=dc2", "cut/off")
    until("a read in the other datacenter", lambda: lab.said("dc1-client1", *far) == "dc2-client1\n")
    check = ("consul", "intention", "check", "web", "socat")
    until("the intention is there", lambda: lab.said("dc2-client1", *check) == "Denied\n")
    until("the sidecar refuses", lambda: not echoed(lab))


def test_a_run_puts_back_what_was_changed_and_the_next_one_changes_nothing(lab: Lab) -> None:
    lab.on("dc2-server1", "rm", "/var/lib/consul/serf/remote.keyring")
    run = lab.play("--diff")
    # The intention that was said by hand, and the keyring.
    assert {name: count for name, count in run.changed.items() if count} == {
        "dc1-client1": 1,
        "dc2-server1": 1,
    }
    assert ring(lab, "dc2-server1", "remote") == store(lab, "wan")
    assert store(lab, "wan")[0] not in run.output
    until("the service answers", lambda: echoed(lab))
    assert lab.play().changed_everywhere == dict.fromkeys([*lab.nodes, "localhost"], 0)
