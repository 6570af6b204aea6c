"""The node's id: configured, kept in the data directory, or made once and then kept there."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

from meshnode.agent.data_dir import unusable
from meshnode.base.errors import ConfigError
from meshnode.runtime.private_file import write_private

__all__ = ["load_node_id"]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def load_node_id(configured: str, data_dir: str) -> str:
    """The id to use; a random one is written to ``<data_dir>/node-id`` so that the next start has it too.

    Raises :class:`ConfigError` when the file holds something else, can't be read or can't be written.
    """
    path = Path(data_dir, "node-id") if data_dir else None
    if configured:
        _keep(path, configured.lower())
        return configured.lower()
    if path is not None and path.exists():
        found = _read(path)
        if not _UUID.fullmatch(found):
            raise ConfigError(
                f"{path} holds no node id: delete it to get a new one, or restore it", key="node_id"
            )
        return found
    made = str(uuid.uuid4())
    _keep(path, made)
    return made


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace").strip().lower()
    except OSError as error:
        raise ConfigError(
            f"{path} can't be read: {error.strerror}: it must be a file of the agent's user", key="node_id"
        ) from None


def _keep(path: Path | None, node_id: str) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, node_id.encode())
    except OSError as error:
        raise unusable(path, error) from None
