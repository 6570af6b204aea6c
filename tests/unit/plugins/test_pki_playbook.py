"""Real runs of ansible-playbook against nodes that are folders of this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.openssl import openssl, refuses, verify_strictly

ROOT = Path(__file__).parents[3]
ANSIBLE = Path(sys.executable).with_name("ansible-playbook")
NODES = ("s1", "c1")
#: The node's own Python, which has neither cryptography nor meshnode, where there is one.
NODE_PYTHON = next((p for p in ("/usr/bin/python3",) if Path(p).exists()), sys.executable)

PLAY = """
- name: Keys and certificates as in the source document, ca.cert, consul.key and consul.cert
  hosts: mesh
  gather_facts: false
  vars:
    ssl: "{{ inventory_dir }}/nodes/{{ inventory_hostname }}/etc/consul.d/ssl"
    store: "{{ inventory_dir }}/.secrets"
  tasks:
    - name: CA
      meshnode.lab.mesh_ca:
        store: "{{ store }}"
        state: "{{ ca_state | default('present') }}"
        current_generation: "{{ ca_current | default(omit) }}"
      delegate_to: localhost
      run_once: true
    - name: Gossip key
      meshnode.lab.mesh_gossip_key:
        store: "{{ store }}"
      delegate_to: localhost
      run_once: true
    - name: Request
      meshnode.lab.mesh_csr:
        common_name: "{{ inventory_hostname }}"
        key_path: "{{ ssl }}/consul.key"
        certificate_path: "{{ ssl }}/consul.cert"
        digest_of: ["{{ ssl }}/ca.cert"]
      register: request
    - name: Certificate
      meshnode.lab.mesh_certificate:
        csr: "{{ request.csr }}"
        certificate: "{{ request.certificate }}"
        role: "{{ 'server' if inventory_hostname.startswith('s') else 'client' }}"
        sans:
          ip: ["{{ address | default('10.1.0.11') }}"]
      register: certificate
    - name: Write what is public
      ansible.builtin.copy:
        content: "{{ item.content }}"
        dest: "{{ ssl }}/{{ item.name }}"
        mode: "0644"
      loop:
        - {name: consul.cert, content: "{{ certificate.certificate or '' }}"}
        - {name: ca.cert, content: "{{ certificate.bundle or '' }}"}
      loop_control:
        label: "{{ item.name }}"
      when: not ansible_check_mode
"""

LOOKUP = """
- name: A key for another program
  hosts: s1
  gather_facts: false
  tasks:
    - name: Write the key
      ansible.builtin.copy:
        content: "{{ lookup('meshnode.lab.mesh_secret', 'gossip_key') }}"
        dest: "{{ inventory_dir }}/key"
        mode: "0600"
      no_log: true
      diff: false
    - name: Show what may be shown
      ansible.builtin.debug:
        msg: "fingerprint={{ lookup('meshnode.lab.mesh_secret', 'gossip_fingerprints') }}"
    - name: Ask for the key of the CA
      ansible.builtin.debug:
        msg: "{{ lookup('meshnode.lab.mesh_secret', 'ca_key') }}"
      ignore_errors: true
