"""An API for feeds of xDS: answers by path, which the test sets, with blocking queries."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from meshnode.config_entries.chain import compile_chain
from meshnode.config_entries.chain_fields import chain_fields
from meshnode.config_entries.model import ConfigEntry
from meshnode.watch.machine import Answer, Ask
from tests.support.config_entries import table
from tests.support.xds import DOMAIN

__all__ = ["Api", "chain", "row"]


class Api:
    """Answers by path; a question with an index waits until that answer is another."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.versions: dict[str, int] = {}
        self.asked: list[tuple[str, str]] = []
        self.queries: dict[str, set[tuple[str, str]]] = {}
        self.changed = asyncio.Event()

    def set(self, path: str, value: Any, status: int = 200) -> None:
        self.answers[path] = status, value
        self.versions[path] = self.versions.get(path, 0) + 1
        told, self.changed = self.changed, asyncio.Event()
        told.set()

    async def ask(self, question: Ask, token: str) -> Answer:
        self.asked.append((question.path, token))
        self.queries.setdefault(question.path, set()).update(question.query)
        known = int(dict(question.query).get("index", "0"))
        while known and self.versions.get(question.path) == known:
            await self.changed.wait()
        status, value = self.answers.get(question.path, (404, "unknown service"))
        body = value if isinstance(value, str) else json.dumps(value)
        return Answer(status, str(self.versions.get(question.path, "")), "", body.encode())


def chain(service: str, *entries: ConfigEntry | str) -> dict[str, Any]:
    return {"Chain": chain_fields(compile_chain(table(*entries), service, "dc1", trust_domain=DOMAIN))}


def row(port: int, status: str = "passing") -> dict[str, Any]:
    return {
        "Node": {"Address": "127.0.0.1", "Datacenter": "dc1"},
        "Service": {"Port": port},
        "Checks": [{"Status": status}],
    }
