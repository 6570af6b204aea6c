from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from meshnode.base.errors import MeshError
from meshnode.cli.api import ApiAnswer, ApiClient
from meshnode.cli.drive import BLOCKING_TIMEOUT, CALL_TIMEOUT, Driver, in_thread, read_index
from meshnode.client.settings import ApiSettings
from meshnode.lock.calls import Call, LockError, Pause, Reply, Steps


class Client(ApiClient):
    """Answers from a list, and writes down what it was asked."""

    def __init__(self, *answers: ApiAnswer | MeshError) -> None:
        super().__init__(ApiSettings())
        self.answers = list(answers)
        self.asked: list[tuple[Any, ...]] = []

    def exchange(self, *args: Any, **_kwargs: Any) -> ApiAnswer:
        self.asked.append(args)
        answer = self.answers.pop(0)
        if isinstance(answer, MeshError):
            raise answer
        return answer


def driver(client: Client, pauses: list[float] | None = None) -> Driver:
    async def sleep(seconds: float) -> None:
        (pauses if pauses is not None else []).append(seconds)

    return Driver(client, {"dc": "dc2"}, clock=lambda: 7.0, sleep=sleep)


def test_a_machine_is_run_to_its_outcome() -> None:
    client, pauses = Client(ApiAnswer(200, b"true", "12"), MeshError("refused"), ApiAnswer(500, b"why\n")), []

    def steps() -> Steps[list[Reply]]:
        return [
            (yield Call("PUT", "/a", (("cas", "1"),), b"x")),
            (yield Pause(3.0)),
            (yield Call("GET", "/b", (("index", "5"),))),
            (yield Call("GET", "/c")),
        ]

    replies = asyncio.run(driver(client, pauses).run(steps()))
    assert replies == [
        Reply(7.0, 200, 12, b"true"),
        Reply(7.0),
        Reply(7.0, reason="refused"),
        Reply(7.0, 500, 0, b"why\n", "Unexpected response code: 500 (why)"),
    ]
    assert pauses == [3.0]
    assert client.asked == [
        ("PUT", "/a", {"cas": "1", "dc": "dc2"}, b"x", CALL_TIMEOUT),
        ("GET", "/b", {"index": "5", "dc": "dc2"}, None, BLOCKING_TIMEOUT),
        ("GET", "/c", {"dc": "dc2"}, None, CALL_TIMEOUT),
    ]


def test_what_a_machine_raises_is_raised() -> None:
    def steps() -> Steps[None]:
        yield Pause(0.0)
        raise LockError("no")

    with pytest.raises(LockError, match="no"):
        asyncio.run(driver(Client()).run(steps()))


def test_a_call_that_nobody_waits_for_any_more_holds_up_nothing() -> None:
    began, go_on = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go_on.wait(20.0)

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await in_thread(work)

    asyncio.run(scenario())
    assert began.is_set()
    go_on.set()


def test_what_work_raises_is_raised_where_it_is_awaited() -> None:
    def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(in_thread(work))


@pytest.mark.parametrize(
    ("text", "index"), [("", 0), ("0", 0), ("12", 12), ("-1", 0), ("x", 0), ("9" * 21, 0), ("٣", 0)]
)
def test_an_index_is_a_number_or_there_is_none(text: str, index: int) -> None:
    assert read_index(ApiAnswer(200, b"", text)) == index
