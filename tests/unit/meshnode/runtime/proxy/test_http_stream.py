"""Requests side by side on one HTTP/2 connection: none waits for another; what is given up leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)

from meshnode.l7.flood import RESETS
from meshnode.l7.model import Bounds
from meshnode.l7.timeouts import Timeouts
from meshnode.proxy.config import Endpoint
from tests.support.asynchronous import on_uvloop
from tests.support.http_proxy import http2_peer, listening, show_app
from tests.support.proxy import local, server
from tests.support.waiting import until
from tests.support.wire import free_port


class Held:
    """An application that answers ``/now`` at once and nothing else ever; it counts who asks and who is gone."""

    def __init__(self) -> None:
        self.asked = self.gone = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                if head.startswith(b"GET /now"):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.gone += 1


@contextlib.asynccontextmanager
async def held() -> AsyncIterator[tuple[Held, Endpoint]]:
    app = Held()
    async with server(app) as endpoint:
        yield app, endpoint


@on_uvloop
async def test_a_request_that_is_answered_does_not_wait_for_one_that_is_not() -> None:
    async with (
        held() as (app, endpoint),
        listening(endpoint) as front,
        http2_peer(front.address.port) as peer,
    ):
        slow = peer.ask("/slow")
        fast = peer.ask("/now")
        found = await peer.events(StreamEnded)
        assert [event.stream_id for event in found if isinstance(event, ResponseReceived)] == [fast]
        assert b"".join(event.data for event in found if isinstance(event, DataReceived)) == b"ok"
        assert slow < fast
        await until(lambda: app.asked == 2, "the slow one was asked too")


@on_uvloop
async def test_a_request_that_its_client_gives_up_is_given_up_at_the_application() -> None:
    async with (
        held() as (app, endpoint),
        listening(endpoint) as front,
        http2_peer(front.address.port) as peer,
    ):
        stream = peer.ask("/slow")
        peer.flush()
        await until(lambda: app.asked == 1, "the application was asked")
        peer.h2.reset_stream(stream)
        peer.flush()
        await until(lambda: app.gone == 1, "the application has heard of it")
        (link,) = front._links
        assert not link.streams
        assert len(front._relay.pool) == 0
        peer.ask("/now")
        assert any(isinstance(event, ResponseReceived) for event in await peer.events(StreamEnded))


@on_uvloop
async def test_resets_in_masses_end_the_connection_and_leave_nothing_behind() -> None:
    async with held() as (_, endpoint), listening(endpoint) as front, http2_peer(front.address.port) as peer:
        for _ in range(RESETS[0] + 1):
            peer.h2.reset_stream(peer.ask("/slow", ended=False))
        found = await peer.events(ConnectionTerminated)
        (ended,) = [event for event in found if isinstance(event, ConnectionTerminated)]
        assert ended.error_code == ErrorCodes.ENHANCE_YOUR_CALM
        peer.writer.close()
        await until(lambda: not front._links, "the connection is gone")
        assert front.counters["refused.protocol"] == 1
        await until(lambda: len(front._relay.pool) == 0, "nothing waits at the application")


@on_uvloop
async def test_a_connection_without_requests_is_told_goodbye_when_its_time_is_over() -> None:
    now = [1000.0]
    async with (
        held() as (_, endpoint),
        listening(endpoint, clock=lambda: now[0], timeouts=Timeouts(first=10.0, idle=300.0)) as front,
        http2_peer(front.address.port) as peer,
    ):
        await peer.events(RemoteSettingsChanged)
        (link,) = front._links
        now[0] += 11.0
        front.check(now[0])
        assert link._lingering_since is None
        now[0] += 290.0
        front.check(now[0])
        found = await peer.events(ConnectionTerminated)
        (ended,) = [event for event in found if isinstance(event, ConnectionTerminated)]
        assert ended.error_code == ErrorCodes.NO_ERROR


@on_uvloop
async def test_a_client_that_leaves_takes_its_requests_along() -> None:
    async with held() as (app, endpoint), listening(endpoint) as front:
        async with http2_peer(front.address.port) as peer:
            for _ in range(20):
                peer.ask("/slow")
            peer.flush()
            await until(lambda: app.asked == 20, "all were asked")
        await until(lambda: app.gone == 20, "all are given up")
        assert front.counters["requests"] == 20


@on_uvloop
async def test_an_answer_before_the_end_of_the_request_ends_both() -> None:
    async with (
        listening(local(free_port())) as behind,
        listening(behind.address, upstream_http2=True) as front,
        http2_peer(front.address.port) as peer,
    ):
        stream = peer.ask("/upload", ended=False)
        found = await peer.events(StreamReset)
        (answer,) = [event for event in found if isinstance(event, ResponseReceived)]
        (calm,) = [event for event in found if isinstance(event, StreamReset)]
        assert (answer.stream_id, calm.error_code) == (stream, ErrorCodes.NO_ERROR)
        for server_ in (front, behind):
            await until(
                lambda server_=server_: not any(link.streams for link in server_._links), "nothing is left"
            )
        (link,) = front._relay.pool._links
        assert link.free == Bounds().max_streams


@on_uvloop
async def test_a_client_that_does_not_read_holds_up_only_its_own_stream() -> None:
    large = 5_000_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % large + b"x" * large)
            await writer.drain()

    async with server(serve) as app, listening(app) as front, http2_peer(front.address.port) as peer:
        stream = peer.ask()
        await peer.events(DataReceived)
        (link,) = front._links
        (served,) = link.exchanges
        await until(lambda: link.room(stream) == 0, "its window is used up")
        assert served.sent <= 65_535
        received = served.sent
        while received < large:
            peer.h2.increment_flow_control_window(1_000_000)
            peer.h2.increment_flow_control_window(1_000_000, stream)
            found = await peer.events(DataReceived)
            received += sum(len(event.data) for event in found if isinstance(event, DataReceived))
            if any(isinstance(event, StreamEnded) for event in found):
                break
        await until(lambda: not link.streams, "the response is whole")
        assert front.counters["responses.2xx"] == 1


@on_uvloop
async def test_a_client_that_asks_beyond_the_bound_it_was_told_is_cut_off() -> None:
    bounds = Bounds(max_streams=2)
    async with (
        held() as (app, endpoint),
        listening(endpoint, bounds=bounds) as front,
        http2_peer(front.address.port) as peer,
    ):
        for _ in range(2):
            peer.ask("/slow")
        peer.flush()
        await until(lambda: app.asked == 2, "both were asked")
        peer.h2.remote_settings.max_concurrent_streams = 100
        peer.ask("/now")
        found = await peer.events(ConnectionTerminated)
        assert any(isinstance(event, StreamReset | ConnectionTerminated) for event in found)
        assert app.asked == 2


@on_uvloop
async def test_many_requests_share_few_connections() -> None:
    async with show_app() as app, listening(app) as front, http2_peer(front.address.port) as peer:
        for number in range(60):
            peer.ask(f"/{number}")
        ended = 0
        while ended < 60:
            ended += sum(isinstance(event, StreamEnded) for event in await peer.events(StreamEnded))
        assert front.counters["connections"] == 1
        assert front.counters["responses.2xx"] == 60
