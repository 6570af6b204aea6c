"""Services and checks of the API in the data directory, so that they outlive the agent.

Consul's layout: ``services/<hash>``, ``checks/<hash>`` and ``checks/state/<hash>``, each one JSON record named by the
MD5 of the id; ``proxy/ports.json`` is ours. One that can't be read does not affect the others.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

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
from meshnode.runtime.json_file import (
    DAMAGED,
    MAX_RECORD_BYTES,
    load_record,
    read_record,
    set_aside,
    write_record,
)
from meshnode.runtime.private_file import TEMPORARY

__all__ = ["MAX_RECORD_BYTES", "LocalFiles"]

_log = logging.getLogger("meshnode.agent")
T = TypeVar("T")


class LocalFiles:
    """The files below ``data_dir``. Loading never fails; saving and removing raise :class:`MeshError`."""

    def __init__(self, data_dir: Path) -> None:
        self._services = data_dir / "services"
        self._checks = data_dir / "checks"
        self._status = data_dir / "checks" / "state"
        self._ports = data_dir / "proxy" / "ports.json"

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

    def load_ports(self) -> dict[str, int]:
        """Id of a proxy in lower case -> the port that it had."""
        ports = load_record(self._ports).get("Ports")
        return (
            {name: port for name, port in ports.items() if isinstance(port, int)}
            if isinstance(ports, dict)
            else {}
        )

    def save_ports(self, ports: Mapping[str, int]) -> None:
        """Write the ports of all proxies."""
        write_record(self._ports, {"Ports": dict(ports)})

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
        if path.is_dir() or path.name.endswith(DAMAGED):
            continue
        if path.name.endswith(TEMPORARY):
            with contextlib.suppress(OSError):
                path.unlink()
            continue
        try:
            yield parse(read_record(path))
        except (MeshError, OSError, ValueError, RecursionError) as error:
            set_aside(path, error)


def _write(directory: Path, identifier: str, record: Mapping[str, Any], *, durable: bool = True) -> None:
    write_record(directory / _name(identifier), record, durable=durable)


def _remove(directory: Path, identifier: str) -> None:
    path = directory / _name(identifier)
    # Consul names files by the id as it is written.
    theirs = directory / hashlib.md5(identifier.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
    try:
        path.unlink(missing_ok=True)
        theirs.unlink(missing_ok=True)
    except OSError as error:
        raise MeshError(f"{path} can't be removed: {error.strerror}") from error
