"""A value of Ansible Vault that nobody can read is named, and none is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import EncryptedString, VaultLib, VaultSecret, VaultSecretsContext
from ansible_collections.meshnode.lab.plugins.filter.vault import FilterModule, undecryptable

from tests.unit.plugins.api_agents import ROOT, ansible

RIGHT, WRONG = (("default", VaultSecret(word)) for word in (b"right", b"wrong"))


class HostVars:
    """As much of Ansible's as the filter asks for."""

    def __init__(self, of_hosts: dict[str, dict[str, Any]]) -> None:
        self._of_hosts = of_hosts

    def raw_get(self, host: str) -> dict[str, Any]:
        return self._of_hosts[host]


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> VaultSecretsContext:
    """The passwords of the run, ``right`` at first."""
    context = VaultSecretsContext([RIGHT])
    monkeypatch.setattr(VaultSecretsContext, "_current", context)
    return context


def sealed(text: str) -> EncryptedString:
    return EncryptedString(ciphertext=VaultLib([RIGHT]).encrypt(text, RIGHT[1]).decode())


def test_what_the_password_opens_is_no_fault(password: VaultSecretsContext) -> None:
    assert undecryptable(["a"], HostVars({"a": {"mesh_gossip_key": sealed("key"), "plain": "text"}})) == []


def test_a_value_of_another_password_is_named_with_all_its_hosts(password: VaultSecretsContext) -> None:
    value = sealed("the-secret")
    hosts = {
        "a": {"mesh_gossip_key": value},
        "b": {"mesh_gossip_key": value},
        "c": {"mesh_gossip_key": "plain"},
    }
    password.secrets = [WRONG]
    (said,) = undecryptable(["a", "b", "c"], HostVars(hosts))
    assert said.startswith("mesh_gossip_key of a, b is encrypted and can't be read: Decryption failed")
    assert said.endswith("with the password that it was encrypted with.")
    assert "the-secret" not in said


def test_a_value_deep_in_a_variable_is_named_after_it(password: VaultSecretsContext) -> None:
    variables = {"mesh_services": [{"name": "web"}, {"connect": {"token": sealed("token")}}]}
    password.secrets = []
    (said,) = undecryptable(["a"], HostVars({"a": variables}))
    assert said.startswith("mesh_services of a is encrypted and can't be read: ")


def test_it_is_there_by_its_name() -> None:
    assert FilterModule().filters() == {"undecryptable": undecryptable}


PLAYBOOK = """
- hosts: mesh
  gather_facts: false
  vars: {mesh_procedure_name: gossip_rotate}
  tasks:
    - ansible.builtin.include_role: {name: meshnode.lab.mesh_procedure, tasks_from: begin}
"""


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ((), "Attempting to decrypt but no vault secrets found"),
        (
            ("--vault-password-file", "wrong"),
            "Decryption failed (no vault secrets were found that could decrypt)",
        ),
    ],
)
@pytest.mark.parametrize("playbook", ["playbooks/preflight.yml", "site.yml", "begin.yml"])
def test_a_run_ends_before_anything_is_changed(
    tmp_path: Path, playbook: str, words: tuple[str, ...], fault: str
) -> None:
    ciphertext = VaultLib([RIGHT]).encrypt("the-secret", RIGHT[1]).decode()
    host = "{ansible_connection: local, mesh_address: 192.0.2.1}"
    (tmp_path / "hosts.yml").write_text(f"mesh: {{children: {{mesh_servers: {{hosts: {{a: {host}}}}}}}}}\n")
    (tmp_path / "group_vars").mkdir()
    lines = "".join(f"  {line}\n" for line in ciphertext.splitlines())
    (tmp_path / "group_vars" / "mesh.yml").write_text(f"mesh_gossip_key: !vault |\n{lines}")
    (tmp_path / "wrong").write_text("wrong")
    (tmp_path / "begin.yml").write_text(PLAYBOOK)
    path = tmp_path / playbook if playbook == "begin.yml" else ROOT / playbook
    done = ansible(tmp_path, "ansible-playbook", str(path), "-i", "hosts.yml", *words)
    output = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert f"mesh_gossip_key of a is encrypted and can't be read: {fault}" in output
    assert "changed=0" in output
    assert not (tmp_path / ".secrets").exists()
