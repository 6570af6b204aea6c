"""How a field of the model names the key that fills it."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Final

__all__ = ["SETTING", "setting"]

#: Key of a field's metadata: the path of the configuration key that fills it.
SETTING: Final = "setting"


def setting(path: str, *, secret: bool = False) -> Any:
    """A field that is filled from the key ``path``."""
    return field(metadata={SETTING: path}, repr=not secret)
