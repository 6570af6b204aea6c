"""Notices that certificates, keys or CAs were replaced on the disk. What can't be used leaves the old ones in force."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from meshnode.base.errors import ConfigError
from meshnode.runtime.file_marks import Marks, file_marks
from meshnode.runtime.tls_modes.engine import log
from meshnode.runtime.tls_modes.material import Material, read_material, watched_files
from meshnode.tls_modes.model import TlsProxyConfig

__all__ = ["WATCH_INTERVAL", "MaterialWatch"]

#: Seconds between two looks at the files.
WATCH_INTERVAL: Final = 1.0


class MaterialWatch:
    """``on_change`` gets what all listeners begin with from now on, by name. ``wall_clock`` gives an aware instant."""

    def __init__(
        self,
        config: TlsProxyConfig,
        on_change: Callable[[Mapping[str, Material]], None],
        wall_clock: Callable[[], datetime],
        *,
        interval: float = WATCH_INTERVAL,
    ) -> None:
        self._config = config
        self._on_change = on_change
        self._wall_clock = wall_clock
        self._interval = interval
        self._files = watched_files(config)
        self._seen: Marks = ()
        #: Files that couldn't be used; a pair is replaced one after the other, so that is said at the second look.
        self._bad: Marks | None = None
        self._asked = asyncio.Event()

    def read(self) -> Mapping[str, Material]:
        """What the files hold now; raises :class:`ConfigError`. To be called before :meth:`run`."""
        self._seen = file_marks(self._files)
        return {one.name: read_material(one, self._wall_clock()) for one in self._config.listeners}

    def ask(self) -> None:
        """Look now."""
        self._asked.set()

    def look(self) -> bool:
        """Take over what has changed; says whether something was."""
        marks = file_marks(self._files)
        if marks == self._seen and self._bad is None:
            return False
        try:
            found = self.read()
        except ConfigError as error:
            if self._bad == marks:
                log.error("the certificates are not replaced, the old ones stay: %s", error)
                self._bad = None
            else:
                self._bad = marks
            return False
        self._bad = None
        for name, material in found.items():
            for warning in material.warnings:
                log.warning("%s: %s", name, warning)
        log.info("certificates were replaced on the disk: new connections get them")
        self._on_change(found)
        return True

    async def run(self) -> None:
        """Look for ever, every ``interval`` seconds and when asked."""
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            self.look()
