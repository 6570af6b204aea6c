"""Day two on the lab `federation`: no request fails, neither over the link, and each pool has its own key.

The tests follow each other on one lab and are run in the order of this file: ``make federation-test``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.day_two import CA, ROTATE, no_lock_is_left, no_request_failed, told
from tests.lab.labs import Lab, Run, private_copy, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

POOLS = {
    "dc1": ("dc1-server1", "dc1-client1"),
    "dc2": ("dc2-server1", "dc2-client1"),
    "wan": ("dc1-server1", "dc2-server1"),
}
#: What the inventory probes: one connection through both sidecars, new ones, and keys here and in the other datacenter.
KINDS = ("tcp", "new tcp", "kv")
ROLL = "playbooks/roll.yml"
#: There is one server in each datacenter: keys wait for it while it restarts, as long as this machine takes for that.
PATIENCE = ("-e", "mesh_probe_kv_patience=60")
SIDECARS = {"dc1-server1": "mesh-sidecar-web", "dc2-server1": "mesh-sidecar-socat"}


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    """Its networks are 172.28.224 of dc1, 172.28.225 of dc2, and 172.28.226, the link."""
    made = private_copy(checkout, "federation", "feddtest", "172.28.224", 0)
    made.fresh()
    play(made)
    yield made
    made.down()


def play(lab: Lab, *words: str, playbook: str = "site.yml", fails: bool = False) -> Run:
    """As :meth:`Lab.play`; four nodes on a busy machine need minutes for a new CA."""
    return lab.play(*words, playbook=playbook, fails=fails, seconds=600)


def pool(name: str) -> tuple[str, str]:
    return "-e", f"gossip_rotate_pool={name}"


def keys(lab: Lab) -> dict[str, dict[str, list[str]]]:
    """Fingerprints of each pool's keys, by node, the primary first."""
    fields = {
        "dc1": "GossipKeyFingerprints",
        "dc2": "GossipKeyFingerprints",
        "wan": "WanGossipKeyFingerprints",
    }
    return {
        name: {node: told(lab, node)["Meshnode"][fields[name]] for node in nodes}
        for name, nodes in POOLS.items()
    }


def stored(lab: Lab) -> list[str]:
    """Every gossip key of the controller's store."""
    paths = (lab.inventory / ".secrets" / name / "gossip.json" for name in POOLS)
    return [entry["key"] for path in paths for entry in json.loads(path.read_text())["keys"]]


def processes(lab: Lab) -> dict[str, str]:
    return {node: lab.process(node) for node in lab.nodes}


def sidecars(lab: Lab) -> list[str]:
    return [
        lab.on(node, "systemctl", "show", unit, "-p", "MainPID").strip() for node, unit in SIDECARS.items()
    ]


def echoed(lab: Lab) -> bool:
    """Whether socat in dc2 answers web in dc1 over a new connection, through both sidecars."""
    said = lab.said("dc1-server1", "sh", "-c", "echo hello | timeout 5 nc -N 127.0.0.1 9191")
    return said == "hello\n"


def ended_well(lab: Lab, output: str) -> None:
    """Both datacenters know each other, nothing is under way, and no key was shown."""
    for node in lab.nodes:
        assert set(lab.on(node, "consul", "catalog", "datacenters").split()) == {"dc1", "dc2"}
    no_lock_is_left(lab)
    assert [key[:6] for key in stored(lab) if key in output] == []


def test_a_rotation_has_to_say_which_key(lab: Lab) -> None:
    before = keys(lab)
    output = " ".join(play(lab, playbook=ROTATE, fails=True).output.split())
    assert "say -e gossip_rotate_pool=dc1 or dc2 or wan" in output
    assert keys(lab) == before
    assert not (lab.store / "procedure.json").exists()


