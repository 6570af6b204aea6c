"""The yamux frame: a header of 12 bytes, big endian, then the payload of a data frame.

Source: yamux ``spec.md``, Framing.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

__all__ = [
    "ACK",
    "DATA",
    "FIN",
    "GO_AWAY",
    "HEADER",
    "HEADER_BYTES",
    "INITIAL_WINDOW_BYTES",
    "MAX_FRAME_BYTES",
    "MAX_STREAM_ID",
    "MAX_WINDOW_BYTES",
    "PING",
    "RST",
    "SESSION",
    "SYN",
    "VERSION",
    "WINDOW_UPDATE",
    "GoAwayCode",
]

#: version (8), type (8), flags (16), stream id (32), length (32).
HEADER: Final = struct.Struct(">BBHII")
HEADER_BYTES: Final = HEADER.size
VERSION: Final = 0

DATA: Final = 0
WINDOW_UPDATE: Final = 1
PING: Final = 2
GO_AWAY: Final = 3

SYN: Final = 1
ACK: Final = 2
FIN: Final = 4
RST: Final = 8

#: The stream id that stands for the session itself.
SESSION: Final = 0
MAX_STREAM_ID: Final = 2**32 - 1

#: Every stream starts with this window, both ways (spec.md, Flow Control).
INITIAL_WINDOW_BYTES: Final = 256 * 1024
#: A window is a 32 bit count.
MAX_WINDOW_BYTES: Final = 2**32 - 1
#: Nobody may send more than the window, so no data frame can be longer than this; ours are shorter to share the line.
MAX_FRAME_BYTES: Final = INITIAL_WINDOW_BYTES


class GoAwayCode(IntEnum):
    """Why a session ends (spec.md, Session termination)."""

    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
