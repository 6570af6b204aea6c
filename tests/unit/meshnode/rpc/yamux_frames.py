"""Frames of yamux byte by byte, and sessions that have a stream."""

from __future__ import annotations

import struct

from meshnode.base.errors import MeshError
from meshnode.rpc import yamux_frames as frames
from meshnode.rpc.yamux import Limits, Role, Session
from meshnode.rpc.yamux_effects import Effect, Send, SessionClosed, StreamId

__all__ = [
    "ONE",
    "TWO",
    "WINDOW",
    "client_with_stream",
    "data",
    "events",
    "frame",
    "sent",
    "server_with_stream",
    "syn",
    "the_error",
]


WINDOW = 256 * 1024
ONE, TWO = StreamId(1), StreamId(2)


def frame(kind: int, flags: int, stream: int, length: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BBHII", 0, kind, flags, stream, length) + payload


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    return frame(0, flags, stream, len(payload), payload)


def syn(stream: int) -> bytes:
    return frame(1, 1, stream, 0)


def sent(effects: list[Effect]) -> bytes:
    return b"".join(effect.data for effect in effects if isinstance(effect, Send))


def events(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if not isinstance(effect, Send)]


def server_with_stream(limits: Limits | None = None) -> Session:
    session = Session(Role.SERVER, limits)
    session.handle_data(syn(1), 0.0)
    session.accept(ONE)
    return session


def client_with_stream(limits: Limits | None = None) -> Session:
    session = Session(Role.CLIENT, limits)
    session.open_stream(0.0)
    session.handle_data(frame(1, frames.ACK, 1, 0), 0.0)
    return session


def the_error(effects: list[Effect]) -> MeshError:
    closed = effects[-1]
    assert isinstance(closed, SessionClosed)
    return closed.error
