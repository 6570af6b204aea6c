"""``docs/compatibility.md`` says what is so: each row has a test that exists or a reason, and nothing is left out."""

from __future__ import annotations

import ast
from functools import cache

from tests.support.compatibility import (
    DOCUMENT,
    READING,
    ROOT,
    STATES,
    Row,
    contract,
    missing,
    proofs,
    render,
    rows,
)


def all_rows() -> list[Row]:
    return [row for table in rows().values() for row in table]


@cache
def functions_of(file: str) -> frozenset[str]:
    """Names of the functions in a file; none when it isn't there."""
    path = ROOT / file
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == render(), "run make docs"


def test_every_test_that_is_named_exists() -> None:
    named = (test.partition("::") for test in sorted({*proofs().values(), *READING.values()}))
    gone = [f"{file}::{name}" for file, _, name in named if name not in functions_of(file)]
    assert gone == [], "was it renamed? Change tests/support/proofs.json, then make docs"


def test_all_that_the_contract_names_is_known() -> None:
    assert missing() == {"routes": [], "commands": [], "keys": []}


def test_the_contract_has_the_size_of_consul_1_2_3() -> None:
    listed = contract()
    paths = {
        route.partition(" ")[2] for route in listed["routes"] if route.partition(" ")[2].startswith("/v1/")
    }
    assert (len(paths), len(listed["commands"]), len(listed["keys"])) == (81, 50, 260)
    for names in listed.values():
        assert len(names) == len(set(names))


def test_every_row_of_the_contract_is_in_the_document_once() -> None:
    lines = render().splitlines()
    for name in contract()["commands"] + contract()["keys"]:
        assert sum(line.startswith(f"| `{name}` | ") for line in lines) in (1, 2), name
    shown = [row.name for row in rows()["Routes"] if not row.since]
    assert len(shown) == len(contract()["routes"])


def test_all_that_is_built_is_proved() -> None:
    unproved = [row.name for row in all_rows() if row.state == "built, not proved"]
    assert unproved == [], "name a test for each in tests/support/proofs.json, then make docs"


def test_nothing_is_proved_that_does_not_work() -> None:
    working = {row.name for row in all_rows() if row.state == "works"}
    assert set(proofs()) - working == set()


def test_every_row_has_a_state_and_a_test_or_a_reason() -> None:
    assert [row.name for row in all_rows() if not is_whole(row)] == []


def is_whole(row: Row) -> bool:
    known = row.state in STATES and row.since in ("", "later", "own")
    told = bool(row.because) and "|" not in row.because
    return known and told and ("::" in row.because) == row.state.startswith("works")
