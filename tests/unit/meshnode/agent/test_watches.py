from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.watch_handler import WatchDefinition, parse_watch
from meshnode.agent.watches import InProcessApi, Watches
from meshnode.base.errors import MeshError
from meshnode.http.api import Api
from meshnode.http.context import Context
from meshnode.http.effects import Pieces, ReadServer, Steps, StreamLog, ask
from meshnode.http.message import Request, Response, StreamResponse
from meshnode.http.router import Answer as HttpAnswer
from meshnode.http.router import Route
from meshnode.runtime.turns import Turns
from meshnode.watch.machine import Answer, Ask
from tests.support.asynchronous import asynchronous
from tests.support.http_agent import FakeView

TIMEOUT = 20.0


def no_tls(skip_verify: bool) -> Any:
    raise AssertionError("no TLS here")


class Source:
    """Answers questions about nodes: each answer that is put in is given once, to whoever asks."""

    def __init__(self) -> None:
        self.asked: list[tuple[Ask, str]] = []
        self.answers: asyncio.Queue[Answer | MeshError] = asyncio.Queue()
        self.waiting = 0

    def put(self, index: int, nodes: list[str]) -> None:
        self.answers.put_nowait(Answer(200, str(index), "", json.dumps(nodes).encode()))

    async def ask(self, question: Ask, token: str) -> Answer:
        self.asked.append((question, token))
        self.waiting += 1
        try:
            answer = await self.answers.get()
        finally:
            self.waiting -= 1
        if isinstance(answer, MeshError):
            raise answer
        return answer


def definition(news: Path, **parameters: Any) -> WatchDefinition:
    """A watch that appends what it gets to a file."""
    line = f"(echo $CONSUL_INDEX; cat) >> {news}"
    return parse_watch({"type": "nodes", "args": ["/bin/sh", "-c", line], **parameters}, "watches[0]")


async def asked(source: Source, count: int) -> None:
    async with asyncio.timeout(TIMEOUT):
        while len(source.asked) < count:
            await asyncio.sleep(0)


@asynchronous
async def test_the_handler_runs_for_each_change_before_the_next_question(tmp_path: Path) -> None:
    source, news = Source(), tmp_path / "news"
    watches = Watches(source, no_tls)
    await watches.apply([definition(news, token="t")])
    source.put(3, ["n1"])
    source.put(4, ["n1", "n2"])
    await asked(source, 3)
    assert news.read_text() == '3\n["n1"]\n4\n["n1","n2"]\n'
    assert source.asked[2] == (Ask("/v1/catalog/nodes", (("index", "4"),)), "t")
    await watches.stop()
    assert (source.waiting, watches.definitions) == (0, ())


@asynchronous
async def test_a_reload_stops_what_is_gone_starts_what_is_new_and_leaves_the_rest_alone(
    tmp_path: Path,
) -> None:
    source = Source()
    watches = Watches(source, no_tls)
    kept, gone, new = (definition(tmp_path / name, datacenter=name) for name in ("kept", "gone", "new"))
    await watches.apply([kept, gone, kept])
    await asked(source, 2)
    await watches.apply([new, kept])
    await asked(source, 3)
    await asyncio.sleep(0)
    assert [dict(question.query)["dc"] for question, _ in source.asked] == ["kept", "gone", "new"]
    assert (source.waiting, set(watches.definitions)) == (2, {kept, new})
    await watches.stop()


@asynchronous
async def test_a_handler_is_killed_with_its_watch(tmp_path: Path) -> None:
    import os

    source = Source()
    watches = Watches(source, no_tls)
    for name in ("pid", "never"):
        os.mkfifo(tmp_path / name)
    line = f"echo $$ > {tmp_path / 'pid'}; exec cat {tmp_path / 'never'}"
    await watches.apply([parse_watch({"type": "nodes", "args": ["/bin/sh", "-c", line]}, "watches[0]")])
    source.put(3, [])
    pid = int(await asyncio.to_thread((tmp_path / "pid").read_text))
    descriptor = os.pidfd_open(pid)
    await watches.stop()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    await asyncio.wait_for(ended.wait(), TIMEOUT)
    os.close(descriptor)


@asynchronous
async def test_a_failure_is_logged_and_asked_again_after_the_pause(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, pauses = Source(), []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    watches = Watches(source, no_tls, sleep)
    await watches.apply([definition(tmp_path / "news")])
    for _ in range(2):
        source.answers.put_nowait(MeshError("No cluster leader"))
    source.put(3, [])
    await asked(source, 4)
    assert pauses == [5.0, 20.0]
    assert "Watch (type: nodes) errored: No cluster leader, retry in 5s" in caplog.text
    await watches.stop()


def at_once(context: Context, request: Request) -> Response:
    assert request.method == "GET"
    body = json.dumps([request.path, request.raw_query, request.token]).encode()
    return Response(200, body, headers=(("X-Consul-Index", "7"), ("X-Consul-ContentHash", "c0ffee")))


def in_steps(context: Context, request: Request) -> Steps[HttpAnswer]:
    reply = yield from ask(ReadServer("Catalog.ListNodes", {}))
    return Response(200, json.dumps(reply).encode())


def streamed(context: Context, request: Request) -> StreamResponse:
    return StreamResponse(StreamLog("INFO"))


def in_pieces(context: Context, request: Request) -> StreamResponse:
    return StreamResponse(Pieces(iter((b"[1,", b"2]"))), headers=(("X-Consul-Index", "9"),))


@asynchronous
async def test_a_long_answer_is_watched_as_a_whole() -> None:
    async def perform(effect: Any) -> Any:
        return Turns().each(effect.pieces)

    routes = [Route("/v1/kv/:key", {"GET": in_pieces})]
    questions = InProcessApi(Api(FakeView(), random.Random(1), routes), perform)  # type: ignore[arg-type]
    answer = await questions.ask(Ask("/v1/kv/a", (("recurse", ""),)), "")
    assert (answer.status, answer.index, answer.body) == (200, "9", b"[1,2]")


@asynchronous
async def test_the_agents_own_api_answers_in_process() -> None:
    routes = [
        Route("/v1/kv/:key", {"GET": at_once}),
        Route("/v1/catalog/nodes", {"GET": in_steps}),
        Route("/v1/agent/monitor", {"GET": streamed}),
    ]
    outcomes: list[Any] = [["n1"], MeshError("No cluster leader")]

    async def perform(effect: Any) -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, MeshError):
            raise outcome
        return outcome

    questions = InProcessApi(Api(FakeView(), random.Random(1), routes), perform)  # type: ignore[arg-type]
    answer = await questions.ask(Ask("/v1/kv/a%20b/c", (("recurse", ""), ("index", "5"))), "secret")
    assert json.loads(answer.body) == ["/v1/kv/a b/c", "recurse=&index=5", "secret"]
    assert (answer.status, answer.index, answer.content_hash) == (200, "7", "c0ffee")
    assert (await questions.ask(Ask("/v1/catalog/nodes", ()), "")).body == b'["n1"]'
    refused = await questions.ask(Ask("/v1/catalog/nodes", ()), "")
    assert (refused.status, refused.body) == (500, b"No cluster leader")
    assert (await questions.ask(Ask("/v1/nothing", ()), "")).status == 404
    with pytest.raises(MeshError, match="answers with a stream"):
        await questions.ask(Ask("/v1/agent/monitor", ()), "")
