"""A group of actions is of use only when its modules share the options that one writes for them."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.meshnode.lab.plugins.module_utils import mesh_api

ROOT = Path(__file__).parents[3]
GROUPS: dict[str, list[str]] = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
API = set(mesh_api.API_OPTIONS)
SHARED = {
    "api": API,
    "agent": {"name", "config_dir", "install_dir", "state_file"},
    "store": {"store", "cluster"},
}


def documentation(module: str) -> dict[str, Any]:
    tree = ast.parse((ROOT / "plugins" / "modules" / f"{module}.py").read_text())
    (text,) = [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "DOCUMENTATION"
        and isinstance(node.value, ast.Constant)
    ]
    loaded: dict[str, Any] = yaml.safe_load(str(text))
    if "meshnode.lab.mesh_api" in loaded["extends_documentation_fragment"]:
        loaded["options"] |= dict.fromkeys(API)
    return loaded


def test_the_groups_are_those_that_are_documented() -> None:
    assert set(GROUPS) == set(SHARED)


@pytest.mark.parametrize("group", SHARED)
def test_every_module_of_a_group_has_the_options_of_the_group(group: str) -> None:
    options = {name: set(documentation(name)["options"]) for name in GROUPS[group]}
    assert [name for name in options if not SHARED[group] <= options[name]] == []


@pytest.mark.parametrize("group", SHARED)
def test_exactly_the_modules_of_a_group_say_so(group: str) -> None:
    modules = [path.stem for path in sorted((ROOT / "plugins" / "modules").glob("*.py"))]
    fragment = f"meshnode.lab.attributes.{group}"
    saying = [name for name in modules if fragment in documentation(name)["extends_documentation_fragment"]]
    assert saying == GROUPS[group]
