"""The data directory: one agent at a time in it, and why one can't be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from meshnode.base.errors import ConfigError
from meshnode.runtime.directory_lock import DirectoryInUseError, take_directory

__all__ = ["hold_data_dir", "unusable"]

#: What helps against an error of the system; against any other it is the directory's owner.
_FIXES: Final = {
    errno.ENOSPC: "free space on its file system",
    errno.EDQUOT: "free space, or raise the quota",
    errno.EROFS: "mount its file system for writing",
}


@contextmanager
def hold_data_dir(data_dir: str) -> Iterator[None]:
    """Keep every other agent out of ``data_dir`` (made when missing) until the block ends; empty: there is none.

    Two agents in one directory would be one node in two places. Raises :class:`ConfigError`.
    """
    if not data_dir:
        yield
        return
    try:
        descriptor = take_directory(Path(data_dir))
    except DirectoryInUseError:
        raise ConfigError(
            f"data_dir: another agent runs in {data_dir}: stop it, or give this one a directory of its own",
            key="data_dir",
        ) from None
    except OSError as error:
        raise unusable(Path(data_dir), error) from None
    try:
        yield
    finally:
        os.close(descriptor)


def unusable(path: Path, error: OSError) -> ConfigError:
    """What to say when ``path``, which is or is in the data directory, can't be written because of ``error``."""
    fix = _FIXES.get(error.errno or 0, "give the directory to the agent's user")
    return ConfigError(f"data_dir: can't write {path}: {error.strerror}: {fix}", key="data_dir")
