"""The fields of ``service-intentions``: the intentions about one destination, seen as one entry.

The table of intentions is the truth; this is a way to read and to write it. What Consul calls ``Legacy`` belongs to the
intention and not to the entry: its id and times are shown and never read, its metadata are both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from meshnode.intentions.model import DEFAULT_NAMESPACE, SOURCE_CONSUL, Intention, Permission

__all__ = ["ServiceIntentions", "Source", "intention_from"]


@dataclass(frozen=True, slots=True)
class Source:
    """Who connects, and whether that is allowed; ``namespace`` is empty for the destination's."""

    name: str = field(default="", metadata={"always": True})
    action: str = ""
    permissions: tuple[Permission, ...] = ()
    precedence: int = field(default=0, metadata={"always": True})
    legacy_id: str = ""
    type: str = field(default=SOURCE_CONSUL, metadata={"always": True})
    description: str = ""
    audit: bool = False
    #: ``None``: as they are.
    legacy_meta: Mapping[str, str] | None = None
    legacy_create_time: str = ""
    legacy_update_time: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class ServiceIntentions:
    """Every intention about one destination, in the order they are looked at."""

    sources: tuple[Source, ...] = field(default=(), metadata={"always": True})


def intention_from(source: Source, destination: str, namespace: str = DEFAULT_NAMESPACE) -> Intention:
    """The intention that ``source`` says, without an id and times."""
    return Intention(
        id="",
        source_name=source.name,
        destination_name=destination,
        action=source.action,
        source_ns=source.namespace or namespace,
        destination_ns=namespace,
        source_type=source.type or SOURCE_CONSUL,
        description=source.description,
        permissions=source.permissions,
        meta=source.legacy_meta or {},
        audit=source.audit,
    )
