"""The commands of config entries; ``command`` puts all together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshnode.intentions.model import Destination, Intention

__all__ = ["ConfigEntryDelete", "ConfigEntrySet", "EntryName", "IntentionsReplace", "PrimaryRules"]


@dataclass(frozen=True, slots=True)
class ConfigEntrySet:
    """Add an entry or replace it; ``fields`` are those of ``config_entries.parse``, any kind but intentions.

    ``expected``: only if it was last changed at that index, 0: if there is none. Result: whether it is stored.
    """

    fields: Mapping[str, Any]
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class ConfigEntryDelete:
    """``expected``: only if it was last changed at that index. Result: whether it is gone."""

    kind: str
    name: str
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class IntentionsReplace:
    """Make these the only intentions about a destination: its ``service-intentions``; without any, delete it.

    An intention whose source has one already keeps its id. ``expected`` and the result are as in ``ConfigEntrySet``.
    """

    name: str
    namespace: str
    intentions: tuple[Intention, ...]
    meta: Mapping[str, str]
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class EntryName:
    """Which config entry."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class PrimaryRules:
    """Take over what changed in the primary datacenter, which has checked it. Result: true.

    ``entries`` are fields as in ``ConfigEntrySet``. An intention comes with its id: what has that id, or its source and
    destination, gives way. ``destinations`` have metadata.
    """

    entries: tuple[Mapping[str, Any], ...] = ()
    intentions: tuple[Intention, ...] = ()
    destinations: tuple[Destination, ...] = ()
    gone_entries: tuple[EntryName, ...] = ()
    gone_intentions: tuple[str, ...] = ()
    epoch: int = 0
