from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from meshnode.base.later import Later, load


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that nobody has loaded."""
    (tmp_path / "late_module.py").write_text(
        "import gc\n"
        "COLLECTS = gc.isenabled()\n"
        "def add(a, *, b): return a + b\n"
        "class Pair:\n"
        "    def __init__(self, a): self.a = a\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "late_module", raising=False)
    return "late_module"


def test_a_module_is_loaded_by_the_first_call_and_not_before(late: str) -> None:
    module = Later(late)
    add = module.add
    assert late not in sys.modules
    assert add(1, b=2) == 3
    assert late in sys.modules
    assert module.Pair(5).a == 5


def test_what_the_module_has_not_is_an_error_of_the_call(late: str) -> None:
    with pytest.raises(AttributeError, match="nothing"):
        Later(late).nothing()


def test_nothing_is_collected_while_a_module_is_loaded_and_then_it_is_again(late: str) -> None:
    assert load(late).COLLECTS is False
    assert gc.isenabled()


def test_a_module_that_can_not_be_loaded_leaves_collections_on() -> None:
    with pytest.raises(ModuleNotFoundError):
        load("meshnode.no_such_module")
    assert gc.isenabled()


@pytest.mark.parametrize(
    "absent",
    [
        "meshnode.agent.server_role",
        "meshnode.agent.xds_role",
        "meshnode.agent.watches",
        "meshnode.agent.connect_ca",
        "meshnode.agent.vault_client",
        "meshnode.control.machine",
        "meshnode.pki.connect_ca",
        "meshnode.config_entries.parse",
        "meshnode.runtime.checks.docker",
        "meshnode.http.acl_routes",
        "sqlite3",
        "tarfile",
        "statistics",
        "logging.handlers",
        "importlib.resources",
    ],
)
def test_the_agent_command_alone_loads_no_part_that_few_agents_have(
    absent: str, loaded: frozenset[str]
) -> None:
    assert "meshnode.agent.agent" in loaded
    assert absent not in loaded


@pytest.fixture(scope="module")
def loaded() -> frozenset[str]:
    """The modules of a process that has loaded the agent command, and no more."""
    program = "import sys, meshnode.cli.agent; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return frozenset(done.stdout.split())
