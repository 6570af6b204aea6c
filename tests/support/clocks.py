"""Agents whose wall clock the test sets, by Debian's ``faketime``; the monotonic clock goes on as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["LIBRARY", "Clock"]

#: Preloaded into the agent.
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
HOUR = 3600
#: Clocks begin two hours ahead, so that an hour back is still within the life of certificates made just now.
BASE = 2 * HOUR


@dataclass(frozen=True)
class Clock:
    """The wall clock of one agent, in ``file``."""

    file: Path

    @property
    def environment(self) -> dict[str, str]:
        """For the agent's process."""
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: float = 0) -> None:
        """Go to this many seconds from the clock's beginning."""
        replacement = self.file.with_suffix(".new")
        replacement.write_text(f"{BASE + seconds:+.0f}s\n")
        replacement.replace(self.file)
