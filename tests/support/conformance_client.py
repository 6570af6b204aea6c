"""Sends a case of HTTP/2 with a request in order behind it, and tells what came of both."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Final

from h2.errors import ErrorCodes
from hpack import Decoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
)

from meshnode.proxy.config import Endpoint
from tests.support.conformance_http2 import CLIENT_HELLO, SENTINEL_STREAM, frame, sentinel
from tests.support.conformance_planes import CLOSED, NEXT, PATIENCE, WAITS, connect, shown_message

__all__ = ["ask_http2"]

_HEAD_BYTES: Final = 9
_SETTINGS, _ACK = 4, 1
_CASE_STREAM: Final = 1


@dataclass(slots=True)
class _Stream:
    plane: str
    status: str = ""
    body: bytearray = field(default_factory=bytearray)
    reset: str = ""
    over: bool = False

    def __str__(self) -> str:
        if self.status == "200" and self.over:
            return f"200 {shown_message(bytes(self.body), self.plane)}"
        # A reset without an error behind an answer only says that the rest of the request is not wanted.
        return self.status or (f"reset {self.reset}" if self.reset else "")


class _Heard:
    """What the data plane says on one connection."""

    def __init__(self, plane: str) -> None:
        self._plane = plane
        self.streams: dict[int, _Stream] = {}
        self.goaway = False
        self._decoder = Decoder(max_header_list_size=1024 * 1024)
        self._decoder.max_allowed_table_size = 65536

    @property
    def over(self) -> bool:
        """Both requests are at their end."""
        return all(
            number in self.streams and self.streams[number].over for number in (_CASE_STREAM, SENTINEL_STREAM)
        )

    def hear(self, one: Frame) -> None:
        stream = self.streams.setdefault(one.stream_id, _Stream(self._plane))
        match one:
            case HeadersFrame():
                found = {
                    bytes(name): bytes(value) for name, value in self._decoder.decode(one.data, raw=True)
                }
                stream.status = stream.status if b":status" not in found else found[b":status"].decode()
            case DataFrame():
                stream.body += one.data
            case RstStreamFrame():
                stream.reset = ErrorCodes(one.error_code).name
                stream.over = True
            case GoAwayFrame():
                self.goaway = True
        stream.over = stream.over or "END_STREAM" in one.flags

    def outcome(self, end: str) -> str:
        """What came of the case."""
        case, last = self.streams.get(_CASE_STREAM), self.streams.get(SENTINEL_STREAM)
        told = [str(case)] if case is not None and str(case) else []
        if last is not None and last.status == "200":
            return "; ".join([*told, NEXT])
        return "; ".join([*told, CLOSED if self.goaway else end])


async def ask_http2(to: Endpoint, data: bytes, plane: str = "") -> str:
    """The outcome of the frames ``data`` on a connection of their own, over TLS."""
    reader, writer = await connect(to, "h2")
    heard, end = _Heard(plane), CLOSED
    try:
        writer.write(CLIENT_HELLO + data + sentinel())
        async with asyncio.timeout(PATIENCE):
            while not heard.over:
                head = await reader.readexactly(_HEAD_BYTES)
                one, length = Frame.parse_frame_header(memoryview(head))
                one.parse_body(memoryview(await reader.readexactly(length)))
                heard.hear(one)
                if isinstance(one, SettingsFrame) and "ACK" not in one.flags:
                    writer.write(frame(_SETTINGS, _ACK, 0))
    except TimeoutError:
        end = WAITS
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.transport.abort()
    return heard.outcome(end)
