"""A machine that SSH does not reach is named, or passed over where that is meant, and never ends a run without a word.

With ``any_errors_fatal``, or ``run_once``, Ansible ends the run for all hosts when one is unreachable, ignored or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.programs import needs
from tests.unit.plugins.api_agents import ROOT, ansible

SOURCES = sorted(path for folder in ("playbooks", "roles") for path in (ROOT / folder).rglob("*.yml"))
#: Nobody listens there.
INVENTORY = """
mesh:
  hosts:
    here: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
    away: {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1}
"""


def tasks_of(found: Any) -> Iterator[dict[str, Any]]:
    """Plays, blocks and tasks, however deep."""
    if isinstance(found, list):
        for one in found:
            yield from tasks_of(one)
    elif isinstance(found, dict):
        yield found
        for name in ("tasks", "block", "rescue", "always", "pre_tasks", "post_tasks"):
            yield from tasks_of(found.get(name))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_who_ignores_an_unreachable_host_does_not_end_the_run_for_it(source: Path) -> None:
    for task in tasks_of(yaml.safe_load(source.read_text())):
        if task.get("ignore_unreachable"):
            kept = "ignore_errors" if task.get("run_once") else "any_errors_fatal"
            assert task.get(kept) is (kept == "ignore_errors"), task.get("name")


def play(folder: Path, role: str, tasks_from: str) -> str:
    """What a run prints that has another task after these."""
    (folder / "hosts.yml").write_text(INVENTORY)
    (folder / "play.yml").write_text(f"""
- hosts: mesh
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - ansible.builtin.include_role: {{name: meshnode.lab.{role}, tasks_from: {tasks_from}}}
    - ansible.builtin.debug: {{msg: "went on"}}
""")
    done = ansible(folder, "ansible-playbook", "play.yml", "-i", "hosts.yml")
    return " ".join((done.stdout + done.stderr).split())


@needs("ssh")
def test_a_procedure_names_the_machine_that_is_not_reached(tmp_path: Path) -> None:
    output = play(tmp_path, "mesh_procedure", "there")
    assert "away: no answer (" in output
    assert "Bring it up first" in output
    assert "went on" not in output


@needs("ssh")
@pytest.mark.parametrize("tasks_from", ["look", "doors"])
def test_a_look_at_all_nodes_passes_over_one_that_is_not_reached(tmp_path: Path, tasks_from: str) -> None:
    assert "went on" in play(tmp_path, "mesh_node", tasks_from)
