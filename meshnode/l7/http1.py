"""What both ends of an HTTP/1.1 connection share: one exchange at a time, bytes after a 101, no windows. RFC 9112."""

from __future__ import annotations

from typing import Final

import h11

from meshnode.l7.model import HTTP_1_1, NO_WINDOW, BodyReceived, Bounds, Event, MessageEnded, Output

__all__ = ["SWITCHING", "Http1End"]

#: The status after which both directions are bytes.
SWITCHING: Final = 101


class Http1End:
    """One end of a connection over h11; ``max_head_bytes`` is what h11 holds back of a head."""

    def __init__(self, role: type[h11.CLIENT | h11.SERVER], bounds: Bounds, max_head_bytes: int) -> None:
        self.version = HTTP_1_1
        self._bounds = bounds
        self._h11 = h11.Connection(role, max_incomplete_event_size=max_head_bytes)
        self._output = Output()
        self._stream = 0
        self._tunnel = False
        self._chunked = False
        self.finished = False

    def start(self) -> None:
        """Nothing: the client's request is the first that is sent."""

    def window(self, stream: int) -> int:
        """As :class:`~meshnode.l7.model.Codec`."""
        return NO_WINDOW

    def consumed(self, stream: int, weight: int) -> None:
        """Nothing: the connection itself is the flow control."""

    def take_output(self) -> bytes:
        """As :class:`~meshnode.l7.model.Codec`."""
        return self._output.take()

    def _tunnelled(self, data: bytes) -> list[Event]:
        """What came through a connection that is bytes now; none is its end."""
        return [BodyReceived(self._stream, data, len(data)) if data else MessageEnded(self._stream)]
