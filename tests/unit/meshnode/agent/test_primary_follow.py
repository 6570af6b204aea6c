from __future__ import annotations

import asyncio
import itertools
import logging
import random

import pytest

from meshnode.agent.primary_follow import answer_of, blocking, follow, next_index
from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.support.virtual_time import run


def followed(steps: list[int | str], seconds: float) -> list[tuple[float, int]]:
    """When ``step`` was called with which index, when it gives the numbers in turn and raises the texts."""
    called: list[tuple[float, int]] = []

    async def step(index: int) -> int:
        called.append((asyncio.get_running_loop().time(), index))
        if not steps:
            await asyncio.sleep(1e9)
        outcome = steps.pop(0)
        if isinstance(outcome, str):
            raise MeshError(outcome)
        return outcome

    async def whole() -> None:
        task = spawn(follow("copy", step, random.Random(1)), name="follow")
        await asyncio.sleep(seconds)
        await cancel_and_wait(task)

    run(whole())
    return called


def test_each_step_goes_on_from_the_index_of_the_last() -> None:
    assert [index for _, index in followed([5, 9], 1.0)] == [0, 5, 9]


def test_a_failure_is_tried_again_soon_and_then_every_few_seconds_from_the_beginning() -> None:
    called = followed([5, *["away"] * 20], 60.0)
    assert [index for _, index in called[:4]] == [0, 5, 0, 0]
    pauses = [after - before for (before, _), (after, _) in itertools.pairwise(called[1:])]
    assert 0.25 <= pauses[0] <= 0.5
    assert all(2.5 <= pause <= 5.0 for pause in pauses[5:])
    assert len(pauses) > 10


def test_a_reason_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "meshnode.federation")
    followed(["away", "away", "late", 3, 4], 60.0)
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "copy: the copy of the primary datacenter may be old: away",
        "copy: the copy of the primary datacenter may be old: late",
        "copy: in step with the primary datacenter again",
    ]


def test_a_question_blocks_once_there_is_an_index_and_begins_anew_when_that_goes_back() -> None:
    assert blocking(0) == {}
    assert blocking(7)["MinQueryIndex"] == 7
    assert next_index({"Index": 9}, 7) == 9
    assert next_index({"Index": 7}, 7) == 7
    assert next_index({"Index": 3}, 7) == 0
    assert next_index({}, 7) == 0


def test_an_answer_that_is_no_struct_is_refused() -> None:
    assert answer_of({"a": 1}) == {"a": 1}
    with pytest.raises(RemoteProtocolError):
        answer_of([1])
