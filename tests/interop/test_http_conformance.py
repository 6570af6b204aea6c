"""One corpus of HTTP through both data planes: what comes of each request is what ``docs/http-conformance.md`` says."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.conformance_document import PLANES, expected
from tests.support.conformance_run import Outcomes, observe
from tests.support.programs import needs

pytestmark = needs("envoy")


@pytest.fixture(scope="module", params=PLANES)
def plane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def observed(plane: str, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return asyncio.run(observe(tmp_path_factory.mktemp(plane), plane))


def test_every_request_of_the_corpus_ends_as_the_page_says(plane: str, observed: Outcomes) -> None:
    meant = expected(plane)
    assert list(observed) == list(meant)
    for section, outcomes in observed.items():
        assert outcomes == meant[section], (
            f"measure again with make http-conformance, if this is meant: {section}"
        )


def test_the_built_in_proxy_lets_no_request_be_hidden_behind_another(plane: str, observed: Outcomes) -> None:
    """Not even one that the page would allow: what is doubtful about its end is refused, and its connection ends."""
    if plane == "builtin":
        for case, outcome in observed["Where a request ends"].items():
            assert outcome in {"400; closed", "501; closed", "505; closed"}, case
    assert not any("/admin" in outcome for cases in observed.values() for outcome in cases.values())
