"""Whether files are still those that were read: by what the system says of them, not by their contents."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeAlias

__all__ = ["Marks", "file_marks"]

#: To be compared only: of each file its device, inode, size and time of change, or nothing while it isn't there.
Marks: TypeAlias = tuple[tuple[int, ...], ...]


def file_marks(paths: Iterable[str]) -> Marks:
    """Equal for two moments when no file was replaced or written between them. A directory: when no entry was."""
    return tuple(map(_mark, paths))


def _mark(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
