"""RPC and HTTP of a running mesh from clear to TLS and back, and a new CA where the old one has expired.

The tests follow each other on one lab and are run in the order of this file: ``make day-two-test``.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshnode.pki.authority import Authority, authority_name
from meshnode.pki.leaf import node_profile
from tests.lab.day_two import (
    CA,
    NODES,
    SSL,
    curl,
    doors,
    inventory_says,
    no_lock_is_left,
    no_request_failed,
    processes,
    required,
    stopped,
    table,
    trusted,
)
from tests.lab.labs import Lab, private_copy

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

UPSHIFT = "playbooks/tls_upshift.yml"
BACK = ("-e", "tls_upshift_state=absent")
QUICK = ("-e", "tls_upshift_capture=false")
#: More than a certificate lives: a year, which ended a week ago.
LONG_AGO = timedelta(days=372)


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    """The quickstart with RPC and HTTP in clear; gossip is sealed, as that is another procedure."""
    lab = private_copy(checkout, "quickstart", "tlsup", "172.28.210", 18460)
    inventory_says(lab, mesh_tls_enabled=False)
    lab.fresh()
    lab.play()
    yield lab
    lab.down()


def in_clear(lab: Lab) -> None:
    """Nobody offers TLS, which curl sees, too."""
    assert doors(lab, "server1", way="in clear") == {"server rpc", "http"}
    for node, address in lab.nodes.items():
        assert doors(lab, node, way="mutual TLS") == set()
        assert curl(lab, f"http://{address}:8500/v1/status/leader") == "200"


def test_a_mesh_in_clear_comes_to_require_tls_without_a_failed_request(lab: Lab) -> None:
    in_clear(lab)
    (lab.inventory / "host_vars" / "server1.yml").write_text("mesh_http_enabled: false\n")
    run = lab.play(playbook=UPSHIFT)
    required(lab)
    for sentence in (
        "4/4 ports present a certificate of CN=meshnode CA dc1 g1.",
        "3/3 answer with TLS.",
        "3/3 answer nobody in clear, and nobody without a certificate.",
        "PROVED: everything on ports 8300, 10443 is encrypted",
        'put "mesh_tls_enabled: true" into the inventory',
    ):
        assert sentence in run.output
    assert table(run, "server1")[1:3] == ["clear", "required"]
    assert table(run, "server1")[-3:] == ["network", "->", "off"]
    assert table(run, "client1")[-3:] == ["network", "->", "node"]
    no_request_failed(run)
    no_lock_is_left(lab)
    assert lab.printed_secrets(run) == []


def test_when_the_inventory_says_so_there_is_nothing_left_to_change(lab: Lab) -> None:
    inventory_says(lab, mesh_tls_enabled=True)
    assert lab.play().changed == dict.fromkeys(NODES, 0)
    running = processes(lab)
    run = lab.play(*QUICK, playbook=UPSHIFT)
    assert run.changed == dict.fromkeys(NODES, 0)
    assert processes(lab) == running
    assert "into the inventory" not in run.output
    no_request_failed(run)


def test_without_tls_and_without_http_nothing_could_be_asked(lab: Lab) -> None:
    run = lab.play(*BACK, playbook=UPSHIFT, fails=True)
    assert "mesh_http_enabled is false in the inventory" in " ".join(run.output.split())
    (lab.inventory / "host_vars" / "server1.yml").unlink()
    lab.play()
    required(lab)


@pytest.mark.parametrize(("words", "refusal"), [
    (("--limit", "client1"), "Run this without --limit"),
    (("-e", "tls_upshift_state=later"), "tls_upshift_state is later: write present or absent"),
    (("-e", "mesh_etcd_tls_enabled=false"), "server1: mesh_etcd_tls_enabled: is in the inventory"),
    (("-e", "mesh_node_verify_incoming=false"), "server1: mesh_node_verify_incoming"),
])  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_changed(
    lab: Lab, words: tuple[str, ...], refusal: str
) -> None:
    run = lab.play(*words, playbook=UPSHIFT, fails=True)
    assert refusal in " ".join(run.output.split())
    no_lock_is_left(lab)


def test_a_node_that_is_away_is_named_and_nothing_is_changed(lab: Lab) -> None:
    lab.on("client2", "systemctl", "stop", "consul")
    run = lab.play("-e", "mesh_probe_enabled=false", *BACK, playbook=UPSHIFT, fails=True)
    assert "2/3 answer. client2 does not answer." in " ".join(run.output.split())
    lab.on("client2", "systemctl", "start", "consul")
    assert run.changed == dict.fromkeys(NODES, 0)


def test_the_way_back_broken_off_at_every_phase_ends_in_clear(lab: Lab) -> None:
    for stop in ("accept", "accepted", "clear", "cleared", "remove", "removed"):
        stopped(lab, stop, *BACK, playbook=UPSHIFT)
    run = lab.play(*BACK, playbook=UPSHIFT)
    in_clear(lab)
    assert 'put "mesh_tls_enabled: false" into the inventory' in run.output
    no_request_failed(run)
    no_lock_is_left(lab)


def test_the_way_forth_broken_off_at_every_phase_ends_with_tls_required(lab: Lab) -> None:
    for stop in ("offer", "offered", "speak", "spoken", "require", "required"):
        stopped(lab, stop, *QUICK, playbook=UPSHIFT)
    run = lab.play(*QUICK, playbook=UPSHIFT)
    required(lab)
    no_request_failed(run)
    no_lock_is_left(lab)
    assert lab.play().changed == dict.fromkeys(NODES, 0)


def test_a_run_that_is_killed_between_restarts_is_finished_by_the_next(lab: Lab) -> None:
    lab.play(*QUICK, *BACK, playbook=UPSHIFT)
    with subprocess.Popen(
        lab.command(*QUICK, playbook=UPSHIFT),
        env=lab.environment, cwd=lab.checkout, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        next(line for line in process.stdout if "Third step, require TLS" in line)
        next(line for line in process.stdout if "] Restart clients in turns" in line)
        process.send_signal(signal.SIGKILL)
    run = lab.play(*QUICK, playbook=UPSHIFT)
    required(lab)
    no_request_failed(run)
    no_lock_is_left(lab)


def grow_old(lab: Lab) -> None:
    """Time passes: the CA, and every certificate of it, is a year old and ended a week ago."""
    at = datetime.now(UTC) - LONG_AGO
    ours = lab.store / "ca" / "1"
    old = Authority.parse((ours / "ca.crt").read_text(), (ours / "ca.key").read_text())
    past = Authority.create(authority_name("dc1", 1), at=at, entropy=os.urandom, days=365, key=old.key)
    (ours / "ca.crt").write_text(past.certificate_pem)
    for node, address in lab.nodes.items():
        request = ("openssl", "req", "-new", "-key", f"{SSL}/consul.key", "-subj", f"/CN={node}")
        profile = node_profile(
            "server" if node == "server1" else "client", datacenter="dc1", node=node, ip=[address], days=365
        )
        pem = past.sign(lab.on(node, *request), profile, at=at, entropy=os.urandom)
        for name, text in (("ca.cert", past.certificate_pem), ("consul.cert", pem)):
            lab.on(node, "sh", "-c", f"cat > {SSL}/{name} <<'END'\n{text}END\n")
    for node in NODES:
        lab.said(node, "systemctl", "restart", "consul")


def test_a_ca_that_expired_last_week_is_replaced_where_no_agent_comes_up(lab: Lab) -> None:
    grow_old(lab)
    for node in NODES:
        journal = lab.on(node, "journalctl", "--unit=consul", "--no-pager", "--lines=40")
        assert f"cert_file: {SSL}/consul.cert expired on" in journal
        assert "refused" in lab.said(node, "consul", "members")
    run = lab.play(playbook=CA)
    output = " ".join(run.output.split())
    assert "CN=meshnode CA dc1 g1, ends at" in output
    assert "Nothing is probed on server1, client1, client2" in output
    assert run.output.count("4/4 ports present a certificate of CN=meshnode CA dc1 g2") == 3
    assert "no handshake" in run.output.partition("Before and after:")[2]
    assert lab.on("client1", "consul", "kv", "put", "day-two", "well").strip().startswith("Success")
    assert trusted(lab) == {"1"}
    no_lock_is_left(lab)
    required(lab)
    assert lab.play().changed == dict.fromkeys(NODES, 0)


def test_the_next_rotation_is_an_ordinary_one_under_probes(lab: Lab) -> None:
    run = lab.play(playbook=CA)
    assert "Nothing is probed" not in run.output
    no_request_failed(run)
    assert trusted(lab) == {"1"}
