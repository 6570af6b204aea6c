"""One error root; the type says whose fault it is.

``MeshError``
 ├─ ``ConfigError``           what the operator wrote: names the key, the place and the fix
 ├─ ``LocalProtocolError``    our own code broke the rules of a protocol
 └─ ``RemoteProtocolError``   a peer sent what the protocol forbids; no state was changed

Expected failures (a refused connection, a time-out) are values in events, not exceptions.
"""

from __future__ import annotations

__all__ = ["ConfigError", "LocalProtocolError", "MeshError", "RemoteProtocolError"]


class MeshError(Exception):
    """Root of every error that meshnode raises on purpose; ``str()`` is a sentence for a person."""


class ConfigError(MeshError):
    """A configured value can't be used.

    ``key`` is the dotted configuration key, ``where`` the file or flag that it came from (empty when unknown).
    """

    def __init__(self, message: str, *, key: str = "", where: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.where = where

    def __str__(self) -> str:
        """``where: message``, with the place left out when it isn't known."""
        text = super().__str__()
        return f"{self.where}: {text}" if self.where else text


class LocalProtocolError(MeshError):
    """We tried something that the protocol does not allow in this state; state is unchanged."""


class RemoteProtocolError(MeshError):
    """The peer sent bytes that the protocol does not allow; state is unchanged."""
