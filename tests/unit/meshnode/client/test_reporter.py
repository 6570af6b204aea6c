from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from meshnode.client.reporter import (
    MAX_SILENCE,
    QUIET_INTERVAL,
    REPORT_INTERVAL,
    Reporter,
    serialized,
)
from tests.support.asked_agent import agent, always
from tests.support.asynchronous import asynchronous
from tests.support.scripted_agent import Asked
from tests.support.waiting import Naps


class Reports:
    """What the proxy has to tell, one after another; the last one stays."""

    def __init__(self, *bodies: Mapping[str, Any]) -> None:
        self.bodies = list(bodies)

    async def __call__(self) -> Mapping[str, Any]:
        return self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]


def body(*ids: int, **more: Any) -> dict[str, Any]:
    return {
        "Service": "web",
        "Connections": [{"ID": number} for number in ids],
        "Closed": [],
        "Refused": [],
        **more,
    }


async def run(reports: Reports, naps: int, status: int = 200) -> tuple[list[Asked], list[float]]:
    async with agent(always(b"", status=status)) as (scripted, client):
        sleeps = Naps(naps)
        with pytest.raises(asyncio.CancelledError):
            await Reporter(client, "web-sidecar-proxy", reports, sleep=sleeps).run()
        return scripted.asked, sleeps.taken


@asynchronous
async def test_news_are_told_within_a_second_and_else_every_five() -> None:
    asked, naps = await run(Reports({}, body(1), body(1), body(1, 2)), 10)
    assert set(naps) == {REPORT_INTERVAL}
    assert [len(json.loads(one.body)["Connections"]) for one in asked] == [1, 2, 2]
    assert {(one.method, one.path) for one in asked} == {
        ("PUT", "/v1/agent/connect/report/web-sidecar-proxy")
    }
    assert json.loads(asked[0].body)["Pid"] > 1


@asynchronous
async def test_an_agent_that_does_not_take_reports_is_asked_less_often_and_again() -> None:
    asked, naps = await run(Reports(body(1)), 3, 404)
    assert len(asked) == 3
    assert naps == [REPORT_INTERVAL, QUIET_INTERVAL, QUIET_INTERVAL, QUIET_INTERVAL]


@pytest.mark.parametrize(("status", "lines"), [(404, 0), (403, 1)])
@asynchronous
async def test_an_agent_that_refuses_reports_is_told_about_once(
    caplog: pytest.LogCaptureFixture, status: int, lines: int
) -> None:
    with caplog.at_level("INFO", "meshnode.proxy"):
        await run(Reports(body(1)), 3, status)
    assert sum("the agent is not told what the proxy does" in line for line in caplog.messages) == lines


@asynchronous
async def test_a_large_report_is_followed_by_a_longer_silence() -> None:
    _, naps = await run(Reports(body(1, More="x" * 600_000), body(2), body(3)), 3)
    assert naps[0] == REPORT_INTERVAL
    assert 2.0 < naps[1] < MAX_SILENCE
    assert naps[2] == REPORT_INTERVAL
    _, naps = await run(Reports(body(1, More="x" * 5_000_000)), 1)
    assert naps[1] == MAX_SILENCE


def test_a_report_that_is_too_large_keeps_the_newest_of_each_list() -> None:
    whole = body(*range(1000), Closed=[{"ID": 1}], Refused=[])
    assert json.loads(serialized(whole, 100_000)) == whole
    size = len(json.dumps(whole))
    assert json.loads(serialized(whole, size)) == whole
    cut = json.loads(serialized(whole, size - 1))
    assert [row["ID"] for row in cut["Connections"]] == list(range(500, 1000))
    assert cut["Closed"] == []
    assert json.loads(serialized(whole, 1))["Connections"] == [], "it ends, too"
