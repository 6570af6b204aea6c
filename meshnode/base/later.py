"""Modules that are loaded when something of them is first called: what a process doesn't use costs it nothing.

A user of one writes, so that type checkers and the test of allowed imports see a plain import::

    if TYPE_CHECKING:
        from meshnode.agent import watches
    else:
        watches = Later("meshnode.agent.watches")
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["Later", "load"]


def load(module: str) -> ModuleType:
    """The module of that name; raises what importing it raises."""
    known = sys.modules.get(module)
    if known is not None:
        return known
    collects = gc.isenabled()
    # Collections find next to nothing meanwhile, and would take a fifth of the time.
    gc.disable()
    try:
        return import_module(module)
    finally:
        if collects:
            gc.enable()


class Later:
    """Stands for the module of that name; its attributes are functions and classes, which can be called, no more."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            return getattr(load(self._module), name)(*given, **named)

        return call
