"""Writes ``docs/http-conformance.md`` from ``conformance.json``: ``python -m tests.support.conformance_document``.

That file has for each case what came of it through either data plane, once where it is the same, and the name of the
reason where it isn't. ``conformance_run`` measures, ``tests/interop/test_http_conformance.py`` measures again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

__all__ = ["BOTH", "DATA", "DOCUMENT", "PATH_SECTION", "PLANES", "expected", "render", "write"]

PLANES: Final = ("builtin", "envoy")
PATH_SECTION: Final = "Paths that permissions look at"
DATA: Final = Path(__file__).with_name("conformance.json")
DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "http-conformance.md"
#: A row of one outcome is of both data planes; one of three is of each, and the reason.
BOTH: Final = 1

_NO_REASON: Final = "**nobody has said why**"
_INTRODUCTION: Final = """\
<!-- Written by `make docs` from tests/support/conformance.json, which `make http-conformance` measures. -->
# HTTP through both data planes

{cases} requests, in order, odd and hostile, sent as bytes and frames through the built-in proxy and through Envoy,
in front of one application that answers with the bytes that it got. {same} end the same way; each of the {different}
differences has its reason here. `tests/interop/test_http_conformance.py` holds both data planes to this page.

A second request, in order, is sent behind each one, to see where the first was taken to end. In the tables:

| | |
|---|---|
| `200 GET /a host=a` | what the application got; fields by the alphabet, without those that the proxy adds |
| `400`, `reset` | the status, or the code of the stream's end, that the client got; nothing reached the application |
| `next` | the request behind it was answered |
| `closed` | the connection ended; over HTTP/2 the built-in proxy says why in a GOAWAY, where Envoy often just closes |
| `waits` | the data plane waits for more of the first request |"""


def _data() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DATA.read_text())
    return loaded


def expected(plane: str) -> dict[str, dict[str, str]]:
    """Section -> case -> what has to come of it through ``plane``."""
    place = PLANES.index(plane)
    return {
        section: {case: row[0] if len(row) == BOTH else row[place] for case, row in cases.items()}
        for section, cases in _data()["outcomes"].items()
    }


def render() -> str:
    """The page."""
    data = _data()
    rows = [row for cases in data["outcomes"].values() for row in cases.values()]
    same = sum(len(row) == BOTH for row in rows)
    text = [_INTRODUCTION.format(cases=len(rows), same=same, different=len(rows) - same)]
    for section, cases in data["outcomes"].items():
        text += ["", f"## {section}", *_tables(cases, data["reasons"])]
    return "\n".join(text) + "\n"


def _tables(cases: dict[str, list[str]], reasons: dict[str, str]) -> Iterator[str]:
    different = {case: row for case, row in cases.items() if len(row) != BOTH}
    if different:
        yield from ("| case | built-in | Envoy | why |", "|---|---|---|---|")
        for case, (ours, theirs, reason) in different.items():
            yield f"| {_cell(case)} | `{_cell(ours)}` | `{_cell(theirs)}` | {reasons.get(reason, _NO_REASON)} |"
        yield ""
    yield from ("| case | both |", "|---|---|")
    for case, row in cases.items():
        if len(row) == BOTH:
            yield f"| {_cell(case)} | `{_cell(row[0])}` |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def write() -> None:
    """Bring the page up to date."""
    DOCUMENT.write_text(render())


if __name__ == "__main__":
    write()