@pytest.mark.parametrize("name", POOLS)
def test_one_pool_gets_a_new_key_and_the_others_keep_theirs(lab: Lab, name: str) -> None:
    before, running = keys(lab), processes(lab)
    run = play(lab, *pool(name), playbook=ROTATE)
    after = keys(lab)
    (new,) = {tuple(found) for found in after[name].values()}
    assert len(new) == 1
    assert [*new] not in before[name].values()
    assert {other: after[other] for other in POOLS if other != name} == {
        other: before[other] for other in POOLS if other != name
    }
    assert run.output.count(f"2/2 have the key {new[0]}") == 2
    assert run.output.count(f"2/2 seal with the key {new[0]}") == 2
    assert processes(lab) == running
    no_request_failed(run, KINDS)
    ended_well(lab, run.output)


def test_a_rotation_that_was_broken_off_is_finished_before_that_of_another_key(lab: Lab) -> None:
    before = keys(lab)
    words = ("-e", "mesh_procedure_stop_at=used")
    assert "stopped at used" in play(lab, *pool("wan"), *words, playbook=ROTATE, fails=True).output
    output = " ".join(play(lab, *pool("dc2"), playbook=ROTATE, fails=True).output.split())
    assert "The rotation of wan was broken off: run this with -e gossip_rotate_pool=wan" in output
    run = play(lab, *pool("wan"), playbook=ROTATE)
    after = keys(lab)
    assert after["dc2"] == before["dc2"]
    assert {len(found) for found in after["wan"].values()} == {1}
    assert after["wan"] != before["wan"]
    no_request_failed(run, KINDS)
    ended_well(lab, run.output)


def test_after_the_rotations_there_is_nothing_left_to_change_and_the_keys_survive_a_restart(lab: Lab) -> None:
    assert play(lab).changed == dict.fromkeys(lab.nodes, 0)
    before = keys(lab)
    lab.on("dc2-server1", "systemctl", "restart", "consul")
    until("it is back", lambda: "dc1" in lab.said("dc2-server1", "consul", "catalog", "datacenters"))
    assert keys(lab) == before


def test_a_new_ca_of_both_takes_over_without_a_restart(lab: Lab) -> None:
    running = processes(lab)
    run = play(lab, playbook=CA)
    assert run.output.count("6/6 ports present a certificate of CN=meshnode CA dc1 g2") == 2
    assert processes(lab) == running
    no_request_failed(run, KINDS)
    ended_well(lab, run.output)


def roots(lab: Lab, node: str) -> set[str]:
    answer = json.loads(lab.on(node, "curl", "-s", "http://127.0.0.1:8500/v1/connect/ca/roots"))
    return {root["ID"] for root in answer["Roots"]}


