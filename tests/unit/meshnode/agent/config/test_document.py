"""The documentation is the key table."""

from __future__ import annotations

from pathlib import Path

from meshnode.agent.config.document import render
from meshnode.agent.config.key import Kind
from meshnode.agent.config.keys import KEYS

DOCUMENT = Path(__file__).parents[5] / "docs" / "configuration.md"


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == render(), "run python -m meshnode.agent.config.document"


def test_every_key_is_in_the_document_once() -> None:
    lines = render().splitlines()
    for path, row in KEYS.items():
        if row.kind is not Kind.OBJECT:
            assert sum(line.startswith(f"| `{path}` |") and line.count(" | ") >= 6 for line in lines) == 1, (
                path
            )
