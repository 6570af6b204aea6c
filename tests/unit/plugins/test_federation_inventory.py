"""inventories/federation without its containers: what the roles make of it, and what they refuse."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.plugins.api_agents import ROOT, ansible

PLAY = """
- hosts: mesh
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: meshnode.lab.mesh_gossip}
    - ansible.builtin.include_role: {name: meshnode.lab.mesh_node, tasks_from: preflight, public: true}
    - ansible.builtin.include_role: {name: meshnode.lab.mesh_node, tasks_from: summary}
    - ansible.builtin.include_role: {name: meshnode.lab.mesh_capture, tasks_from: preflight, public: true}
    - ansible.builtin.copy:
        content: "{{ told | to_json }}"
        dest: "{{ inventory_dir }}/{{ inventory_hostname }}.json"
      delegate_to: localhost
      vars:
        told:
          config: "{{ __mesh_node_config }}"
          unit: "{{ lookup('ansible.builtin.template', path) }}"
          own_wan_keys: "{{ __mesh_node_own_wan_keys }}"
          filter: "{{ __mesh_capture_filter }}"
          datacenters: "{{ __mesh_capture_datacenters }}"
          keys: "{{ __mesh_capture_given_keys | length }}"
        path: "%s"
""" % (ROOT / "roles/mesh_node/templates/agent.service.j2")


def copied(into: Path) -> Path:
    """The inventory, without secrets."""
    folder = into / "federation"
    shutil.copytree(ROOT / "inventories" / "federation", folder, ignore=shutil.ignore_patterns(".secrets"))
    (folder / "play.yml").write_text(PLAY)
    return folder


def play(folder: Path, *words: str) -> tuple[int, str]:
    # No certificate is issued here, and the agents' state is not asked.
    given = {"mesh_node_certificate_pem": "PEM", "mesh_node_applied": {"restart_pending": False}}
    return played_here(folder, "play.yml", "-e", json.dumps(given), *words)


def played_here(folder: Path, *words: str) -> tuple[int, str]:
    """The playbook's exit code and words, each node being this machine."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    done = ansible(folder, "ansible-playbook", "-e", json.dumps(here), *words)
    return done.returncode, done.stdout + done.stderr


@dataclass(frozen=True)
class Played:
    """What two runs left, and what the second one said."""

    folder: Path
    said: str

    @property
    def told(self) -> dict[str, Any]:
        return {path.stem: json.loads(path.read_text()) for path in self.folder.glob("dc*.json")}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = copied(tmp_path_factory.mktemp("played"))
    for _again in range(2):
        code, said = play(folder)
        assert code == 0, said[-4000:]
    return Played(folder, said)


def test_servers_meet_on_the_link_and_clients_know_nothing_of_it(played: Played) -> None:
    told = played.told
    assert len(told) == 4
    for name, other in (("dc1-server1", "172.28.72.12"), ("dc2-server1", "172.28.72.11")):
        config = told[name]["config"]
        assert config["retry_join_wan"] == [other]
        assert (
            config["advertise_addr_wan"]
            == config["serf_wan"]
            != config["serf_lan"]
            == config["advertise_addr"]
        )
        assert (config["datacenter"], config["bootstrap_expect"], config["retry_join"]) == (name[:3], 1, [])
        assert told[name]["own_wan_keys"] is True
        assert "/var/lib/consul/serf/remote.keyring" in told[name]["unit"]
    for name in ("dc1-client1", "dc2-client1"):
        config = told[name]["config"]
        assert [key for key in config if "wan" in key and key != "translate_wan_addrs"] == []
        assert config["retry_join"] == [told[f"{name[:3]}-server1"]["config"]["advertise_addr"]]
        assert told[name]["own_wan_keys"] is False
        assert "remote.keyring" not in told[name]["unit"]
    assert {one["config"]["primary_datacenter"] for one in told.values()} == {"dc1"}


