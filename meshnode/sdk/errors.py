"""What the SDK raises besides what the agent's client does."""

from __future__ import annotations

from meshnode.base.errors import MeshError

__all__ = ["DialError", "PeerUnknownError"]


class DialError(MeshError):
    """No instance of a service could be connected to; the text has the reason of each that was tried."""


class PeerUnknownError(MeshError):
    """Nothing proves who the peer is; the text says what was missing."""
