"""What the first playbook of a run refuses before any node is asked: a word for ``data_plane`` that is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.meshnode.lab.plugins.module_utils._service_units import DATA_PLANES

from tests.unit.plugins.api_agents import ROOT, ansible

PLAYBOOK = ROOT / "playbooks" / "preflight.yml"
INVENTORY = """
mesh:
  children:
    mesh_servers:
      hosts:
        a: {mesh_address: 192.0.2.1}
    mesh_clients:
      hosts:
        b:
          mesh_address: 192.0.2.2
          mesh_services: %s
        c:
          mesh_address: 192.0.2.3
          mesh_services_data_plane: %s
"""


def checked(folder: Path, services: str, plane: str = "envoy") -> tuple[int, str]:
    (folder / "hosts.yml").write_text(INVENTORY % (services, plane))
    done = ansible(folder, "ansible-playbook", str(PLAYBOOK), "-i", "hosts.yml")
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_wrong_data_plane_is_refused_with_its_host_and_service(tmp_path: Path) -> None:
    services = "[{name: web, data_plane: nginx}, {id: db1, name: db, data_plane: Envoy}, {name: c, data_plane: envoy}]"
    code, output = checked(tmp_path, services, "proxy")
    assert code != 0
    said = (
        'b, service web: data_plane is "nginx"; b, service db1: data_plane is "Envoy"; '
        'c: mesh_services_data_plane is "proxy": write builtin or envoy.'
    )
    assert said in output.replace('\\"', '"')


@pytest.mark.parametrize(
    "services",
    [
        "[{name: web, data_plane: builtin}, {name: db, data_plane: envoy}, {name: c}]",
        "",
        # Of another shape, or not known yet: that is for the roles to say.
        "text",
        "[1, {name: web, port: '{{ not_known_yet }}'}]",
        "'{{ not_known_yet }}'",
    ],
)
def test_nothing_else_is_refused(tmp_path: Path, services: str) -> None:
    code, output = checked(tmp_path, services)
    assert code == 0, output


def test_the_words_are_those_of_the_module() -> None:
    (play,) = yaml.safe_load(PLAYBOOK.read_text())
    (words,) = [
        task["vars"]["mesh_planes"] for task in play["tasks"] if "mesh_planes" in task.get("vars", {})
    ]
    assert tuple(words) == tuple(DATA_PLANES)
