"""One request from its client to the application and back: decided about, passed on, answered, logged.

A request whose head was sent is never sent again. Whatever goes wrong before the response began is answered with a
sentence; afterwards the response ends in the middle, so that nobody takes it for whole.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from meshnode.l7.access import Exchange
from meshnode.l7.forward import Origin, forwarded
from meshnode.l7.model import InterimReceived, RefusalError, RequestHead
from meshnode.l7.rules import DENIED, admit
from meshnode.proxy.decision_cache import Decision
from meshnode.runtime.proxy.host import log
from meshnode.runtime.proxy.http_pool import UpstreamPool
from meshnode.runtime.proxy.http_server_link import ServerLink
from meshnode.runtime.proxy.http_stream import ClientStream, ServerStream
from meshnode.runtime.proxy.reactor import FAULT
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["DeniedError", "Gatekeeper", "Journal", "Relay"]

_SWITCHING: Final = 101


class DeniedError(RefusalError):
    """By an intention or by its lack; ``because`` is for the log only."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(403, DENIED, decision.because)
        self.decision = decision


class Gatekeeper(Protocol):
    """Who decides about the source of a connection, and with it about its requests."""

    async def decision(self, link: ServerLink) -> Decision:
        """What holds now; never raises."""
        ...


class Journal(Protocol):
    """Where it is written down."""

    def exchange(self, link: ServerLink, done: Exchange) -> None:
        """A request came to its end; ``refused`` says whether the rules let it."""
        ...

    def refused(self, link: ServerLink, refusal: RefusalError) -> None:
        """What came was no request, and was answered so."""
        ...

    def lost(self, link: ServerLink, kind: str, because: str) -> None:
        """The connection is gone; ``kind`` is empty when that is as it should be."""
        ...


@dataclass(slots=True)
class Relay:
    """:class:`~meshnode.runtime.proxy.http_server_link.Handler` for the clients of one listener."""

    name: str
    pool: UpstreamPool
    journal: Journal
    clock: Callable[[], float]
    entropy: Callable[[int], bytes]
    gatekeeper: Gatekeeper | None = None
    #: Clients are proxies of ours, whose word on who is behind them counts.
    trust_forwarded: bool = False

    def spawn_name(self, stream: ServerStream) -> str:
        """As :class:`Handler`."""
        return f"{self.name} request {stream.number}"

    def refused(self, link: ServerLink, refusal: RefusalError) -> None:
        """As :class:`Handler`."""
        self.journal.refused(link, refusal)

    def lost(self, link: ServerLink, kind: str, because: str) -> None:
        """As :class:`Handler`."""
        self.journal.lost(link, kind, because)

    async def handle(self, link: ServerLink, stream: ServerStream) -> None:
        """As :class:`Handler`."""
        began = self.clock()
        notes = _Notes()
        try:
            await self._serve(link, stream, notes)
        except DeniedError as denied:
            notes.refused, notes.because = "denied", denied.detail
            stream.answer(denied)
        except RefusalError as refusal:
            notes.because = f"{refusal} ({refusal.detail})" if refusal.detail else str(refusal)
            stream.answer(refusal)
        except asyncio.CancelledError:
            notes.because = str(stream.failure or "the proxy stops")
        except Exception:  # noqa: BLE001  whatever it is, it is this request's
            log.exception("%s: an HTTP request failed", self.name)
            notes.because = FAULT
            stream.answer(RefusalError(500, FAULT))
        stream.close()
        self.journal.exchange(link, self._written(link, stream, notes, self.clock() - began))

    async def _serve(self, link: ServerLink, stream: ServerStream, notes: _Notes) -> None:
        head = await self._admit(link, stream, notes)
        origin = Origin(_host(link.peer), link.certificate, self.trust_forwarded)
        head = forwarded(head, origin, self.entropy)
        notes.request_id = head.value(b"x-request-id").decode("latin-1")
        ended = stream.exhausted and not stream.trailers
        there = await self.pool.begin(head, ended=ended)
        upload: asyncio.Task[Any] | None = None
        if not ended:
            upload = spawn(_upload(stream, there), name=f"{self.name} body {stream.number}")
        try:
            await _respond(stream, there, notes)
        finally:
            await cancel_and_wait(upload)
            there.close()

    async def _admit(self, link: ServerLink, stream: ServerStream, notes: _Notes) -> RequestHead:
        if self.gatekeeper is None:
            return stream.head
        decision = await self.gatekeeper.decision(link)
        try:
            head, decision = admit(decision, stream.head)
        except RefusalError as refusal:
            notes.refused = f"http.{refusal.status}"
            raise
        notes.rule = decision.rule
        if not decision.allowed:
            raise DeniedError(decision)
        if decision.audited:
            notes.audited, notes.because = True, f"audited: {decision.because}"
        stream.admitted = stream.head
        return head

    def _written(self, link: ServerLink, stream: ServerStream, notes: _Notes, seconds: float) -> Exchange:
        head = stream.head
        return Exchange(
            listener=self.name,
            connection=link.number,
            peer=link.peer,
            source=link.source,
            method=head.method,
            authority=head.authority,
            path=head.path,
            version=head.version,
            status=stream.status,
            received=stream.received,
            sent=stream.sent,
            seconds=seconds,
            request_id=notes.request_id,
            rule=notes.rule,
            because=notes.because,
            refused=notes.refused,
            audited=notes.audited,
        )


@dataclass(slots=True)
class _Notes:
    """What the log will say."""

    request_id: str = ""
    rule: str = ""
    because: str = ""
    refused: str = ""
    audited: bool = False


async def _respond(stream: ServerStream, there: ClientStream, notes: _Notes) -> None:
    event = await there.next_head()
    while isinstance(event, InterimReceived):
        stream.send_interim(event.head)
        event = await there.next_head()
    if event.head.status == _SWITCHING:
        if not stream.head.upgrade:
            raise RefusalError(502, "the application changed the protocol, and nobody asked it to")
        stream.send_head(event.head, ended=False)
        notes.because = f"tunnel for {stream.head.upgrade}"
        await _tunnel(stream, there)
        return
    ended = there.exhausted and not there.trailers
    stream.send_head(event.head, ended=ended)
    if ended:
        return
    while data := await there.read():
        await stream.send(data)
    stream.end(there.trailers)


async def _upload(stream: ServerStream, there: ClientStream) -> None:
    """The body of the request. What fails here is told by the response, or by its lack."""
    try:
        while data := await stream.read():
            await there.send(data)
        there.end(stream.trailers)
    except RefusalError as refusal:
        there.fail(refusal)


async def _tunnel(stream: ServerStream, there: ClientStream) -> None:
    """Bytes both ways, until one side ends or fails."""
    up = spawn(_copy(stream, there), name="tunnel to the application")
    down = spawn(_copy(there, stream), name="tunnel to the client")
    try:
        await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_and_wait(up, down)
    stream.end()


async def _copy(source: ServerStream | ClientStream, to: ServerStream | ClientStream) -> None:
    with contextlib.suppress(RefusalError):
        while data := await source.read():
            await to.send(data)


def _host(peer: str) -> str:
    """The address of ``1.2.3.4:5`` or ``[::1]:5``; what has no port stays."""
    host, colon, port = peer.rpartition(":")
    return host.removeprefix("[").removesuffix("]") if colon and port.isdigit() else peer
