"""Every method of a server by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meshnode.control.endpoints import kv
from meshnode.control.method import Method

__all__ = ["METHODS"]

METHODS: Final[Mapping[str, Method]] = {**kv.METHODS}
