from __future__ import annotations

import logging

import pytest

from meshnode.proxy.ledger import Refused
from meshnode.runtime.proxy.refusal_log import MAX_LINES, RefusalLog


def refused(number: int, at: float = 0.0, rule: str = "", request: str = "") -> Refused:
    return Refused(
        id=number,
        listener="web",
        source="",
        peer="1.2.3.4:5",
        kind="denied",
        rule=rule,
        because="denied by its rule",
        at=at,
        request=request,
    )


def test_a_flood_in_one_second_is_a_bounded_number_of_lines_that_say_that_there_were_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    log = RefusalLog(logging.getLogger("refusals"))
    for number in range(MAX_LINES * 3):
        log.tell("web", refused(number))
    assert len(caplog.messages) == MAX_LINES + 1
    assert caplog.messages[-1] == "web: more are refused in this second; the counters have them all"
    log.tell("web", refused(999, at=1.5))
    assert caplog.messages[-1] == "web #999 from 1.2.3.4:5 refused: denied by its rule"


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"rule": "r7"}, "web #1 from 1.2.3.4:5 refused: denied by its rule (rule r7)"),
        ({"rule": "its rule"}, "web #1 from 1.2.3.4:5 refused: denied by its rule"),
        ({"request": "GET /a"}, "web #1 from 1.2.3.4:5, GET /a, refused: denied by its rule"),
    ],
    ids=str,
)
def test_a_line_names_the_rule_once_and_the_request_where_there_is_one(
    caplog: pytest.LogCaptureFixture, told: dict[str, str], line: str
) -> None:
    caplog.set_level(logging.WARNING)
    RefusalLog(logging.getLogger("refusals")).tell("web", refused(1, **told))
    assert caplog.messages == [line]
