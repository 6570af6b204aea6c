from __future__ import annotations

import logging

import pytest

from meshnode.sdk.refusals import MAX_LINES, Refusals


def test_refusals_are_all_counted_and_not_all_logged(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    caplog.set_level(logging.WARNING)
    refusals = Refusals("api", lambda: now[0])
    for _ in range(MAX_LINES + 10):
        refusals.tell("1.2.3.4:5", "because")
    assert refusals.total == MAX_LINES + 10
    assert len(caplog.records) == MAX_LINES + 1
    now[0] = 1.0
    refusals.tell("1.2.3.4:5", "because")
    assert len(caplog.records) == MAX_LINES + 2