def chain(lab: Lab) -> list[str]:
    """The certificates that socat in dc2 shows: its leaf, and what signed it."""
    answer = json.loads(lab.on("dc2-server1", "curl", "-s", "127.0.0.1:8500/v1/agent/connect/ca/leaf/socat"))
    return re.findall(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", answer["CertPEM"])


def test_a_new_root_of_connect_reaches_the_secondary_and_calls_go_on(lab: Lab) -> None:
    before, leaf = roots(lab, "dc1-client1"), chain(lab)
    run = play(lab, playbook="playbooks/connect_ca_rotate.yml")
    after = roots(lab, "dc1-client1")
    assert roots(lab, "dc2-client1") == after
    assert len(after) == 1
    assert before & after == set()
    assert re.search(r"datacenter dc2 trusts\s", run.output)
    # The leaf comes with its datacenter's intermediate, and both are new.
    assert len(chain(lab)) >= 2
    assert set(chain(lab)) & set(leaf) == set()
    assert echoed(lab)
    no_request_failed(run, KINDS)
    ended_well(lab, run.output)


def test_a_setting_is_rolled_out_in_one_datacenter_and_then_in_the_other(lab: Lab) -> None:
    before, words = processes(lab), ("-e", "mesh_node_log_level=debug", *PATIENCE)
    run = play(lab, *words, "--limit", "dc2,localhost", playbook=ROLL)
    half = processes(lab)
    assert {node for node in lab.nodes if half[node] != before[node]} == set(POOLS["dc2"])
    no_lock_is_left(lab)
    assert "0 failed" in run.output
    run = play(lab, *words, playbook=ROLL)
    assert {node for node in lab.nodes if processes(lab)[node] != half[node]} == set(POOLS["dc1"])
    no_request_failed(run, KINDS)
    ended_well(lab, run.output)


def test_a_new_package_is_rolled_out_under_sidecars_that_run_on_until_they_are_restarted(lab: Lab) -> None:
    main = lab.checkout / "meshnode" / "__main__.py"
    main.write_text(main.read_text() + "# another package\n")
    before, proxies = processes(lab), sidecars(lab)
    run = play(lab, *PATIENCE, playbook=ROLL)
    assert all(process != before[node] for node, process in processes(lab).items())
    assert sidecars(lab) == proxies
    assert "run on with the package of before" in run.output
    no_request_failed(run, KINDS)
    ended_well(lab, run.output)
    play(lab)
    assert all(process not in proxies for process in sidecars(lab))
    until("the service answers", lambda: echoed(lab))
    assert play(lab).changed == dict.fromkeys(lab.nodes, 0)


def color(lab: Lab) -> list[str]:
    return [lab.on(f"{name}-client1", "consul", "kv", "get", "color").strip() for name in ("dc1", "dc2")]


def paint(lab: Lab, *colors: str) -> None:
    for name, value in zip(("dc1", "dc2"), colors, strict=True):
        lab.on(f"{name}-client1", "consul", "kv", "put", "color", value)


def test_a_backup_has_the_state_of_each_datacenter_and_brings_back_both_or_one(lab: Lab) -> None:
    paint(lab, "red", "blue")
    play(lab, playbook="playbooks/backup.yml")
    (folder,) = (lab.inventory / ".backups" / "dc1").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["secrets", "state-dc1.snap", "state-dc2.snap"]
    assert sorted(path.name for path in (folder / "secrets").iterdir()) == ["dc1", "dc2", "wan"]
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*.snap")} == {0o600}
    restore = ("-e", f"mesh_backup={folder}")
    paint(lab, "green", "green")
    play(lab, *restore, "--limit", "dc2_servers", playbook="playbooks/restore.yml")
    assert color(lab) == ["green", "blue"]
    # A root that came after the backup is gone with it; both have the same one again.
    play(lab, playbook="playbooks/connect_ca_rotate.yml")
    play(lab, *restore, playbook="playbooks/restore.yml")
    assert color(lab) == ["red", "blue"]
    until("both have one root", lambda: roots(lab, "dc1-client1") == roots(lab, "dc2-client1"))
    until("a call from one to the other", lambda: echoed(lab))
    no_lock_is_left(lab)


def test_the_evidence_has_the_link_beside_a_twin_in_clear(lab: Lab) -> None:
    twin = private_copy(lab.checkout, "federation-plaintext", f"{lab.name}-plaintext", "172.28.227", 0)
    play(twin)
    try:
        word = ("-e", "mesh_capture_canary=canaryoftwomeshes")
        shown = play(twin, *word, playbook="playbooks/prove.yml").output
        assert re.search(r"^\s*8302\s+plaintext\s", shown, re.MULTILINE)
        control = ("-e", f"mesh_prove_control={lab.checkout}/artifacts/{twin.name}")
        proved = " ".join(play(lab, *word, *control, playbook="playbooks/prove.yml").output.split())
    finally:
        twin.down()
    assert "PROVED: everything on ports 8300, 8301, 8302, 10443, 21000 is encrypted" in proved
    assert "the control finds every canary in clear" in proved
    verdict = json.loads((lab.checkout / "artifacts" / lab.name / "verdict.json").read_text())
    assert 8302 in verdict["question"]["required"]
    assert [key[:6] for key in stored(lab) if key in proved] == []