"""


class Lab:
    """An inventory in a folder, and the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        local = {"ansible_connection": "local"}
        hosts = {node: {**local, "ansible_python_interpreter": NODE_PYTHON} for node in NODES}
        controller = {**local, "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        groups = {"mesh": {"hosts": hosts}, "controller": {"hosts": {"localhost": controller}}}
        inventory = {"all": {"children": groups}}
        (folder / "inventory.json").write_text(json.dumps(inventory))
        (folder / "play.yml").write_text(PLAY)
        (folder / "lookup.yml").write_text(LOOKUP)

    def run(self, *args: str, play: str = "play.yml") -> str:
        environ = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "tmp"),
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORKS": "4",
        }
        command = [str(ANSIBLE), "-i", str(self.folder / "inventory.json"), str(self.folder / play), *args]
        done = subprocess.run(
            command, env=environ, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def changed(self, *args: str) -> int:
        return sum(map(int, re.findall(r"changed=(\d+)", self.run(*args))))

    def ssl(self, node: str, name: str) -> Path:
        return self.folder / "nodes" / node / "etc/consul.d/ssl" / name

    def secrets(self) -> set[str]:
        """Every secret of the lab, as the lines and words that must be in no output."""
        paths = [
            *self.folder.glob("nodes/*/etc/consul.d/ssl/consul.key"),
            *self.folder.glob(".secrets/*/ca/*/ca.key"),
        ]
        lines = {
            line for path in paths for line in path.read_text().splitlines() if not line.startswith("-----")
        }
        keys = {
            entry["key"]
            for entry in json.loads((self.folder / ".secrets/dc1/gossip.json").read_text())["keys"]
        }
        return lines | keys


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.mark.timeout(300)
def test_check_run_check_run_and_what_openssl_says(lab: Lab) -> None:
    before = {path.name for path in lab.folder.iterdir()} | {"tmp"}
    printed = [lab.run("--check", "--diff")]
    assert {path.name for path in lab.folder.iterdir()} <= before, "check mode wrote something"
    assert sum(map(int, re.findall(r"changed=(\d+)", printed[0]))) == 2 + 2 * len(NODES)
    printed.append(lab.run("--diff", "-vvv"))
    printed.append(lab.run("--check", "--diff", "-vvv"))
    printed.append(lab.run("--diff", "-vvv"))
    assert [sum(map(int, re.findall(r"changed=(\d+)", text))) for text in printed[2:]] == [0, 0]

    assert len(lab.secrets()) > len(NODES)
    assert not [secret for secret in lab.secrets() for text in printed if secret in text]

    for node in NODES:
        role = "server" if node.startswith("s") else "client"
        ca, certificate = lab.ssl(node, "ca.cert"), lab.ssl(node, "consul.cert")
        for purpose in ("sslserver", "sslclient"):
            verify_strictly(ca, certificate, "-purpose", purpose)
        verify_strictly(ca, certificate, "-verify_hostname", f"{role}.dc1.consul")
        text = openssl("x509", "-noout", "-text", "-in", certificate)
        assert (
            f"DNS:{node}, DNS:{role}.dc1.consul, DNS:localhost, IP Address:10.1.0.11, IP Address:127.0.0.1"
            in text
        )
        assert openssl("x509", "-noout", "-pubkey", "-in", certificate) == openssl(
            "pkey", "-pubout", "-in", lab.ssl(node, "consul.key")
        )
    assert "server.dc1.consul" not in openssl("x509", "-noout", "-text", "-in", lab.ssl("c1", "consul.cert"))
    assert len({lab.ssl(node, "consul.key").read_text() for node in NODES}) == len(NODES)


@pytest.mark.timeout(300)
def test_moved_node_new_generation_and_lookup(lab: Lab) -> None:
    lab.run()
    keys = {node: lab.ssl(node, "consul.key").read_text() for node in NODES}

    moved = lab.run("--diff", "-e", "address=10.1.0.12", "--limit", "c1,localhost")
    assert "its names change: +10.1.0.12 -10.1.0.11" in moved

    assert lab.changed("-e", "ca_state=new_generation", "-e", "address=10.1.0.12") > 0
    for node in NODES:
        assert lab.ssl(node, "ca.cert").read_text().count("BEGIN CERTIFICATE") == 2
        assert "meshnode CA dc1 g1" in openssl(
            "x509", "-noout", "-issuer", "-in", lab.ssl(node, "consul.cert")
        )
    old = lab.folder / "old.cert"
    old.write_text((lab.folder / ".secrets/dc1/ca/1/ca.crt").read_text())

    lab.run("-e", "ca_current=2", "-e", "address=10.1.0.12")
    assert lab.changed("-e", "address=10.1.0.12") == 0
    for node in NODES:
        verify_strictly(lab.ssl(node, "ca.cert"), lab.ssl(node, "consul.cert"))
        refuses("verify", "-CAfile", old, lab.ssl(node, "consul.cert"))
        assert lab.ssl(node, "consul.key").read_text() == keys[node], (
            "a rotation of the CA keeps the nodes' keys"
        )

    printed = lab.run("-vvv", "--diff", play="lookup.yml")
    assert "'ca_key' can't be looked up" in printed
    assert re.search(r"fingerprint=[0-9a-f]{8}", printed)
    assert (lab.folder / "key").read_text() in lab.secrets()
    assert not [secret for secret in lab.secrets() if secret in printed]
