"""Files that have no name: what is in them is on no disk, and only who inherits the descriptor can read it."""

from __future__ import annotations

import os

__all__ = ["unnamed_file"]


def unnamed_file(content: bytes) -> int:
    """A descriptor of a file with ``content``, at its beginning; to be closed by the caller. Raises ``OSError``."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("content")
    else:
        import tempfile  # here: Linux needs none of it

        descriptor, path = tempfile.mkstemp()
        os.unlink(path)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
