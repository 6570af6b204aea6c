"""Which server keeps the embedded log of the datacenter, remembered in ``<data_dir>/log-owner``.

A server that has known one never begins a log of its own: there would be two, and what is in the first would be lost.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from meshnode.base.errors import ConfigError
from meshnode.runtime.private_file import write_private

__all__ = ["LogOwner", "OwnerMemory"]

_log = logging.getLogger("meshnode.server")


@dataclass(frozen=True, slots=True)
class LogOwner:
    """The server by its node id and its name."""

    node_id: str
    name: str


class OwnerMemory:
    """``path`` is the file, ``None`` to remember in memory only. Raises :class:`ConfigError` when it is damaged."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.owner: LogOwner | None = None
        if path is not None and path.exists():
            self.owner = _read(path)

    def note(self, owner: LogOwner) -> None:
        """Remember ``owner`` from now on; a disk that takes nothing is told and tried again with the next change."""
        if owner == self.owner:
            return
        self.owner = owner
        if self._path is None:
            return
        content = json.dumps({"id": owner.node_id, "name": owner.name}) + "\n"
        try:
            write_private(self._path, content.encode())
        except OSError as error:
            _log.error("%s can't be written: %s", self._path, error.strerror)


def _read(path: Path) -> LogOwner:
    try:
        found = json.loads(path.read_text())
        return LogOwner(str(found["id"]), str(found["name"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{path} doesn't name the server that keeps the log: delete it if this server shall forget which one does",
            key="data_dir",
        ) from None
