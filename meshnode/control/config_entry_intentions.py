"""Intentions seen as config entries of kind ``service-intentions``, and back: two views of one table."""

from __future__ import annotations

from dataclasses import replace

from meshnode.config_entries.model import ConfigEntry
from meshnode.config_entries.sources import ServiceIntentions, Source, intention_from
from meshnode.control.config_entry_commands import IntentionsReplace
from meshnode.control.endpoints.acl_shapes import time_text
from meshnode.control.method import Moment
from meshnode.intentions.model import Destination, Intention, ServiceName
from meshnode.intentions.store import IntentionStore

__all__ = ["entry_of_destination", "intentions_entries", "intentions_entry", "replacing"]


def intentions_entry(store: IntentionStore, name: str, namespace: str) -> ConfigEntry | None:
    """The intentions about one destination, ``*`` taken as a name; ``None`` without any."""
    found = store.destination(ServiceName(name, namespace))
    return None if found is None else entry_of_destination(store, found)


def intentions_entries(store: IntentionStore) -> list[ConfigEntry]:
    """The intentions about every destination."""
    return [entry_of_destination(store, each) for each in store.destinations()]


def entry_of_destination(store: IntentionStore, destination: Destination) -> ConfigEntry:
    """The entry that the intentions about ``destination`` make."""
    sources = (_source(row, destination) for row in store.about(destination))
    return ConfigEntry(
        destination.name,
        ServiceIntentions(tuple(sources)),
        destination.meta,
        destination.namespace,
        destination.create_index,
        destination.modify_index,
    )


def _source(row: Intention, destination: Destination) -> Source:
    return Source(
        name=row.source_name,
        action=row.action,
        permissions=row.permissions,
        precedence=row.precedence,
        legacy_id=row.id,
        type=row.source_type,
        description=row.description,
        audit=row.audit,
        legacy_meta=dict(sorted(row.meta.items())) or None,
        legacy_create_time=time_text(row.created_at),
        legacy_update_time=time_text(row.updated_at),
        namespace="" if row.source_ns == destination.namespace else row.source_ns,
    )


def replacing(
    store: IntentionStore, entry: ConfigEntry, moment: Moment, expected: int | None
) -> IntentionsReplace:
    """The command that makes ``entry`` true: an intention that is there keeps its id, time and what isn't said."""
    assert isinstance(entry.spec, ServiceIntentions)
    rows = []
    for source in entry.spec.sources:
        row = intention_from(source, entry.name, entry.namespace)
        old = store.exact(row.source, row.destination)[1]
        if old is None:
            rows.append(replace(row, id=moment.new_id(), created_at=moment.at, updated_at=moment.at))
            continue
        kept = replace(
            row,
            id=old.id,
            meta=old.meta if source.legacy_meta is None else row.meta,
            default_addr=old.default_addr,
            default_port=old.default_port,
            created_at=old.created_at,
            updated_at=moment.at,
        )
        rows.append(kept)
    return IntentionsReplace(entry.name, entry.namespace, tuple(rows), entry.meta, expected)
