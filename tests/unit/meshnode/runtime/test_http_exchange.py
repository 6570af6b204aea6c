"""Effects that are begun without a task: their answers, their errors, and clients and servers that go meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshnode.base.errors import MeshError
from meshnode.http.api import Api
from meshnode.http.context import Context
from meshnode.http.effects import CallServer, Effect, Steps, ask
from meshnode.http.errors import ServerCallError
from meshnode.http.message import Request, Response
from meshnode.http.router import Answer, Route
from meshnode.runtime.http_host import NotDoneError, Pending
from meshnode.runtime.tasks import spawn
from tests.support.http_agent import FakeView
from tests.support.http_serving import Serving, on_loop, serving
from tests.support.waiting import until

LOOPS = pytest.mark.parametrize("uv", [False, True], ids=["asyncio", "uvloop"])
PUT = b"PUT /v1/one/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


def one(_context: Context, request: Request) -> Steps[Answer]:
    """One effect, whose outcome is the answer."""
    return Response(200, str((yield from ask(CallServer("One", {"Key": request.param})))).encode())


def two(_context: Context, request: Request) -> Steps[Answer]:
    """A second one after it; an error of the first is part of the answer."""
    try:
        first = yield from ask(CallServer("One", {"Key": request.param}))
    except MeshError as error:
        first = f"({error})"
    second = yield from ask(CallServer("Two", {}))
    return Response(200, f"{first} {second}".encode())


def none(_context: Context, _request: Request) -> Steps[Answer]:
    """No effect at all."""
    yield from ()
    return Response(204)


def wrong(_context: Context, request: Request) -> Steps[Answer]:
    """A bug, before or after its effect."""
    if request.param == "after":
        yield from ask(CallServer("One", {}))
    raise ZeroDivisionError


ROUTES = [
    Route(f"/v1/{handler.__name__}/:x", {"PUT": handler}) for handler in (one, two, none, wrong)
]  # fmt: skip


class Queue:
    """Begins every ``One``; what is performed is performed at once."""

    def __init__(self) -> None:
        self.begun: list[asyncio.Future[Any]] = []
        self.performed: list[str] = []
        self.refuses = False

    def begin(self, effect: Effect[Any]) -> Pending | None:
        assert isinstance(effect, CallServer)
        if effect.method != "One" or self.refuses:
            return None
        ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.begun.append(ended)
        return Pending(ended, ended.result)

    async def perform(self, effect: Effect[Any]) -> Any:
        assert isinstance(effect, CallServer)
        self.performed.append(effect.method)
        return f"performed {effect.method}"


@contextlib.asynccontextmanager
async def lab() -> AsyncIterator[tuple[Serving, Queue]]:
    queue = Queue()
    api = Api(FakeView(), random.Random(1), ROUTES)  # type: ignore[arg-type]
    async with serving(api=api, begin=queue.begin) as http:
        http.server.host.perform = queue.perform
        yield http, queue


async def begun(queue: Queue, count: int = 1) -> None:
    await until(lambda: len(queue.begun) == count, "the effect is begun", interval=0.001)


async def answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    size = next((int(line.split()[1]) for line in head.split("\r\n") if line.startswith("Content-Length")), 0)
    return int(head.split()[1]), (await reader.readexactly(size)).decode()


@LOOPS
def test_an_effect_that_is_begun_is_answered_without_a_task(uv: bool) -> None:
    async def main() -> None:
        async with lab() as (http, queue):
            reader, writer = await http.connect()
            for number in range(3):
                writer.write(PUT % b"a")
                await begun(queue, number + 1)
                assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("http ")]
                queue.begun[-1].set_result(f"done {number}")
                assert await answer(reader) == (200, f"done {number}")
            assert queue.performed == []
            writer.close()

    on_loop(main, uv=uv)


def test_requests_on_one_connection_are_answered_in_their_order() -> None:
    async def main() -> None:
        async with lab() as (http, queue):
            reader, writer = await http.connect()
            writer.write(b"".join(PUT % b"%d" % number for number in range(20)))
            for number in range(20):
                await begun(queue, number + 1)
                queue.begun[-1].set_result(number)
                assert await answer(reader) == (200, str(number))
            writer.close()

    on_loop(main)


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (ServerCallError("No cluster leader"), 500, "rpc error making call: No cluster leader"),
        (ServerCallError("Permission denied"), 403, "rpc error making call: Permission denied"),
        (NotDoneError(), 200, "performed One"),
        (ZeroDivisionError(), 500, "Internal error: the agent's log has the details"),
    ],
)
def test_an_error_is_the_answer_and_what_was_not_done_is_done_again(
    error: Exception, status: int, text: str
) -> None:
    async def main() -> None:
        async with lab() as (http, queue):
            reader, writer = await http.connect()
            writer.write(PUT % b"a")
            await begun(queue)
            queue.begun[0].set_exception(error)
            assert await answer(reader) == (status, text)
            writer.write(PUT % b"b")
            await begun(queue, 2)
            queue.begun[1].set_result("next")
            assert await answer(reader) == (200, "next")
            writer.close()

    on_loop(main)


@pytest.mark.parametrize(
    ("path", "outcome", "wanted"),
    [
        (b"two/a", "first", (200, "first performed Two")),
        (b"two/a", ServerCallError("no"), (200, "(rpc error making call: no) performed Two")),
        (b"wrong/after", "first", (500, "Internal error: the agent's log has the details")),
    ],
)
def test_a_handler_goes_on_after_its_first_effect(path: bytes, outcome: Any, wanted: tuple[int, str]) -> None:
    async def main() -> None:
        async with lab() as (http, queue):
            reader, writer = await http.connect()
            writer.write((PUT % b"a").replace(b"one/a", path))
            await begun(queue)
            if isinstance(outcome, Exception):
                queue.begun[0].set_exception(outcome)
            else:
                queue.begun[0].set_result(outcome)
            assert await answer(reader) == wanted
            writer.close()

    on_loop(main)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (b"one/a", (200, "performed One")),
        (b"two/a", (200, "performed One performed Two")),
        (b"none/a", (204, "")),
        (b"wrong/before", (500, "Internal error: the agent's log has the details")),
    ],
)
def test_what_can_not_be_begun_is_performed(path: bytes, wanted: tuple[int, str]) -> None:
    async def main() -> None:
        async with lab() as (http, queue):
            queue.refuses = True
            reader, writer = await http.connect()
            for _ in range(2):
                writer.write((PUT % b"a").replace(b"one/a", path))
                assert await answer(reader) == wanted
            writer.close()

    on_loop(main)


@LOOPS
def test_a_client_that_goes_leaves_its_write_to_its_end(uv: bool) -> None:
    async def main() -> None:
        async with lab() as (http, queue):
            _, writer = await http.connect()
            writer.write(PUT % b"a")
            await begun(queue)
            writer.transport.abort()
            for _ in range(20):
                await asyncio.sleep(0)
            assert not queue.begun[0].cancelled()
            queue.begun[0].set_result("nobody hears")
            await until(lambda: not http.server.host.connections, "the connection is gone", interval=0.001)

    on_loop(main, uv=uv)


@LOOPS
def test_a_server_that_stops_gives_a_write_its_time_and_then_lets_go_of_it(uv: bool) -> None:
    async def main() -> None:
        async with lab() as (http, queue):
            reader, writer = await http.connect()
            writer.write(PUT % b"a")
            await begun(queue)
            await http.server.stop(0.05)
            assert queue.begun[0].cancelled()
            assert await reader.read() == b""
            writer.close()

    on_loop(main, uv=uv)


def test_a_write_that_ends_while_the_server_stops_is_still_answered() -> None:
    async def main() -> None:
        async with lab() as (http, queue):
            reader, writer = await http.connect()
            writer.write(PUT % b"a")
            await begun(queue)
            stopping = spawn(http.server.stop(10), name="stop")
            await asyncio.sleep(0)
            queue.begun[0].set_result("in time")
            assert await answer(reader) == (200, "in time")
            await stopping
            writer.close()

    on_loop(main)
