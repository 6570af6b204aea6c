"""What the running agent works with, for whoever has to decide whether a restart or a reload is needed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import meshnode
from meshnode.runtime.private_file import TEMPORARY

__all__ = ["RunningState", "files_digest", "package_digest", "remove_state", "write_state"]

FILE_NAME = "state.json"
_RELEASES = "releases"


@dataclass(frozen=True, slots=True)
class RunningState:
    """``config_digest`` is that of the configuration's sources, ``tls_digest`` that of CA and certificate files.

    ``package_digest`` names the installed release; ``started_at`` is seconds since the epoch.
    """

    pid: int
    version: str
    config_digest: str
    tls_digest: str
    package_digest: str
    started_at: float


def write_state(directory: str, state: RunningState) -> None:
    """Write ``state.json`` into ``directory`` whole or not at all; world-readable, as it holds no secret."""
    temporary = Path(directory, f".{FILE_NAME}{TEMPORARY}")
    try:
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(handle, "w") as file:
            os.fchmod(handle, 0o644)
            json.dump(asdict(state), file)
        os.replace(temporary, Path(directory) / FILE_NAME)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def remove_state(directory: str) -> None:
    """The agent stops: nobody shall take its last state for a running one."""
    with contextlib.suppress(OSError):
        (Path(directory) / FILE_NAME).unlink()


def files_digest(paths: Iterable[str | Path]) -> str:
    """SHA-256 hex over path, NUL, content, NUL of each file in the order given; an unreadable one counts as empty.

    The provisioning modules compute the same of what is on disk.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            content = Path(path).read_bytes()
        except OSError:
            content = b""
        digest.update(os.fsencode(path) + b"\0" + content + b"\0")
    return digest.hexdigest()


def package_digest() -> str:
    """Name of the release directory that this code runs from; empty when it wasn't installed as a release."""
    parts = Path(meshnode.__file__).resolve().parts
    return parts[parts.index(_RELEASES) + 1] if _RELEASES in parts[:-1] else ""
