"""Answers of the API that several proxies need, each asked for once and followed.

A question is a path, its query and a token. It is followed while anybody holds it, by blocking queries where the API
has them, else by asking again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from meshnode.agent.watches import Questions
from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.http.errors import HttpError
from meshnode.runtime.tasks import spawn
from meshnode.watch.machine import Ask

__all__ = ["POLL_INTERVAL", "Question", "Source", "Sources"]

_log: Final = logging.getLogger("meshnode.xds")
#: Seconds between two questions that can't be waited on.
POLL_INTERVAL: Final = 10.0
#: Seconds after an answer that says nothing new.
UNCHANGED_PAUSE: Final = 0.05
#: Seconds after a failure: the first pause, doubled up to the second.
_RETRY: Final = (0.2, 10.0)


@dataclass(frozen=True, slots=True)
class Question:
    """``token`` decides what may be seen, so it is part of the question. ``blocks``: the API can be waited for."""

    path: str
    query: tuple[tuple[str, str], ...] = ()
    token: str = field(default="", repr=False)
    blocks: bool = True


class Source:
    """The latest answer; ``error`` is why the last question failed, ``None`` when it didn't."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.known = False
        self.value: Any = None
        self.error: MeshError | None = None
        self.listeners: set[Callable[[], None]] = set()
        self.task: asyncio.Task[Any] | None = None

    def tell(self) -> None:
        """Something is another."""
        for each in [*self.listeners]:
            each()


class Sources:
    """``hold`` and ``release``; all on the event loop."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._sources: dict[Question, Source] = {}

    def __len__(self) -> int:
        """Questions that are followed."""
        return len(self._sources)

    def hold(self, question: Question, changed: Callable[[], None]) -> Source:
        """The source of ``question``, which calls ``changed`` after each change until it is released."""
        source = self._sources.get(question)
        if source is None:
            source = self._sources[question] = Source(question)
            source.task = spawn(self._follow(source), name=f"xDS source {question.path}")
        source.listeners.add(changed)
        return source

    def release(self, question: Question, changed: Callable[[], None]) -> None:
        """``changed`` isn't called any more; what nobody holds is forgotten."""
        source = self._sources.get(question)
        if source is None:
            return
        source.listeners.discard(changed)
        if not source.listeners:
            del self._sources[question]
            if source.task is not None:
                source.task.cancel()

    async def _follow(self, source: Source) -> None:
        position: tuple[tuple[str, str], ...] = ()
        pause = _RETRY[0]
        while True:
            try:
                value, position, blocks = await self._ask(source.question, position)
            except MeshError as error:
                if str(error) != str(source.error):
                    _log.warning("%s: %s", source.question.path, error)
                    source.error = error
                    source.tell()
                position = ()
                await asyncio.sleep(pause)
                pause = min(_RETRY[1], pause * 2)
                continue
            pause = _RETRY[0]
            if not source.known or value != source.value or source.error is not None:
                source.known, source.value, source.error = True, value, None
                source.tell()
            elif blocks:
                # Woken for nothing; an answer that never waits must not keep the agent busy.
                await asyncio.sleep(UNCHANGED_PAUSE)
            if not blocks:
                await asyncio.sleep(POLL_INTERVAL)

    async def _ask(
        self, question: Question, position: tuple[tuple[str, str], ...]
    ) -> tuple[Any, tuple[tuple[str, str], ...], bool]:
        """The answer, what to wait on next, and whether that waits."""
        answer = await self._questions.ask(Ask(question.path, (*question.query, *position)), question.token)
        if answer.status != 200:
            raise HttpError(answer.status, answer.body.decode(errors="replace").strip()[:500])
        try:
            value = json.loads(answer.body)
        except ValueError:
            raise RemoteProtocolError(f"{question.path}: the answer is not JSON") from None
        if not question.blocks:
            return value, (), False
        if answer.content_hash:
            return value, (("hash", answer.content_hash),), True
        if answer.index.isdigit() and int(answer.index) > 0:
            before = int(dict(position).get("index", "0"))
            again = int(answer.index) if int(answer.index) >= before else 0
            return value, (("index", str(again)),) if again else (), True
        return value, (), False
