"""An argument that holds data, names a file (``@path``) or stands for standard input (``-``)."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO, Final

from meshnode.base.errors import MeshError

__all__ = ["MAX_DATA_BYTES", "read_argument", "read_file"]

#: As much as is read of a file or of standard input: an export of a whole store is far below.
MAX_DATA_BYTES: Final = 64 << 20


def read_argument(text: str) -> bytes:
    """The data that ``text`` holds or names; raises :class:`MeshError` when it can't be read."""
    if text.startswith("@"):
        return read_file(text[1:])
    if text == "-":
        try:
            return _bounded(sys.stdin.buffer, "standard input")
        except OSError as error:
            raise MeshError(f"Failed to read stdin: {error.strerror}") from None
    # Bytes that are no UTF-8 come in as surrogates: this gives back what was typed.
    return os.fsencode(text)


def read_file(path: str) -> bytes:
    """The contents of a file; raises :class:`MeshError` with its name."""
    try:
        with open(path, "rb") as stream:
            return _bounded(stream, path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the name holds a NUL byte"
        raise MeshError(f"Failed to read file: {path!r}: {reason}") from None


def _bounded(stream: BinaryIO, name: str) -> bytes:
    data = stream.read(MAX_DATA_BYTES + 1)
    if len(data) > MAX_DATA_BYTES:
        raise MeshError(f"{name}: more than {MAX_DATA_BYTES} bytes are not taken: split the data")
    return data
