"""An answer that is not there at once: drives a handler's generator, or streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter
from typing import Any, Protocol

from meshnode.base.errors import MeshError
from meshnode.http.api import failure
from meshnode.http.effects import Effect, Steps
from meshnode.http.errors import HttpError
from meshnode.http.message import Request, Response, StreamResponse
from meshnode.http.redact import loggable_target
from meshnode.http.router import Answer
from meshnode.runtime.http_host import Host, log
from meshnode.runtime.http_reader import Parsed
from meshnode.runtime.tasks import spawn

__all__ = ["INTERNAL_ERROR", "Exchange", "Sender", "report_bug"]

INTERNAL_ERROR = Response.text(500, "Internal error: the agent's log has the details")


def report_bug(request: Request, error: Exception) -> None:
    """Log what a handler raised although it may not."""
    target = loggable_target(request.path, request.raw_query)
    log.error("%s %s failed: %s", request.method, target, error, exc_info=error)


class Sender(Protocol):
    """The connection, as far as an exchange needs it."""

    def send_answer(self, parsed: Parsed, answer: Response, started: float) -> None:
        """Send a complete answer."""

    def send_head(self, parsed: Parsed, answer: StreamResponse) -> bool:
        """Send the head of a stream; whether its pieces must be framed as chunks."""

    async def send_piece(self, piece: bytes) -> None:
        """Send bytes and wait until the client takes more; raises :class:`ConnectionError` when it is gone."""

    def exchange_ended(self, *, complete: bool) -> None:
        """The exchange is over; unless it was ``complete``, so is the connection."""


class Exchange:
    """One request in progress, in a task of its own."""

    def __init__(
        self, host: Host, sender: Sender, parsed: Parsed, outcome: StreamResponse | Steps[Answer]
    ) -> None:
        self._host = host
        self._sender = sender
        self._parsed = parsed
        self._outcome = outcome
        self._effect: Effect[Any] | None = None
        self._started = perf_counter()
        self._client_gone = False
        self._unreachable = False
        self._interrupted = False
        self._complete = False
        request = parsed.request
        self._task = spawn(self._run(), name=f"http {request.method} {request.metric}")
        self._task.add_done_callback(lambda _task: sender.exchange_ended(complete=self._complete))

    def client_gone(self, *, for_good: bool) -> None:
        """The client closed its side, or (``for_good``) the connection is lost: give up what may be abandoned."""
        self._client_gone = True
        self._unreachable = self._unreachable or for_good
        if self._effect is not None and self._effect.abandoned:
            self._task.cancel()

    def interrupt(self) -> None:
        """The server stops: end a wait or a stream with what there is, let everything else finish."""
        if self._effect is not None and self._effect.abandoned and not self._client_gone:
            self._interrupted = True
            self._task.cancel()

    def cancel(self) -> None:
        """End it, whatever it does."""
        self._client_gone = self._unreachable = True
        self._task.cancel()

    async def _run(self) -> None:
        try:
            self._complete = await self._answer()
        except ConnectionError:
            return
        except Exception as error:  # noqa: BLE001 - a bug in one handler must not end the connection
            report_bug(self._parsed.request, error)
            if not isinstance(self._outcome, StreamResponse):
                self._sender.send_answer(self._parsed, INTERNAL_ERROR, self._started)
                self._complete = True

    async def _answer(self) -> bool:
        answer: Answer | None
        if isinstance(self._outcome, StreamResponse):
            answer = self._outcome
        else:
            answer = await self._drive(self._outcome)
        if isinstance(answer, StreamResponse):
            self._outcome = answer
            return await self._stream(answer)
        if answer is not None and not self._unreachable:
            self._sender.send_answer(self._parsed, answer, self._started)
            return True
        return False

    async def _drive(self, steps: Steps[Answer]) -> Answer | None:
        """Run the handler; ``None`` when nobody wants its answer any more."""
        outcome: Any = None
        error: MeshError | None = None
        try:
            while True:
                effect = steps.throw(error) if error is not None else steps.send(outcome)
                if self._client_gone and (effect.abandoned or self._unreachable):
                    return None
                outcome = error = None
                try:
                    outcome = await self._perform(effect)
                except MeshError as failed:
                    error = failed
        except StopIteration as end:
            answer: Answer = end.value
            return answer
        finally:
            steps.close()

    async def _perform(self, effect: Effect[Any]) -> Any:
        stopping = HttpError(503, "The agent is stopping")
        if self._host.stopping and effect.abandoned:
            raise stopping
        self._effect = effect
        try:
            return await self._host.perform(effect)
        except asyncio.CancelledError:
            if self._was_interrupted():
                raise stopping from None
            raise
        finally:
            self._effect = None

    def _was_interrupted(self) -> bool:
        task = asyncio.current_task()
        if not self._interrupted or self._client_gone or task is None:
            return False
        return task.uncancel() == 0

    async def _stream(self, answer: StreamResponse) -> bool:
        try:
            source: AsyncIterator[bytes] = await self._perform(answer.source)
        except MeshError as error:
            self._sender.send_answer(self._parsed, failure(error), self._started)
            return True
        self._effect = answer.source
        try:
            framed = self._sender.send_head(self._parsed, answer)
            if self._parsed.request.method == "HEAD":
                return False
            async for piece in source:
                if piece:
                    await self._sender.send_piece(b"%x\r\n%b\r\n" % (len(piece), piece) if framed else piece)
        except asyncio.CancelledError:
            if not self._was_interrupted():
                raise
        finally:
            self._effect = None
            if (aclose := getattr(source, "aclose", None)) is not None:
                await aclose()
        if framed:
            await self._sender.send_piece(b"0\r\n\r\n")
        return framed