def test_each_pool_has_a_key_in_the_store_and_captures_try_all_of_them(played: Played) -> None:
    keys = {
        name: json.loads((played.folder / ".secrets" / name / "gossip.json").read_text())["keys"]
        for name in ("dc1", "dc2", "wan")
    }
    assert {len(ring) for ring in keys.values()} == {1}
    assert len({ring[0]["key"] for ring in keys.values()}) == 3
    assert not any(ring[0]["key"] in played.said for ring in keys.values())
    assert re.findall(r"changed=(\d+)", played.said) == ["0"] * 4, played.said[-4000:]
    assert played.told["dc2-client1"]["keys"] == 3


def test_a_capture_of_every_interface_leaves_the_loopback_out_and_neighbours_are_in_reach(
    played: Played,
) -> None:
    told = played.told["dc1-server1"]
    assert told["filter"].startswith("(port ")
    assert told["filter"].endswith(") and not (net 127.0.0.0/8 or host ::1)")
    assert {name: sorted(hosts) for name, hosts in told["datacenters"].items()} == {
        "dc1": ["dc1-client1", "dc1-server1"],
        "dc2": ["dc2-client1", "dc2-server1"],
    }


def test_a_server_that_has_nobody_to_join_is_told_what_to_set(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    path = folder / "hosts.yml"
    hosts = yaml.safe_load(path.read_text())
    del hosts["all"]["children"]["mesh"]["children"]["mesh_servers"]["hosts"]["dc1-server1"][
        "mesh_wan_address"
    ]
    path.write_text(yaml.safe_dump(hosts))
    code, said = play(folder)
    assert code != 0
    assert "this is a server of dc2 that no other one can be joined from: set mesh_wan_address" in " ".join(
        said.split()
    )


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        (
            "gossip_rotate",
            (),
            "The inventory has several gossip keys: say -e gossip_rotate_pool=dc1 or dc2 or wan.",
        ),
        (
            "gossip_rotate",
            ("gossip_rotate_pool=dc3",),
            "gossip_rotate_pool is dc3: say -e gossip_rotate_pool=dc1 or",
        ),
        (
            "gossip_rotate",
            ('{"mesh_clusters": ["dc1"]}',),
            "The datacenters have one gossip key, and no server reaches all",
        ),
        ("gossip_encrypt", (), "several gossip pools, dc1, dc2, wan, and this changes one."),
    ],
)
def test_what_would_mix_the_keys_of_several_pools_is_refused_with_the_way_out(
    tmp_path: Path, name: str, given: tuple[str, ...], said: str
) -> None:
    folder = copied(tmp_path)
    words = [word for one in given for word in ("-e", one)]
    code, output = played_here(folder, str(ROOT / "playbooks" / f"{name}.yml"), *words)
    assert code != 0
    assert said in " ".join(output.split())
    assert "Nothing was changed." in " ".join(output.split())
    assert not (folder / ".secrets").exists()


def listed(folder: Path, group: str, *groups: str, **variables: str) -> None:
    """Put dc2-new into ``group`` below mesh, and into ``groups`` below its datacenter."""
    hosts = yaml.safe_load((folder / "hosts.yml").read_text())
    inventory = hosts["all"]["children"]
    inventory["mesh"]["children"][group]["hosts"]["dc2-new"] = {"mesh_address": "172.28.71.99", **variables}
    for name in groups:
        place = inventory["dc2"] if name == "dc2" else inventory["dc2"]["children"][name]
        place["hosts"]["dc2-new"] = None
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))


@pytest.mark.parametrize("name", ["add_node", "replace_server"])
@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (("mesh_clients",), "dc2-new is in no datacenter, and the inventory has several, dc1, dc2"),
        (("mesh_servers", "dc2"), "dc2-new has to be in mesh_servers and in dc2_servers"),
        (("mesh_clients", "dc2_servers"), "dc2-new has to be in mesh_servers and in dc2_servers"),
        (("mesh_servers", "dc2_servers"), "dc2-new has no mesh_wan_address"),
    ],
)
def test_a_node_joins_one_of_several_datacenters_only_where_the_inventory_says_all_of_it(
    tmp_path: Path, name: str, groups: tuple[str, ...], said: str
) -> None:
    folder = copied(tmp_path)
    listed(folder, *groups)
    code, output = played_here(folder, str(ROOT / "playbooks" / f"{name}.yml"), "-e", "node=dc2-new")
    assert code != 0
    assert said in " ".join(output.split())
    assert "Nothing was changed." in " ".join(output.split())
    assert not (folder / ".secrets").exists()


