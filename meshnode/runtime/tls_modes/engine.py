"""What both data planes are to whoever runs them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, Protocol

from meshnode.runtime.proxy.deadlines import DRAIN_TIMEOUT
from meshnode.runtime.tls_modes.material import Material

__all__ = ["DataPlane", "log"]

log: Final = logging.getLogger("meshnode.proxy")


class DataPlane(Protocol):
    """Carries out the listeners of one configuration: ``builtin.BuiltinPlane`` or ``envoy.EnvoyPlane``."""

    async def start(self) -> None:
        """Listen, and return when clients are served; raises ``MeshError``, and leaves nothing behind then."""
        ...

    async def failed(self) -> None:
        """Raise ``MeshError`` when it ends by itself; never returns otherwise."""
        ...

    def replace(self, materials: Mapping[str, Material]) -> None:
        """New connections begin with these, by the listener's name; those that are open go on."""
        ...

    async def stop(self, *, drain_timeout: float = DRAIN_TIMEOUT) -> None:
        """Accept nobody, let connections end, cut what is left."""
        ...

    def hurry(self) -> None:
        """End the draining of a ``stop`` that is under way."""
        ...
