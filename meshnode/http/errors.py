"""Failures as status codes: what a handler raises, and what the outcome of an effect becomes."""

from __future__ import annotations

from typing import Final

from meshnode.base.errors import MeshError

__all__ = ["HttpError", "ServerCallError", "status_of"]

#: Sentences that mean 403 wherever they come from, a remote server included (Consul 1.2.3, API rules).
_FORBIDDEN: Final = ("Permission denied", "ACL not found")


class HttpError(MeshError):
    """An answer other than success; ``str()`` is the plain text body, which may be empty."""

    def __init__(self, status: int, message: str = "", headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class ServerCallError(MeshError):
    """A server refused or failed a call; the text gets Consul's prefix."""

    def __str__(self) -> str:
        """``rpc error making call: ...``, as clients expect it."""
        return f"rpc error making call: {super().__str__()}"


def status_of(error: MeshError) -> int:
    """The status of an error: its own, 403 for the ACL sentences, 500 for everything else."""
    if isinstance(error, HttpError):
        return error.status
    text = str(error)
    return 403 if any(sentence in text for sentence in _FORBIDDEN) else 500