@pytest.mark.parametrize(
    ("node", "groups", "said"),
    [
        ("dc2-server1", (), "dc2-server1 is the last server of dc2: without it there is no datacenter."),
        ("dc2-new", ("mesh_clients",), "dc2-new is in no datacenter, and the inventory has several"),
    ],
)
def test_a_node_that_has_to_stay_in_its_datacenter_is_not_removed(
    tmp_path: Path, node: str, groups: tuple[str, ...], said: str
) -> None:
    folder = copied(tmp_path)
    if groups:
        listed(folder, *groups)
    code, output = played_here(folder, str(ROOT / "playbooks" / "remove_node.yml"), "-e", f"node={node}")
    assert code != 0
    assert said in " ".join(output.split())
    assert not (folder / ".secrets").exists()


def test_certificates_of_several_cas_are_not_rotated_together(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    path = folder / "group_vars" / "mesh.yml"
    path.write_text(path.read_text().replace("mesh_pki_cluster: dc1\n", ""))
    code, output = played_here(folder, str(ROOT / "playbooks" / "ca_rotate.yml"))
    assert code != 0
    assert "The inventory has several CAs, of dc1, dc2" in " ".join(output.split())
    assert "Set mesh_pki_cluster for all nodes" in " ".join(output.split())
    assert not (folder / ".secrets").exists()


def test_the_twin_in_clear_is_the_same_mesh_with_nothing_sealed() -> None:
    sealed, clear = (ROOT / "inventories" / name for name in ("federation", "federation-plaintext"))
    assert shape(yaml.safe_load((sealed / "hosts.yml").read_text())) == shape(
        yaml.safe_load((clear / "hosts.yml").read_text())
    )
    for name in ("group_vars/dc1.yml", "group_vars/dc2.yml"):
        datacenter, twin = (yaml.safe_load((one / name).read_text()) for one in (sealed, clear))
        assert {**twin, "mesh_cluster": datacenter["mesh_cluster"]} == datacenter
    mesh = yaml.safe_load((clear / "group_vars/mesh.yml").read_text())
    assert (mesh["mesh_tls_enabled"], mesh["mesh_gossip_encrypt"]) == (False, False)


def shape(groups: Any) -> Any:
    """The groups and names of an inventory without the values of hosts."""
    if not isinstance(groups, dict):
        return None
    return {
        name: sorted(value) if name == "hosts" and isinstance(value, dict) else shape(value)
        for name, value in groups.items()
    }


@pytest.mark.parametrize(
    ("lab", "twin"), [("federation", "federation-plaintext"), ("quickstart", "plaintext")]
)
def test_evidence_has_the_labs_own_twin_as_its_control_where_there_is_one(
    tmp_path: Path, lab: str, twin: str
) -> None:
    program = tmp_path / "ansible-playbook"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", str(ROOT / "scripts/prove.sh"), lab, "-v"],
        capture_output=True,
        text=True,
        check=True,
        env=path,
    )
    first, second = done.stdout.splitlines()
    assert first.startswith(f"-i inventories/{twin} playbooks/prove.yml -e mesh_capture_canary=canary")
    assert second.startswith(f"-i inventories/{lab} playbooks/prove.yml -e mesh_capture_canary=canary")
    assert second.endswith(f"-e mesh_prove_control={ROOT}/artifacts/{twin} -v")
    assert f"lab_name: {twin}\n" in (ROOT / "inventories" / twin / "group_vars/all.yml").read_text()
