"""Which datacenters are asked when the local one has no instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshnode.control.prepared.model import Failover

__all__ = ["AskDatacenter", "datacenters_to_ask"]


@dataclass(frozen=True, slots=True)
class AskDatacenter:
    """Call ``method`` at a server of ``datacenter`` with ``body``; a failure is answered with ``None``."""

    datacenter: str
    method: str
    body: Mapping[str, Any]


def datacenters_to_ask(failover: Failover, local: str, nearest: Sequence[str]) -> tuple[str, ...]:
    """The order: the ``nearest_n`` first of ``nearest``, then the listed ones, each once and never the local one.

    ``nearest`` are the datacenters known by now, nearest first; a listed one that isn't known is passed over.
    """
    others = [name for name in nearest if name != local]
    listed = [name for name in failover.datacenters if name in others]
    return tuple(dict.fromkeys([*others[: failover.nearest_n], *listed]))
