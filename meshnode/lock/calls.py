"""What the machines ask of their shell, and what it answers.

A machine is a generator: it yields a ``Call`` or a ``Pause``, is sent a ``Reply``, and returns its outcome::

    reply = None
    while True:
        request = steps.send(reply)     # StopIteration.value is the outcome
        reply = perform(request)
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from meshnode.base.errors import MeshError

__all__ = ["Call", "LockError", "Pair", "Pause", "Reply", "Steps", "kv_path", "parse_pairs"]

T = TypeVar("T")


class LockError(MeshError):
    """The lock can't be had, or can't be given back; ``str()`` says why."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the API; ``path`` is percent-encoded. A blocking one carries ``index`` and ``wait``."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait ``seconds``; the reply to it has only ``now``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """``status`` is 0 when nobody answered, ``index`` 0 when none was sent; ``now`` is monotonic seconds.

    ``reason`` is a sentence for anything but status 200.
    """

    now: float
    status: int = 0
    index: int = 0
    body: bytes = b""
    reason: str = ""

    @property
    def is_passing_trouble(self) -> bool:
        """Nobody answered, or a server failed: to be asked again."""
        return self.status == 0 or self.status == 429 or self.status >= 500

    def expect(self, failing: str) -> Reply:
        """This reply, or :class:`LockError` beginning with ``failing`` unless the status is 200."""
        if self.status != 200:
            raise LockError(f"{failing}: {self.reason or self.status}")
        return self

    @property
    def is_true(self) -> bool:
        """Whether the body is ``true``: a write was made."""
        return self.body.strip() == b"true"


#: A machine under way.
Steps = Generator[Call | Pause, Reply, T]


@dataclass(frozen=True, slots=True)
class Pair:
    """One entry of the KV store, as far as locks need it."""

    key: str
    value: bytes
    flags: int
    session: str
    modify_index: int


def kv_path(key: str) -> str:
    """The path of ``key`` in the API."""
    return "/v1/kv/" + quote(key, safe="/")


def parse_pairs(reply: Reply, failing: str) -> list[Pair]:
    """The entries of an answer, none for 404; raises :class:`LockError` for any other answer."""
    if reply.status == 404:
        return []
    reply.expect(failing)
    try:
        entries = json.loads(reply.body)
        if not isinstance(entries, list):
            raise TypeError
        return [_pair(entry) for entry in entries]
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        raise LockError(f"{failing}: the answer is not a list of entries") from None


def _pair(entry: Any) -> Pair:
    return Pair(
        str(entry["Key"]),
        base64.b64decode(entry["Value"] or ""),
        int(entry["Flags"]),
        str(entry.get("Session") or ""),
        int(entry["ModifyIndex"]),
    )
