from __future__ import annotations

import logging

import pytest

from meshnode.proxy.ledger import Ledger
from meshnode.runtime.proxy.refusal_log import MAX_LINES
from meshnode.sdk.refusals import Refusals


def test_refusals_are_all_counted_and_not_all_logged(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    caplog.set_level(logging.WARNING)
    refusals = Refusals("api", lambda: now[0], ledger := Ledger())
    for _ in range(MAX_LINES + 10):
        refusals.tell("1.2.3.4:5", "because", kind="denied", source="spiffe://x", rule="12", request="GET /a")
    assert refusals.total == refusals.kinds["denied"] == MAX_LINES + 10
    assert len(ledger.refused) == MAX_LINES + 10
    last = ledger.refused[-1]
    assert (last.peer, last.kind, last.source, last.rule) == ("1.2.3.4:5", "denied", "spiffe://x", "12")
    assert last.request == "GET /a"
    assert caplog.messages[0] == "api #1 from 1.2.3.4:5, GET /a, refused: because (rule 12)"
    assert len(caplog.records) == MAX_LINES + 1
    now[0] = 1.0
    refusals.tell("1.2.3.4:5", "because of 12", kind="denied", rule="12")
    assert caplog.messages[-1] == f"api #{MAX_LINES + 11} from 1.2.3.4:5 refused: because of 12"
    assert len(caplog.records) == MAX_LINES + 2
