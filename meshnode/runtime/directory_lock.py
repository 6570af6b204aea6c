"""One process at a time in a directory: a lock that the kernel takes back when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["DirectoryInUseError", "take_directory"]


class DirectoryInUseError(OSError):
    """The directory is another process's."""


def take_directory(path: Path) -> int:
    """Take ``path``, made with mode 0700 when it isn't there; closing the returned descriptor gives it back.

    Nothing is written into it: the lock is on the directory itself. Where the file system knows no such locks
    (NFS) it is taken without one. Raises :class:`DirectoryInUseError` when it was taken before, by this process
    or another, and any other ``OSError`` when it can't be made or opened.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise DirectoryInUseError(error.errno, error.strerror, str(path)) from None
    except OSError:
        pass
    return descriptor
