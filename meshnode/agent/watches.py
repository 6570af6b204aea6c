"""The watches of the configuration, started, stopped and exchanged at a reload.

They ask this agent's own API in process: the same router, handlers, consistency and ACLs as over HTTP, without a
socket, so they need no listener and no TLS.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlencode

from meshnode.agent.watch_handler import WatchDefinition, run_handler
from meshnode.base.errors import MeshError
from meshnode.http.api import Api, failure
from meshnode.http.effects import Effect, Pieces, Steps
from meshnode.http.message import Request, Response, StreamResponse
from meshnode.http.router import Answer as HttpAnswer
from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.watch.machine import Answer, Ask, Pause, RunHandler, Watch
from meshnode.watch.machine import Effect as WatchEffect

__all__ = ["InProcessApi", "Questions", "Watches"]

_log = logging.getLogger("meshnode.agent")


class Questions(Protocol):
    """Where watches ask."""

    async def ask(self, question: Ask, token: str) -> Answer:
        """Answer a question, in ten minutes at the latest; raises :class:`MeshError` when there is no answer."""


class InProcessApi:
    """Asks the API's handlers directly; ``perform`` carries out their effects, as for the HTTP server."""

    def __init__(self, api: Api, perform: Callable[[Effect[Any]], Awaitable[Any]]) -> None:
        self._api: Final = api
        self._perform = perform

    async def ask(self, question: Ask, token: str) -> Answer:
        """See :class:`Questions`."""
        headers = [(b"x-consul-token", token.encode())] if token else []
        path = unquote(question.path, errors="surrogateescape")
        outcome = self._api.handle(Request("GET", path, urlencode(question.query), headers, remote="watch"))
        answer = outcome if isinstance(outcome, Response | StreamResponse) else await self._drive(outcome)
        body = await self._body(answer, question.path)
        found = {name.lower(): value for name, value in answer.headers}
        return Answer(
            answer.status, found.get("x-consul-index", ""), found.get("x-consul-contenthash", ""), body
        )

    async def _body(self, answer: HttpAnswer, path: str) -> bytes:
        if isinstance(answer, Response):
            return answer.body
        if not isinstance(answer.source, Pieces):
            raise MeshError(f"{path} answers with a stream, which can't be watched")
        return b"".join([piece async for piece in await self._perform(answer.source)])

    async def _drive(self, steps: Steps[HttpAnswer]) -> HttpAnswer:
        outcome: Any = None
        error: MeshError | None = None
        try:
            while True:
                effect = steps.throw(error) if error is not None else steps.send(outcome)
                outcome = error = None
                try:
                    outcome = await self._perform(effect)
                except MeshError as failed:
                    error = failed
        except StopIteration as end:
            answer: HttpAnswer = end.value
            return answer
        except MeshError as uncaught:
            return failure(uncaught)
        finally:
            steps.close()


class Watches:
    """Runs watches; ``contexts`` makes the TLS contexts of HTTP handlers, ``sleep`` waits between failures."""

    def __init__(
        self,
        questions: Questions,
        contexts: Callable[[bool], ssl.SSLContext],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._questions = questions
        self._contexts = contexts
        self._sleep = sleep
        self._running: dict[WatchDefinition, asyncio.Task[None]] = {}

    @property
    def definitions(self) -> tuple[WatchDefinition, ...]:
        """What is running."""
        return tuple(self._running)

    async def apply(self, definitions: Iterable[WatchDefinition]) -> None:
        """Run exactly these: what is new is started, what is gone stopped with its handler, the rest goes on."""
        wanted = dict.fromkeys(definitions)
        gone = [self._running.pop(definition) for definition in [*self._running] if definition not in wanted]
        await cancel_and_wait(*gone)
        for definition in wanted:
            if definition not in self._running:
                task = spawn(self._run(definition), name=f"watch {definition.plan.type}")
                self._running[definition] = task

    async def stop(self) -> None:
        """Stop all, handlers included."""
        await self.apply(())

    async def _run(self, definition: WatchDefinition) -> None:
        watch = Watch(definition.plan)
        effects: list[WatchEffect] = watch.start()
        while True:
            following: list[WatchEffect] = []
            for effect in effects:
                match effect:
                    case RunHandler():
                        await run_handler(definition.handler, effect, self._contexts)
                    case Ask():
                        following = await self._ask(watch, effect, definition.token)
                    case Pause(seconds, reason):
                        _log.error(
                            "Watch (type: %s) errored: %s, retry in %gs", watch.plan.type, reason, seconds
                        )
                        await self._sleep(seconds)
                        following = watch.handle_timer()
            effects = following

    async def _ask(self, watch: Watch, question: Ask, token: str) -> list[WatchEffect]:
        try:
            answer = await self._questions.ask(question, token)
        except MeshError as error:
            return watch.handle_failure(str(error))
        return watch.handle_answer(answer)
