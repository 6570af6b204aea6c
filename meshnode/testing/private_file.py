"""Files that only their owner may read."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write_private"]


def write_private(path: Path, text: str) -> Path:
    """Write ``text`` to ``path``, mode 0600 when it is new, and return ``path``."""
    with open(path, "w", encoding="utf-8", opener=_owner_only) as stream:
        stream.write(text)
    return path


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
