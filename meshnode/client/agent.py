"""Calls to the agent and blocking queries, over a few connections that are kept open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import urlencode

from meshnode.base.errors import MeshError
from meshnode.client.answer import AgentUnreachable, Answer
from meshnode.client.settings import ApiSettings, Query
from meshnode.client.shared import SharedWatches
from meshnode.client.tls import RenewedContext
from meshnode.client.wire import StaleConnection, Wire, request_bytes

if TYPE_CHECKING:
    import ssl

__all__ = ["CALL_TIMEOUT", "MAX_CALLS", "MAX_IDLE", "AgentClient", "Body", "By"]

#: What a call sends: JSON of a mapping, or bytes as they are.
Body: TypeAlias = "Mapping[str, Any] | bytes | None"
By: TypeAlias = Literal["index", "hash"]

#: Seconds that an answer may take.
CALL_TIMEOUT: Final = 60.0
#: Calls under way at once; further ones wait. Blocking queries of :meth:`AgentClient.watch` are not counted.
MAX_CALLS: Final = 64
#: Connections kept open that nobody uses, and the seconds after which such a one is not used again.
MAX_IDLE: Final = 8
MAX_IDLE_AGE: Final = 55.0
#: Seconds that a blocking query waits for a change, and what the agent may add to them (Consul: a sixteenth).
WATCH_WAIT: Final = 300.0
_WATCH_SLACK: Final = WATCH_WAIT / 16 + 15.0
#: Seconds between two questions of one watch at the least, and while the agent is away.
MIN_WATCH_INTERVAL: Final = 0.05
FIRST_BACK_OFF: Final = 0.25
MAX_BACK_OFF: Final = 15.0
#: Seconds between two questions when the answer can't be waited on.
POLL_INTERVAL: Final = 10.0
#: Sent only once for each call, since it may do something twice.
_NOT_REPEATED: Final = frozenset({"POST"})
#: But for those that only ask: an agent that restarts must not be taken for one that says no.
_QUESTIONS: Final = frozenset({"/v1/agent/connect/authorize"})

_log: Final = logging.getLogger("meshnode.client")


class AgentClient:
    """One agent. ``clock`` gives monotonic seconds; ``sleep`` waits for some. To be used on one event loop.

    Raises :class:`ConfigError` for settings that can't be used, by their names.
    """

    def __init__(
        self,
        settings: ApiSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._endpoint = settings.endpoint()
        self._headers = tuple(settings.headers().items())
        self._settings = settings
        self._tls = RenewedContext(settings.tls()) if self._endpoint.secure else None
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or random.Random()
        self._idle: list[Wire] = []
        self._calls = asyncio.Semaphore(MAX_CALLS)
        self._closed = False
        self._shared = SharedWatches(self.watch)

    def __repr__(self) -> str:
        """Where it is; nothing secret."""
        return f"<AgentClient {self._endpoint.text}>"

    # Calls

    async def call(
        self,
        method: str,
        path: str,
        query: Query = (),
        body: Body = None,
        *,
        timeout: float | None = CALL_TIMEOUT,
    ) -> Answer:
        """Send one request and return the answer, whatever its status. ``timeout`` is in seconds, for all of it.

        Raises :class:`AgentUnreachable`. A request on a connection that turns out to be closed is sent again; a POST
        only when it is a question.
        """
        async with self._in_time(timeout), self._calls:
            return await self._exchange(method, path, query, body)

    async def get_json(self, path: str, query: Query = ()) -> Any:
        """GET ``path`` and decode the answer; raises :class:`ApiError` when the status is not 200."""
        return (await self.call("GET", path, query)).checked().json()

    async def put_json(self, path: str, body: Body, query: Query = ()) -> Any:
        """PUT ``body`` and decode the answer, ``None`` when it is empty; raises as :meth:`get_json`."""
        return (await self.call("PUT", path, query, body)).checked().json()

    async def post_json(self, path: str, body: Body, query: Query = ()) -> Any:
        """POST ``body`` and decode the answer, ``None`` when it is empty; raises as :meth:`get_json`."""
        return (await self.call("POST", path, query, body)).checked().json()

    async def close(self) -> None:
        """Close what is idle, and every other connection once its answer is there. Calls fail from now on."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    # Watching

    async def watch(self, path: str, query: Query = (), *, by: By = "index") -> AsyncGenerator[Any, None]:
        """The decoded body of ``path`` now, and again after each change and each outage; it never ends by itself.

        ``by``: blocking queries on ``X-Consul-Index``, or on ``X-Consul-ContentHash``; an answer without that header is
        asked for every ten seconds. While the agent is away, or answers with an error, it is asked again with a growing
        pause; the log has one line for it, and one at the end.
        """
        position, outage = "", _Outage(path, self._rng)
        while True:
            asked_at = self._clock()
            try:
                # After a failure another agent may answer, whose index is about another state: don't wait on the old.
                answer = await self._ask(path, query, by, "" if outage.failures else position)
                value = answer.json()
            except MeshError as error:
                await self._sleep(outage.failed(error))
                continue
            before, position = position, _position(answer, by)
            if outage.over() or position != before or not position:
                yield value
            if not position:
                await self._sleep(POLL_INTERVAL * self._rng.uniform(0.9, 1.1))
            elif (pause := asked_at + MIN_WATCH_INTERVAL - self._clock()) > 0:
                await self._sleep(pause)

    def follow(self, path: str, query: Query = ()) -> AsyncGenerator[Any, None]:
        """As :meth:`watch`, but asked once for all who follow the same: each begins with the last known answer."""
        return self._shared.follow((path, tuple(_pairs(query))))

    def known(self, path: str, query: Query = ()) -> Any:
        """The last answer while somebody follows ``path``; ``None`` when there is none."""
        return self._shared.known((path, tuple(_pairs(query))))

    async def poll(self, path: str, query: Query, interval: float) -> AsyncGenerator[Any, None]:
        """The decoded body of ``path`` every ``interval`` seconds, if it can't be waited on; else as :meth:`watch`."""
        outage = _Outage(path, self._rng)
        while True:
            try:
                value = await self.get_json(path, query)
            except MeshError as error:
                await self._sleep(outage.failed(error))
                continue
            outage.over()
            yield value
            await self._sleep(interval * self._rng.uniform(0.9, 1.1))

    async def _ask(self, path: str, query: Query, by: By, position: str) -> Answer:
        pairs = [*_pairs(query)]
        if position:
            pairs += [(by, position), ("wait", f"{WATCH_WAIT:g}s")]
        async with self._in_time(WATCH_WAIT + _WATCH_SLACK):
            return (await self._exchange("GET", path, pairs, None)).checked()

    # Connections

    @contextlib.asynccontextmanager
    async def _in_time(self, timeout: float | None) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(timeout):
                yield
        except TimeoutError:
            raise AgentUnreachable(f"the agent at {self._endpoint.text} did not answer in time") from None

    async def _exchange(self, method: str, path: str, query: Query, body: Body) -> Answer:
        target = path + ("?" + urlencode(_pairs(query)) if query else "")
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = request_bytes(self._endpoint, method, target, self._headers, content)
        while True:
            context = self._tls.current() if self._tls is not None else None
            wire = self._kept(context)
            fresh = wire is None
            if wire is None:
                wire = await Wire.open(self._endpoint, context, self._settings.tls_server_name)
                wire.context = context
            try:
                answer = await wire.exchange(request)
            except StaleConnection:
                if fresh or (method in _NOT_REPEATED and path not in _QUESTIONS):
                    raise
                continue
            self._put_aside(wire)
            return answer

    def _kept(self, context: ssl.SSLContext | None) -> Wire | None:
        if self._closed:
            raise AgentUnreachable("the client is closed")
        now = self._clock()
        while self._idle:
            wire = self._idle.pop()
            if wire.usable and wire.context is context and now - wire.idle_since < MAX_IDLE_AGE:
                return wire
            wire.close()
        return None

    def _put_aside(self, wire: Wire) -> None:
        if self._closed or not wire.usable or len(self._idle) >= MAX_IDLE:
            wire.close()
            return
        wire.idle_since = self._clock()
        self._idle.append(wire)


class _Outage:
    """The failures in a row of one question that is asked again and again: told once, and once when they are over."""

    def __init__(self, path: str, rng: random.Random) -> None:
        self._path = path
        self._rng = rng
        self.failures = 0

    def failed(self, error: MeshError) -> float:
        """Seconds until it is asked again."""
        self.failures += 1
        if self.failures == 1:
            _log.warning("%s is not followed for now, what is known holds: %s", self._path, error)
        longest = min(MAX_BACK_OFF, FIRST_BACK_OFF * 2.0 ** min(self.failures - 1, 16))
        return float(longest * self._rng.uniform(0.5, 1.0))

    def over(self) -> bool:
        """There is an answer; whether it ends an outage."""
        failed, self.failures = self.failures > 0, 0
        if failed:
            _log.info("%s is followed again", self._path)
        return failed


def _pairs(query: Query) -> Sequence[tuple[str, str]]:
    return list(query.items()) if isinstance(query, Mapping) else list(query)


def _position(answer: Answer, by: By) -> str:
    """What the next question waits on; empty when it can't wait."""
    if by == "hash":
        return answer.content_hash
    # An index of 0 would not wait, so that the question would be asked for ever.
    return str(max(1, answer.index)) if "x-consul-index" in answer.headers else ""
