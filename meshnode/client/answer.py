"""An answer of the agent, and the errors of its API. No I/O in here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from meshnode.base.errors import MeshError

__all__ = [
    "MAX_ANSWER_BYTES",
    "AgentUnreachable",
    "Answer",
    "ApiError",
]

#: A body, far above what any command or proxy reads; a stream is not counted.
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
#: Of an error's body, in the sentence about it.
_MAX_SHOWN: Final = 4096


class ApiError(MeshError):
    """The agent answered with a status other than 200."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"Unexpected response code: {status} ({body.strip()})")
        self.status = status
        self.body = body.strip()


class AgentUnreachable(MeshError):  # noqa: N818  a state of the agent, as ConnectionRefused would be
    """No whole answer came: nobody listens there, TLS failed, or it took too long."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of any status. Header names are in lower case; of a repeated one the first counts."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body decoded, ``None`` when it is empty; raises :class:`MeshError` for what is not JSON."""
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise MeshError("what answers is no agent: its answer is not JSON") from None

    def checked(self) -> Answer:
        """Itself; raises :class:`ApiError` when the status is not 200."""
        if self.status != 200:
            raise ApiError(self.status, self.body[:_MAX_SHOWN].decode(errors="replace"))
        return self

    @property
    def index(self) -> int:
        """``X-Consul-Index``; 0 when there is none, or nothing that is a number."""
        text = self.headers.get("x-consul-index", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0

    @property
    def content_hash(self) -> str:
        """``X-Consul-ContentHash``, empty when there is none."""
        return self.headers.get("x-consul-contenthash", "")
