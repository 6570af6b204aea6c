"""Services and checks of the API in the data directory, so that they outlive the agent.

Consul's layout: ``services/<hash>``, ``checks/<hash>`` and ``checks/state/<hash>``, each one JSON record, mode 0600,
named by the MD5 of the id. A file appears whole or not at all. One that can't be read is set aside as
``<name>.damaged`` with a line in the log; the others are not affected.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from meshnode.base.errors import MeshError
from meshnode.local.definitions import CheckDefinition, ServiceDefinition
from meshnode.local.persisted import (
    SavedStatus,
    parse_check_record,
    parse_service_record,
    parse_status_record,
    serialize_check,
    serialize_service,
    serialize_status,
)

__all__ = ["MAX_RECORD_BYTES", "LocalFiles"]

_log = logging.getLogger("meshnode.agent")
T = TypeVar("T")
#: A longer file is not read: a record holds one definition, whose body was bounded, and one output.
MAX_RECORD_BYTES: Final = 4 * 1024 * 1024
_DAMAGED: Final = ".damaged"
_TEMPORARY: Final = ".tmp"


class LocalFiles:
    """The files below ``data_dir``. Loading never fails; saving and removing raise :class:`MeshError`."""

    def __init__(self, data_dir: Path) -> None:
        self._services = data_dir / "services"
        self._checks = data_dir / "checks"
        self._status = data_dir / "checks" / "state"

    def load_services(self) -> list[ServiceDefinition]:
        """Every service that was saved."""
        return list(_load(self._services, parse_service_record))

    def load_checks(self) -> list[CheckDefinition]:
        """Every check that was saved, with the status that it began with."""
        return list(_load(self._checks, parse_check_record))

    def load_status(self, at: float) -> dict[str, SavedStatus]:
        """Check id in lower case -> what was reported, of those that hold at ``at`` (unix seconds)."""
        found = {saved.check_id.lower(): saved for saved in _load(self._status, parse_status_record)}
        return {check_id: saved for check_id, saved in found.items() if saved.expires > at}

    def save_service(self, definition: ServiceDefinition) -> None:
        """Write one service, without its checks."""
        _write(self._services, definition.id, serialize_service(definition))

    def save_check(self, definition: CheckDefinition) -> None:
        """Write one check."""
        _write(self._checks, definition.id, serialize_check(definition))

    def save_status(self, saved: SavedStatus) -> None:
        """Write what was reported for a TTL check; reports are frequent, and a power cut may cost the last one."""
        _write(self._status, saved.check_id, serialize_status(saved), durable=False)

    def remove_service(self, service_id: str) -> None:
        """Forget a service; its checks have files of their own."""
        _remove(self._services, service_id)

    def remove_check(self, check_id: str) -> None:
        """Forget a check and its status."""
        _remove(self._checks, check_id)
        _remove(self._status, check_id)


def _name(identifier: str) -> str:
    # Ids that differ in case only are one service.
    return hashlib.md5(identifier.lower().encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _load(directory: Path, parse: Callable[[Mapping[str, Any]], T]) -> Iterator[T]:
    try:
        paths = sorted(directory.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        _log.error("%s can't be read: %s", directory, error.strerror)
        return
    for path in paths:
        if path.is_dir() or path.name.endswith(_DAMAGED):
            continue
        if path.name.endswith(_TEMPORARY):
            with contextlib.suppress(OSError):
                path.unlink()
            continue
        try:
            yield parse(_record(path))
        except (MeshError, OSError, ValueError, RecursionError) as error:
            _set_aside(path, error)


def _record(path: Path) -> Mapping[str, Any]:
    if path.stat().st_size > MAX_RECORD_BYTES:
        raise ValueError(f"it is larger than {MAX_RECORD_BYTES} bytes")
    record = json.loads(path.read_bytes())
    if not isinstance(record, dict):
        raise ValueError("it is not a JSON object")
    return record


def _set_aside(path: Path, error: Exception) -> None:
    aside = path.with_name(path.name + _DAMAGED)
    reason = error.strerror if isinstance(error, OSError) else "it is nested too deeply" if isinstance(
        error, RecursionError
    ) else error  # fmt: skip
    try:
        path.replace(aside)
    except OSError:
        _log.error("%s can't be used and is passed over: %s", path, reason)
    else:
        _log.error("%s can't be used and is set aside as %s: %s", path, aside.name, reason)


def _write(directory: Path, identifier: str, record: Mapping[str, Any], *, durable: bool = True) -> None:
    path = directory / _name(identifier)
    temporary = path.with_name(path.name + _TEMPORARY)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            json.dump(record, file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            _sync_directory(directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise MeshError(f"{path} can't be written: {error.strerror}") from error


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(directory: Path, identifier: str) -> None:
    path = directory / _name(identifier)
    # Consul names files by the id as it is written.
    theirs = directory / hashlib.md5(identifier.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
    try:
        path.unlink(missing_ok=True)
        theirs.unlink(missing_ok=True)
    except OSError as error:
        raise MeshError(f"{path} can't be removed: {error.strerror}") from error
