"""A group of actions is of use only when its modules share the options that one writes for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.meshnode.lab.plugins.module_utils import mesh_api

from tests.unit.plugins.documentation import MODULES, documentation

ROOT = Path(__file__).parents[3]
GROUPS: dict[str, list[str]] = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
API = set(mesh_api.API_OPTIONS)
SHARED = {
    "api": API,
    "agent": {"name", "config_dir", "install_dir", "state_file"},
    "store": {"store", "cluster"},
}


def test_the_groups_are_those_that_are_documented() -> None:
    assert set(GROUPS) == set(SHARED)


@pytest.mark.parametrize("group", SHARED)
def test_every_module_of_a_group_has_the_options_of_the_group(group: str) -> None:
    options = {name: set(documentation(name)["options"]) for name in GROUPS[group]}
    assert [name for name in options if not SHARED[group] <= options[name]] == []


@pytest.mark.parametrize("group", SHARED)
def test_exactly_the_modules_of_a_group_say_so(group: str) -> None:
    fragment = f"meshnode.lab.attributes.{group}"
    saying = [name for name in MODULES if fragment in documentation(name)["extends_documentation_fragment"]]
    assert saying == GROUPS[group]
