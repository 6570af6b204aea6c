"""Small files that only their owner may read: each holds its old content or the new one, never half of it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

__all__ = ["TEMPORARY", "sync_directory", "write_private"]

#: What the name of a file that is being written ends in; a killed process leaves one.
TEMPORARY: Final = ".tmp"


def write_private(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Put ``content`` in the place of what ``path`` holds, mode 0600, never through a link.

    ``durable``: it is on the disk on return. Raises ``OSError``; what was there is then untouched.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_directory(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def sync_directory(path: Path) -> None:
    """Make the names in ``path`` durable. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
