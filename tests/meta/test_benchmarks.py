"""Benchmarks are run now and then; what they import from the tree has to be there all the time."""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = sorted(path.name for path in (ROOT / "bench").glob("*.py"))


def is_module(package: str, name: str) -> bool:
    return hasattr(import_module(package), "__path__") and find_spec(f"{package}.{name}") is not None


@pytest.mark.parametrize("name", BENCHMARKS)
def test_what_a_benchmark_imports_is_there(name: str) -> None:
    taken = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse((ROOT / "bench" / name).read_text()))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").split(".")[0] in {"bench", "meshnode", "tests"}
        for alias in node.names
    ]
    assert [
        f"{module}.{wanted}"
        for module, wanted in taken
        if not hasattr(import_module(module), wanted) and not is_module(module, wanted)
    ] == []
