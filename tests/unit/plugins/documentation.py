"""The documentation of a module as ansible-doc shows it: its own and that of its fragments."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

__all__ = ["MODULES", "block", "documentation"]

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "plugins" / "modules"
MODULES = sorted(path.stem for path in FOLDER.glob("*.py"))


def block(module: str, name: str) -> Any:
    """C(DOCUMENTATION), C(EXAMPLES) or C(RETURN) of a module as it is written."""
    (text,) = [
        node.value.value
        for node in ast.parse((FOLDER / f"{module}.py").read_text()).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == name
        and isinstance(node.value, ast.Constant)
    ]
    return yaml.safe_load(str(text))


def documentation(module: str) -> dict[str, Any]:
    """With the options and attributes of the fragments; what the module says itself comes first."""
    loaded: dict[str, Any] = block(module, "DOCUMENTATION")
    for name in loaded["extends_documentation_fragment"]:
        fragment = _fragment(name)
        for part in ("options", "attributes"):
            shared, own = fragment.get(part) or {}, loaded.get(part) or {}
            loaded[part] = {**shared, **own} | {
                key: {**shared[key], **own[key]} for key in shared.keys() & own.keys()
            }
    return loaded


def _fragment(name: str) -> dict[str, Any]:
    file, _, part = name.removeprefix("meshnode.lab.").partition(".")
    found = import_module(f"ansible_collections.meshnode.lab.plugins.doc_fragments.{file}").ModuleDocFragment
    loaded: dict[str, Any] = yaml.safe_load(getattr(found, part.upper() or "DOCUMENTATION"))
    return loaded
