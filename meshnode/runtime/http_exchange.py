"""An answer that is not there at once: drives a handler's generator, or streams.

Most writes are one effect that only has to be put into a queue: such a one is begun at once and waited for without a
task, which is half of what a write to memory costs. Everything else is driven by a task.
"""

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
from meshnode.runtime.http_host import Begin, Host, NotDoneError, Pending, log
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

    def send_head(self, parsed: Parsed, answer: StreamResponse, started: float) -> bool:
        """Send the head of a stream; whether its pieces must be framed as chunks."""

    async def send_piece(self, piece: bytes) -> None:
        """Send bytes and wait until the client takes more; raises :class:`ConnectionError` when it is gone."""

    def exchange_ended(self, *, complete: bool) -> None:
        """The exchange is over; unless it was ``complete``, so is the connection."""


class Exchange:
    """One request in progress."""

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
        #: The first effect, when the handler has come to it already.
        self._first: Effect[Any] | None = None
        self._pending: Pending | None = None
        self._task: asyncio.Task[None] | None = None
        if host.begin is None or isinstance(outcome, StreamResponse) or not self._begin(host.begin, outcome):
            self._spawn()

    def _spawn(self) -> None:
        request = self._parsed.request
        self._task = spawn(self._run(), name=f"http {request.method} {request.metric}")
        self._task.add_done_callback(lambda _task: self._sender.exchange_ended(complete=self._complete))

    def _begin(self, begin: Begin, steps: Steps[Answer]) -> bool:
        """Begin the first effect without a task, if that can be done."""
        try:
            effect = steps.send(None)
        except StopIteration as end:
            self._outcome = _ended(end.value)
            return False
        except Exception as error:  # noqa: BLE001 - the task meets it where errors of handlers are met
            self._outcome = _failed(error)
            return False
        self._first = effect
        self._pending = None if self._host.stopping else begin(effect)
        if self._pending is None:
            return False
        self._pending.ended.add_done_callback(self._begun)
        return True

    def _begun(self, ended: asyncio.Future[Any]) -> None:
        """What was begun has ended: most handlers have their answer then."""
        pending, self._pending = self._pending, None
        assert pending is not None, "only what is pending ends"
        assert not isinstance(self._outcome, StreamResponse), "a stream is not begun"
        if ended.cancelled():
            self._outcome.close()
            self._sender.exchange_ended(complete=False)
            return
        try:
            try:
                outcome = pending.finish()
            except MeshError as error:
                self._first = self._outcome.throw(error)
            else:
                self._first = self._outcome.send(outcome)
        except NotDoneError:
            pass
        except StopIteration as end:
            if type(end.value) is Response:
                self._first = None
                self._end(end.value)
                return
            self._outcome, self._first = _ended(end.value), None
        except Exception as error:  # noqa: BLE001 - as above
            self._outcome, self._first = _failed(error), None
        self._spawn()

    def _end(self, answer: Response) -> None:
        if not self._unreachable:
            self._sender.send_answer(self._parsed, answer, self._started)
            self._complete = True
        self._sender.exchange_ended(complete=self._complete)

    def client_gone(self, *, for_good: bool) -> None:
        """The client closed its side, or (``for_good``) the connection is lost: give up what may be abandoned."""
        self._client_gone = True
        self._unreachable = self._unreachable or for_good
        if self._effect is not None and self._effect.abandoned and self._task is not None:
            self._task.cancel()

    def interrupt(self) -> None:
        """The server stops: end a wait or a stream with what there is, let everything else finish."""
        if self._effect is None or not self._effect.abandoned or self._client_gone:
            return
        if self._task is not None:
            self._interrupted = True
            self._task.cancel()

    def cancel(self) -> None:
        """End it, whatever it does."""
        self._client_gone = self._unreachable = True
        if self._task is not None:
            self._task.cancel()
        elif self._pending is not None:
            self._pending.ended.cancel()

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
                effect, self._first = self._first, None
                if effect is None:
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
            framed = self._sender.send_head(self._parsed, answer, self._started)
            if self._parsed.request.method == "HEAD":
                return framed and self._parsed.keep_alive
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
        return framed and self._parsed.keep_alive


def _ended(answer: Answer) -> Steps[Answer]:
    """A handler that has its answer already."""
    yield from ()
    return answer


def _failed(error: Exception) -> Steps[Answer]:
    """A handler that has failed already."""
    yield from ()
    raise error
