"""JSON records in files: each appears whole or not at all, mode 0600; what can't be read is set aside.

A damaged file becomes ``<name>.damaged`` with a line in the log, so that it is not lost and not in the way.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from meshnode.base.errors import MeshError
from meshnode.runtime.private_file import write_private

__all__ = [
    "DAMAGED",
    "MAX_RECORD_BYTES",
    "load_record",
    "read_record",
    "set_aside",
    "write_record",
]

_log = logging.getLogger("meshnode.agent")
#: A longer file is not read: a record holds one definition, whose body was bounded, and one output.
MAX_RECORD_BYTES: Final = 4 * 1024 * 1024
DAMAGED: Final = ".damaged"


def load_record(path: Path) -> Mapping[str, Any]:
    """The record in ``path``, empty when there is none; one that can't be read is set aside."""
    try:
        return read_record(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        set_aside(path, error)
        return {}


def read_record(path: Path) -> Mapping[str, Any]:
    """The record in ``path``; raises ``OSError``, ``ValueError`` or ``RecursionError``."""
    if path.stat().st_size > MAX_RECORD_BYTES:
        raise ValueError(f"it is larger than {MAX_RECORD_BYTES} bytes")
    record = json.loads(path.read_bytes())
    if not isinstance(record, dict):
        raise ValueError("it is not a JSON object")
    return record


def set_aside(path: Path, error: Exception) -> None:
    """Rename a file that can't be used because of ``error``, and log both."""
    aside = path.with_name(path.name + DAMAGED)
    reason = error.strerror if isinstance(error, OSError) else "it is nested too deeply" if isinstance(
        error, RecursionError
    ) else error  # fmt: skip
    try:
        path.replace(aside)
    except OSError:
        _log.error("%s can't be used and is passed over: %s", path, reason)
    else:
        _log.error("%s can't be used and is set aside as %s: %s", path, aside.name, reason)


def write_record(path: Path, record: Mapping[str, Any], *, durable: bool = True) -> None:
    """Put ``record`` in the place of what ``path`` holds; raises :class:`MeshError`."""
    content = json.dumps(record).encode()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, content, durable=durable)
    except OSError as error:
        raise MeshError(f"{path} can't be written: {error.strerror}") from error
