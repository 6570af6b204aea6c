"""What rules in the primary datacenter as a secondary takes it over: config entries and intentions, as a difference.

The primary has checked them as a whole, so they are taken as they are, in any order. Ids and times of intentions are
the primary's; indexes are our own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from meshnode.base.errors import ConfigError, MeshError, RemoteProtocolError
from meshnode.config_entries.model import SERVICE_INTENTIONS, ConfigEntry
from meshnode.config_entries.parse import entry_fields, parse_entry
from meshnode.config_entries.store import ConfigEntryStore
from meshnode.control.body import Body, rows, text
from meshnode.control.command import serialize_command
from meshnode.control.config_entry_commands import EntryName, PrimaryRules
from meshnode.control.endpoints.intention_fields import intention_of
from meshnode.control.log import MAX_COMMAND_BYTES
from meshnode.intentions.model import Destination, Intention, ServiceName
from meshnode.intentions.store import IntentionStore

__all__ = ["Rules", "differences", "parse_rules"]

#: A command of the log holds this many bytes of differences at most: several are written when there are more.
MAX_BYTES: Final = MAX_COMMAND_BYTES // 2


@dataclass(frozen=True, slots=True)
class Rules:
    """Every config entry and intention of the primary; ``destinations`` have the metadata that intentions share."""

    entries: tuple[ConfigEntry, ...]
    intentions: tuple[Intention, ...]
    destinations: tuple[Destination, ...]


def parse_rules(entries: Body, intentions: Body) -> Rules:
    """Read the replies of ``ConfigEntry.List``, of every kind, and ``Intention.List``.

    Raises :class:`RemoteProtocolError` for what can't be read, and for a list that isn't whole: who copied that would
    drop the rest.
    """
    if entries.get("ResultsFilteredByACLs") or intentions.get("ResultsFilteredByACLs"):
        raise RemoteProtocolError(
            "the primary shows only a part of its intentions and config entries to acl.tokens.replication: give that "
            'token service_prefix "" { policy = "read", intentions = "read" }'
        )
    try:
        listed = rows(entries, "Entries")
        ours = [row for row in listed if text(row, "Kind") != SERVICE_INTENTIONS]
        shared = [row for row in listed if text(row, "Kind") == SERVICE_INTENTIONS]
        return Rules(
            tuple(parse_entry(row) for row in ours),
            tuple(_intention(row) for row in rows(intentions, "Intentions")),
            tuple(_destination(parse_entry(row)) for row in shared),
        )
    except RemoteProtocolError:
        raise
    except (ConfigError, MeshError) as error:
        raise RemoteProtocolError(
            f"the primary's answer can't be read: is it of another version? {error}"
        ) from None


def _intention(row: Body) -> Intention:
    if not text(row, "ID"):
        raise RemoteProtocolError("the primary lists an intention without an ID")
    whole = intention_of(row, text(row, "ID"), 0.0)
    return replace(whole, created_at=_time(row, "CreatedAt"), updated_at=_time(row, "UpdatedAt"))


def _destination(entry: ConfigEntry) -> Destination:
    return Destination(entry.name, entry.namespace, dict(entry.meta))


def _time(row: Body, name: str) -> float:
    written = text(row, name)
    try:
        at = datetime.fromisoformat(written)
    except ValueError:
        raise RemoteProtocolError(f"{name} of an intention is {written[:40]!r}, which is no time") from None
    # Go's zero time is before there were unix seconds.
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def differences(
    config: ConfigEntryStore, intentions: IntentionStore, rules: Rules, epoch: int
) -> Iterator[PrimaryRules]:
    """The commands that make ``rules`` true here, none when they are; what goes is in the last one.

    A service that loses an intention and gets another one is never without both.
    """
    pieces = [*_added(config, intentions, rules), *_gone(config, intentions, rules)]
    waiting, size = PrimaryRules(epoch=epoch), 0
    for piece in pieces:
        needed = len(serialize_command(piece))
        if size and size + needed > MAX_BYTES:
            yield waiting
            waiting, size = PrimaryRules(epoch=epoch), 0
        waiting, size = _joined(waiting, piece), size + needed
    if size:
        yield waiting


def _added(config: ConfigEntryStore, intentions: IntentionStore, rules: Rules) -> Iterator[PrimaryRules]:
    for entry in rules.entries:
        if _plain(config.entries.get(*entry.key)) != entry:
            yield PrimaryRules(entries=(entry_fields(entry),))
    changed = set()
    for row in rules.intentions:
        known = intentions.get(row.id)[1]
        if known is None or replace(known, create_index=0, modify_index=0) != row:
            changed.add(row.pair[2:])
            yield PrimaryRules(intentions=(row,))
    for destination in rules.destinations:
        found = intentions.destination(ServiceName(destination.name, destination.namespace))
        # One whose last intention gives way to another one loses its metadata on the way.
        same = (dict(found.meta) if found is not None else {}) == dict(destination.meta)
        if not same or (destination.meta and destination.key in changed):
            yield PrimaryRules(destinations=(destination,))


def _gone(config: ConfigEntryStore, intentions: IntentionStore, rules: Rules) -> Iterator[PrimaryRules]:
    kept = {entry.key for entry in rules.entries}
    for entry in config.every():
        if entry.key not in kept:
            yield PrimaryRules(gone_entries=(EntryName(entry.kind, entry.name),))
    ids = {row.id.lower() for row in rules.intentions}
    for row in intentions.every()[1]:
        if row.id.lower() not in ids:
            yield PrimaryRules(gone_intentions=(row.id,))


def _plain(entry: ConfigEntry | None) -> ConfigEntry | None:
    return None if entry is None else replace(entry, create_index=0, modify_index=0)


def _joined(one: PrimaryRules, other: PrimaryRules) -> PrimaryRules:
    parts: Mapping[str, Any] = {
        name: (*getattr(one, name), *getattr(other, name))
        for name in ("entries", "intentions", "destinations", "gone_entries", "gone_intentions")
    }
    return PrimaryRules(**parts, epoch=one.epoch)
