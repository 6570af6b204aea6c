"""What a metric is called outside, and whether it is recorded: the prefix, the host name, and the operator's filters.

Inside the agent every name starts with ``consul.``. Source: Consul 1.2.3, ``telemetry`` options; go-metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["MetricNames"]

_INSIDE: Final = "consul."


@dataclass(frozen=True, slots=True)
class MetricNames:
    """``host_name`` is put into gauges (empty: into none); ``filters`` are ``+prefix`` and ``-prefix``."""

    prefix: str = "consul"
    host_name: str = ""
    filters: tuple[str, ...] = ()
    keeps_by_default: bool = True

    def outside(self, name: str, *, gauge: bool) -> str | None:
        """The name to record under, or ``None`` when it is filtered out; the longest filter that fits decides."""
        rest = name.removeprefix(_INSIDE)
        parts = [self.prefix, self.host_name if gauge else "", rest]
        full = ".".join(filter(None, parts))
        # Filters are written against the name without the host, as people see it in the documentation.
        plain = ".".join(filter(None, (self.prefix, rest)))
        fitting = [rule for rule in self.filters if plain.startswith(rule[1:])]
        if not fitting:
            return full if self.keeps_by_default else None
        return full if max(fitting, key=len)[0] == "+" else None
