"""What a role says about its variables is what it does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).parents[3] / "roles"
OURS = sorted(path.name for path in ROLES.iterdir() if path.is_dir())


def load(role: str, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROLES / role / name).read_text())
    return loaded


@pytest.mark.parametrize("role", OURS)
def test_the_argument_spec_has_the_same_defaults(role: str) -> None:
    options = load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in options.items()} == load(role, "defaults/main.yml")


@pytest.mark.parametrize("role", OURS)
def test_every_variable_is_in_the_readme(role: str) -> None:
    text = (ROLES / role / "README.md").read_text()
    assert [name for name in load(role, "defaults/main.yml") if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize("role", OURS)
def test_a_key_is_never_logged(role: str) -> None:
    options = load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    secret = {name for name in options if name.endswith(("_key", "_key_pem"))}
    assert {name for name in secret if not options[name].get("no_log")} == set()


@pytest.mark.parametrize("role", OURS)
def test_every_variable_is_used(role: str) -> None:
    """By a task, a template, a plugin or another role; a default for itself is no use."""
    defaults = (ROLES / role / "defaults" / "main.yml").read_text()
    text = "\n".join(
        path.read_text()
        for folder in ("roles", "playbooks", "plugins")
        for path in (ROLES.parent / folder).rglob("*")
        if path.suffix in {".yml", ".j2", ".py", ".sh"}
        and path.parent.name != "meta"
        and path != ROLES / role / "defaults" / "main.yml"
    )
    unused = [
        name
        for name in load(role, "defaults/main.yml")
        if not re.search(rf"\b{name}\b", text) and len(re.findall(rf"\b{name}\b", defaults)) < 2
    ]
    assert unused == []
