"""The example playbook, and the examples of the page on Ansible, against a real agent over HTTPS."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.plugins.api_agents import ROOT, ApiAgent, ansible

PAGE = (ROOT / "docs" / "ansible.md").read_text()
BLOCKS: list[Any] = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
TASKS = [task for block in BLOCKS if isinstance(block, list) for task in block]


def test_the_example_changes_once(open_agent: ApiAgent, tmp_path: Path) -> None:
    playbook = str(ROOT / "playbooks" / "kv_example.yml")
    changed = []
    for more in (["--check"], [], ["--check"], []):
        done = ansible(tmp_path, "ansible-playbook", playbook, *more, **open_agent.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        changed.append(int(re.findall(r"changed=(\d+)", done.stdout)[0]))
    assert changed == [1, 1, 0, 0]
    assert "'limits/connections': '100'" in done.stdout.replace('"', "'")
    assert open_agent.agent.get("/v1/kv/locks/kv-example")[0].get("Session") is None


def test_the_page_has_an_example_of_everything_that_uses_the_api() -> None:
    modules = {
        path.stem for path in (ROOT / "plugins" / "modules").glob("*.py") if "mesh_api" in path.read_text()
    }
    assert {word.removeprefix("meshnode.lab.") for task in TASKS for word in task if "." in word} >= modules
    assert [block["plugin"] for block in BLOCKS if isinstance(block, dict)] == ["meshnode.lab.mesh"]


@pytest.mark.parametrize("acls", [False, True])
def test_the_tasks_of_the_page_work(
    acl_agent: tuple[ApiAgent, str], tmp_path: Path, acls: bool, open_agent: ApiAgent
) -> None:
    """Those of the ACLs at an agent with ACLs, the others at one without; in the order of the page, twice."""
    tasks = [task for task in TASKS if any("acl" in word for word in task) == acls]
    tasks = [task for task in tasks if "meshnode.lab.mesh_acl_bootstrap" not in task]  # has a test of its own
    assert tasks
    agent, token = acl_agent if acls else (open_agent, "")
    values = {"management_token": token, "vault_app_token": "6a1253d2-1785-24fd-91c2-f8e78c745511"}
    play = [{"hosts": "localhost", "gather_facts": False, "vars": values, "tasks": tasks}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play, sort_keys=False))
    for _run in range(2):
        done = ansible(tmp_path, "ansible-playbook", "play.yml", **agent.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not token or token not in done.stdout
    assert int(re.findall(r"changed=(\d+)", done.stdout)[0]) == sum(
        "mesh_lock" in str(task) for task in tasks
    )
