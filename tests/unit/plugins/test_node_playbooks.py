"""What the playbooks for single nodes refuse before they ask any node: the inventory of the default lab, and no lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.plugins.api_agents import ROOT, ansible

LAB = ("-i", str(ROOT / "inventories" / "lab"))
ONE_SERVER = ("-i", str(ROOT / "inventories" / "quickstart"))
TWO_SERVERS = """
mesh:
  children:
    mesh_servers:
      hosts:
        a: {mesh_address: 192.0.2.1}
        b: {mesh_address: 192.0.2.2}
"""
CASES = [
    # playbook, arguments -> what it says
    ("add_node", (*LAB,), "Which node? Say -e node=NAME, a host of the inventory."),
    ("add_node", (*LAB, "-e", "node=client9"), "client9 is not in the inventory: put it into mesh_servers or"),
    ("add_node", (*LAB, "-e", "node=client1,client2"), "client1,client2 is not in the inventory"),
    ("add_node", (*LAB, "-e", "node=client1", "--limit", "localhost,client1"), "and no --limit"),
    ("replace_server", (*LAB,), "Which node?"),
    ("remove_node", (*LAB,), "Which node?"),
    ("remove_node", (*LAB, "-e", "node=client9"), "It may be removed already."),
    ("remove_node", (*LAB, "-e", "node=client1", "--limit", "localhost,client1"), "and no --limit"),
    ("remove_node", (*ONE_SERVER, "-e", "node=server1"), "server1 is the last server"),
    ("remove_node", ("-i", "two.yml", "-e", "node=b"), "Without b there is one server, whose state"),
]  # fmt: skip


@pytest.mark.parametrize(("playbook", "words", "said"), CASES)
def test_what_can_be_refused_without_asking_a_node_is_refused_so(
    tmp_path: Path, playbook: str, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "two.yml").write_text(TWO_SERVERS)
    done = ansible(tmp_path, "ansible-playbook", str(ROOT / "playbooks" / f"{playbook}.yml"), *words)
    output = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert said in output
    assert "See who is there" not in output
