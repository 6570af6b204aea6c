"""Wait for a condition with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

__all__ = ["POLL_INTERVAL", "wait_until"]

T = TypeVar("T")
#: Seconds between two looks.
POLL_INTERVAL: Final = 0.02


def wait_until(condition: Callable[[], T], timeout: float) -> T:
    """The first truthy result of ``condition``; raises :class:`TimeoutError` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {timeout:g} s")
        time.sleep(POLL_INTERVAL)
    return result
