"""``docs/http-conformance.md`` is what was measured; every case is there, and every difference has its reason."""

from __future__ import annotations

import json

from tests.support.conformance import PATHS, SECTIONS
from tests.support.conformance_document import BOTH, DATA, DOCUMENT, PATH_SECTION, render
from tests.support.conformance_http2 import HTTP2_SECTIONS

_DATA = json.loads(DATA.read_text())


def test_the_page_is_up_to_date() -> None:
    assert render() == DOCUMENT.read_text(), "run make docs"


def test_every_case_of_the_corpus_was_measured() -> None:
    corpus = {section: list(cases) for section, cases in {**SECTIONS, **HTTP2_SECTIONS}.items()}
    corpus[PATH_SECTION] = PATHS
    assert {section: list(cases) for section, cases in _DATA["outcomes"].items()} == corpus


def test_every_difference_has_a_reason_and_every_reason_a_difference() -> None:
    rows = {
        (section, case): row
        for section, cases in _DATA["outcomes"].items()
        for case, row in cases.items()
        if len(row) != BOTH
    }
    assert {name for name, row in rows.items() if not _DATA["reasons"].get(row[2])} == set()
    assert {row[2] for row in rows.values()} == set(_DATA["reasons"])
    assert not [name for name, (ours, theirs, _) in rows.items() if ours == theirs]
