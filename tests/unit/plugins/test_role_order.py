"""Filters on sets give another order on each run: in a file on a node that is a change, and a restart, for nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: What ends in files: mesh_capture leaves none behind.
FOLDERS = (
    "roles/lab_docker",
    "roles/mesh_etcd",
    "roles/mesh_gossip",
    "roles/mesh_node",
    "roles/mesh_pki",
    "roles/mesh_services",
    "roles/tls_proxy",
    "playbooks",
)
SOURCES = sorted(
    path.relative_to(ROOT)
    for folder in FOLDERS
    for pattern in ("*.yml", "*.j2")
    for path in (ROOT / folder).rglob(pattern)
)
SET_FILTER = re.compile(r"\|\s*(?:difference|intersect|union|symmetric_difference)\(")
#: Whatever looks at the set as a whole, or puts it in order.
ORDERLY = re.compile(r"\|\s*(?:sort|length|count)\b")


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_what_a_set_gives_is_sorted_or_only_counted(source: Path) -> None:
    text = (ROOT / source).read_text()
    expressions = re.findall(r"\{\{.*?\}\}", text, re.DOTALL)
    assert [
        expression
        for expression in expressions
        if SET_FILTER.search(expression) and not ORDERLY.search(expression)
    ] == []
