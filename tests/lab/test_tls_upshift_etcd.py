"""RPC, HTTP and the log of a running mesh of three servers from clear to TLS and back: etcd's members change in turns.

The tests follow each other on one lab and are run in the order of this file: ``make day-two-test``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.day_two import inventory_says, no_lock_is_left, no_request_failed, stopped, table
from tests.lab.labs import Lab, private_copy

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2400)]

UPSHIFT = "playbooks/tls_upshift.yml"
BACK = ("-e", "tls_upshift_state=absent")
QUICK = ("-e", "tls_upshift_capture=false")
SERVERS = ("server1", "server2", "server3")
FIVE = (*SERVERS, "client1", "client2")
#: Seconds that a run may take: it restarts each of three members twice, and each of five agents twice.
LONG = 900


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    """Three servers and two clients with everything but gossip in clear."""
    lab = private_copy(checkout, "lab", "tlse1", "172.28.220", 18600)
    inventory_says(lab, mesh_tls_enabled=False)
    lab.fresh()
    lab.play()
    lab.on("client1", "consul", "kv", "put", "day-two", "kept")
    yield lab
    lab.down()


def etcd_of(lab: Lab, node: str, scheme: str, *words: str) -> str:
    """What etcdctl says there of the node's member, with its certificate where that is asked for."""
    ask = f"ETCDCTL_API=3 etcdctl --endpoints={scheme}://{lab.nodes[node]}:2379 --command-timeout=3s "
    if scheme == "https":
        ask += "--cacert=/etc/etcd/ssl/ca.cert --cert=/etc/etcd/ssl/etcd.cert --key=/etc/etcd/ssl/etcd.key "
    return lab.said(node, "sh", "-c", f"{ask} {' '.join(words)}")


def log_speaks(lab: Lab, scheme: str) -> None:
    """Every member is well and knows every other one by URLs with this scheme, the other one is answered by nobody."""
    other = {"http": "https", "https": "http"}[scheme]
    for node in SERVERS:
        assert "is healthy" in etcd_of(lab, node, scheme, "endpoint", "health")
        assert "is healthy" not in etcd_of(lab, node, other, "endpoint", "health")
        listed = json.loads(etcd_of(lab, node, scheme, "member", "list", "-w", "json"))["members"]
        assert {url for one in listed for url in one["peerURLs"]} == {
            f"{scheme}://{lab.nodes[server]}:2380" for server in SERVERS
        }
    assert lab.on("client1", "consul", "kv", "get", "day-two").strip() == "kept"


def running(lab: Lab) -> dict[str, str]:
    """The process of each agent, and of each member of etcd."""
    found = {node: lab.process(node) for node in FIVE}
    return found | {
        f"etcd of {node}": lab.on(node, "systemctl", "show", "etcd", "-p", "MainPID") for node in SERVERS
    }


def test_etcd_comes_to_speak_tls_without_a_failed_request(lab: Lab) -> None:
    log_speaks(lab, "http")
    run = lab.play(playbook=UPSHIFT, seconds=LONG)
    log_speaks(lab, "https")
    for sentence in (
        "3/3 members of etcd are healthy and speak TLS.",
        "5/5 answer nobody in clear, and nobody without a certificate.",
        "PROVED: everything on ports 2379, 2380, 8300, 10443 is encrypted",
    ):
        assert sentence in run.output
    assert table(run, "server2")[1:3] == ["clear", "required"]
    assert table(run, "server2")[-6:-3] == ["http", "->", "https"]
    assert table(run, "client1")[-4] == "-"
    no_request_failed(run)
    no_lock_is_left(lab)
    assert lab.printed_secrets(run) == []


def test_when_the_inventory_says_so_nothing_is_left_to_change(lab: Lab) -> None:
    inventory_says(lab, mesh_tls_enabled=True)
    assert lab.play().changed == dict.fromkeys(FIVE, 0)
    before = running(lab)
    run = lab.play(*QUICK, playbook=UPSHIFT, seconds=LONG)
    assert run.changed == dict.fromkeys(FIVE, 0)
    assert running(lab) == before
    no_request_failed(run)


def test_what_is_fixed_in_the_inventory_is_refused(lab: Lab) -> None:
    run = lab.play("-e", "mesh_etcd_tls_enabled=true", *BACK, playbook=UPSHIFT, fails=True)
    assert "server1: mesh_etcd_tls_enabled" in " ".join(run.output.split())
    no_lock_is_left(lab)


def test_no_member_is_restarted_while_another_one_is_away(lab: Lab) -> None:
    lab.on("server3", "systemctl", "stop", "etcd")
    run = lab.play(*QUICK, *BACK, playbook=UPSHIFT, fails=True)
    assert "2/3 members of etcd are healthy. that of server3 is not." in " ".join(run.output.split())
    lab.on("server3", "systemctl", "start", "etcd")
    assert run.changed == dict.fromkeys(FIVE, 0)


def test_the_way_back_broken_off_around_etcd_ends_in_clear(lab: Lab) -> None:
    for stop in ("etcd", "remove"):
        stopped(lab, stop, *QUICK, *BACK, playbook=UPSHIFT, seconds=LONG)
    run = lab.play(*BACK, playbook=UPSHIFT, seconds=LONG)
    log_speaks(lab, "http")
    assert table(run, "server1")[-6:-3] == ["http", "->", "http"]
    assert 'put "mesh_tls_enabled: false" into the inventory' in run.output
    no_request_failed(run)
    no_lock_is_left(lab)
    inventory_says(lab, mesh_tls_enabled=False)
    assert lab.play().changed == dict.fromkeys(FIVE, 0)


def test_a_run_that_turned_round_on_its_way_ends_where_the_last_one_says(lab: Lab) -> None:
    """Forth until etcd speaks TLS and the agents require it not yet, and then back."""
    for stop in ("offered", "require"):
        stopped(lab, stop, *QUICK, playbook=UPSHIFT, seconds=LONG)
    log_speaks(lab, "https")
    run = lab.play(*QUICK, *BACK, playbook=UPSHIFT, seconds=LONG)
    log_speaks(lab, "http")
    no_request_failed(run)
    assert lab.play().changed == dict.fromkeys(FIVE, 0)
