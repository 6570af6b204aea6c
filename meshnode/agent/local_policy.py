"""What services and checks of this agent may do, and what runs the checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from meshnode.base.errors import MeshError
from meshnode.local.check_type import DEFAULT_OUTPUT_BYTES, CheckType
from meshnode.local.definitions import ScriptPolicy
from meshnode.local.proxy_plan import ProxyRules

__all__ = ["InvalidDefinitionError", "LocalPolicy", "Runners"]


class InvalidDefinitionError(MeshError):
    """A definition that whoever sent it has to change."""


class Runners(Protocol):
    """What runs checks: :class:`~meshnode.runtime.checks.runner.CheckRunners`. Keys are check ids."""

    def start(
        self,
        key: str,
        check: CheckType,
        on_result: Callable[[str, str], None],
        *,
        last_output: str = "",
        ttl_remaining: float | None = None,
        at_once: bool = False,
    ) -> None:
        """Run ``check`` from now on, in place of the one that ran under ``key``; ``at_once``: its first run is now."""

    def stop(self, key: str) -> None:
        """End a check; unknown keys are passed over."""

    def ttl_update(self, key: str, status: str, output: str) -> None:
        """Somebody reports the status of a TTL check; raises :class:`MeshError` for any other."""


@dataclass(frozen=True, slots=True)
class LocalPolicy:
    """What the configuration allows; a reload may give another one.

    ``output_max_size`` is ``check_output_max_size``: the most bytes kept of any check, whatever it says itself.
    """

    scripts: ScriptPolicy = field(default_factory=ScriptPolicy)
    allow_managed_proxies: bool = False
    output_max_size: int = DEFAULT_OUTPUT_BYTES
    proxies: ProxyRules = field(default_factory=ProxyRules)
