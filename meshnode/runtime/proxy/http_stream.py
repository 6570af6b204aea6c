"""One request and its response as coroutines see them: heads, pieces of body, an end, or a failure.

Reading gives back what was received, in order, and tells the peer that there is room again. Sending waits for room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshnode.l7.model import (
    Fields,
    InterimReceived,
    RefusalError,
    RequestHead,
    ResponseHead,
    ResponseReceived,
)
from meshnode.l7.timeouts import ExchangeClock

if TYPE_CHECKING:
    from meshnode.runtime.proxy.http_client_link import ClientLink
    from meshnode.runtime.proxy.http_server_link import ServerLink

__all__ = ["ClientStream", "HttpStream", "ServerStream"]


class HttpStream:
    """What both sides have in common. ``waiting`` counts received bytes that nobody has read."""

    def __init__(self, link: ServerLink | ClientLink, number: int) -> None:
        self._link = link
        self.number = number
        self._pieces: deque[tuple[bytes, int]] = deque()
        self.waiting = 0
        self.over = False
        self.trailers: Fields = ()
        self.failure: RefusalError | None = None
        self._waiters: list[asyncio.Future[None]] = []

    # By the link

    def push(self, data: bytes, weight: int) -> None:
        """A piece of the body came."""
        self._pieces.append((data, weight))
        self.waiting += len(data)
        self.wake()

    def finish(self, trailers: Fields) -> None:
        """The body has ended."""
        self.over, self.trailers = True, trailers
        self.wake()

    def fail(self, refusal: RefusalError) -> None:
        """Nothing more comes or goes."""
        if self.failure is None:
            self.failure = refusal
        self.wake()

    def wake(self) -> None:
        """Something is another: whoever waits looks again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    # By who passes it on

    @property
    def exhausted(self) -> bool:
        """Whether all of the body was read."""
        return self.over and not self._pieces

    async def read(self) -> bytes:
        """The next piece of the body, empty at its end. Raises :class:`RefusalError` when it ends unfinished."""
        while not self._pieces:
            if self.failure is not None:
                raise self.failure
            if self.over:
                return b""
            await self._wait()
        data, weight = self._pieces.popleft()
        self.waiting -= len(data)
        self._link.consumed(self, weight)
        return data

    async def send(self, data: bytes) -> None:
        """Send a piece of the body, as soon as there is room. Raises :class:`RefusalError` when it can't be sent."""
        while data:
            if self.failure is not None:
                raise self.failure
            room = self._link.room(self.number)
            if room <= 0:
                await self._wait()
                continue
            piece, data = data[:room], data[room:]
            self._link.send_body(self.number, piece)


class ServerStream(HttpStream):
    """A client's request, and the response to it."""

    def __init__(
        self, link: ServerLink, number: int, head: RequestHead, clock: ExchangeClock, *, ended: bool
    ) -> None:
        super().__init__(link, number)
        self._server = link
        self.head = head
        self.clock = clock
        self.over = ended
        #: Of the response; 0 while there is none.
        self.status = 0
        self.received = self.sent = 0
        self.task: asyncio.Task[Any] | None = None
        #: What it is about as it was passed on, for whoever decides again.
        self.admitted: RequestHead | None = None

    def push(self, data: bytes, weight: int) -> None:
        """As :class:`HttpStream`."""
        self.received += len(data)
        self.clock.moved(self._server.clock())
        super().push(data, weight)

    def fail(self, refusal: RefusalError) -> None:
        """As :class:`HttpStream`; nobody works for it any more."""
        super().fail(refusal)
        if self.task is not None:
            self.task.cancel()

    async def send(self, data: bytes) -> None:
        """As :class:`HttpStream`."""
        await super().send(data)
        self.sent += len(data)
        self.clock.moved(self._server.clock())

    def send_interim(self, head: ResponseHead) -> None:
        """A 1xx."""
        self._server.send_interim(self.number, head)

    def send_head(self, head: ResponseHead, *, ended: bool) -> None:
        """The response; ``ended``: it has no body. A 101 opens a tunnel: bytes both ways."""
        self.status = head.status
        self.clock.moved(self._server.clock())
        if head.status == 101:
            self.over, self.clock.tunnel = False, True
        self._server.send_head(self, head, ended=ended)

    def end(self, trailers: Fields = ()) -> None:
        """The response is whole."""
        self._server.end(self, trailers)

    def close(self) -> None:
        """Nobody works for it any more."""
        self._server.forget(self)

    def answer(self, refusal: RefusalError) -> None:
        """A response of ours; where one has begun already, its end in the middle."""
        self._server.answer(self, refusal)


class ClientStream(HttpStream):
    """A request of ours to the application, and its response."""

    def __init__(
        self, link: ClientLink, number: int, done: Callable[[ClientStream], None], *, ended: bool
    ) -> None:
        super().__init__(link, number)
        #: The request was sent to its end.
        self.sent_all = ended
        self._client = link
        self._done = done
        self._heads: deque[InterimReceived | ResponseReceived] = deque()

    def respond(self, event: InterimReceived | ResponseReceived) -> None:
        """A head came."""
        self._heads.append(event)
        self.over = self.over or (isinstance(event, ResponseReceived) and event.ended)
        self.wake()

    async def next_head(self) -> InterimReceived | ResponseReceived:
        """The next head, final or not. Raises :class:`RefusalError` (502) when none comes."""
        while not self._heads:
            if self.failure is not None:
                raise self.failure
            await self._wait()
        return self._heads.popleft()

    def end(self, trailers: Fields = ()) -> None:
        """The request is whole."""
        self.sent_all = True
        self._client.end(self.number, trailers)

    def close(self) -> None:
        """Nobody needs it any more; unfinished, it is given up."""
        self._done(self)
