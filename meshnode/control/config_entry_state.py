"""What the commands of config entries do to the state, and why they are refused."""

from __future__ import annotations

from collections.abc import Iterator

from meshnode.base.errors import ConfigError
from meshnode.config_entries.graph import change_fault, permissions_fault
from meshnode.config_entries.parse import parse_entry
from meshnode.config_entries.store import ConfigEntryStore
from meshnode.control.config_entry_commands import (
    ConfigEntryDelete,
    ConfigEntrySet,
    IntentionsReplace,
    PrimaryRules,
)
from meshnode.intentions.model import DEFAULT_NAMESPACE, ServiceName
from meshnode.intentions.store import IntentionStore
from meshnode.intentions.validate import intention_fault

__all__ = ["apply_config_entry", "apply_primary_rules"]


def apply_config_entry(
    entries: ConfigEntryStore,
    intentions: IntentionStore,
    index: int,
    command: ConfigEntrySet | ConfigEntryDelete | IntentionsReplace,
) -> bool | str:
    """Carry out a command: whether its condition held, or the reason why nothing was changed."""
    match command:
        case ConfigEntrySet():
            return _set(entries, intentions, index, command)
        case ConfigEntryDelete():
            return _delete(entries, intentions, index, command)
        case IntentionsReplace():
            return _replace(entries, intentions, index, command)


def _set(
    entries: ConfigEntryStore, intentions: IntentionStore, index: int, command: ConfigEntrySet
) -> bool | str:
    try:
        entry = parse_entry(command.fields)
    except ConfigError as error:
        return str(error)
    old = entries.entries.get(*entry.key)
    if not _holds(command.expected, old.modify_index if old is not None else 0):
        return False
    fault = change_fault(entries.entries, entry.key, entry, _permitted(intentions))
    if fault:
        return fault
    entries.set(index, entry)
    return True


def _delete(
    entries: ConfigEntryStore, intentions: IntentionStore, index: int, command: ConfigEntryDelete
) -> bool | str:
    key = command.kind, command.name.lower()
    old = entries.entries.get(*key)
    if command.expected is not None and (old is None or old.modify_index != command.expected):
        return False
    if old is not None:
        if fault := change_fault(entries.entries, key, None, _permitted(intentions)):
            return fault
        entries.delete(index, key)
    return True


def _replace(
    entries: ConfigEntryStore, intentions: IntentionStore, index: int, command: IntentionsReplace
) -> bool | str:
    service = ServiceName(command.name, command.namespace)
    old = intentions.destination(service)
    found = old.modify_index if old is not None else 0
    if not _holds(command.expected, found) or (command.expected == 0 and not command.intentions):
        return False
    for intention in command.intentions:
        if fault := intention_fault(intention):
            return fault
        if intention.permissions and (fault := permissions_fault(entries.entries, command.name)):
            return fault
    intentions.replace_about(index, service, command.intentions, command.meta)
    return True


def apply_primary_rules(
    entries: ConfigEntryStore, intentions: IntentionStore, index: int, command: PrimaryRules
) -> str:
    """Carry it out; returns why nothing was changed, or ``""``.

    How entries fit together is not looked at: the primary has, and between two commands they needn't.
    """
    try:
        parsed = [parse_entry(fields) for fields in command.entries]
    except ConfigError as error:
        return str(error)
    for intention in command.intentions:
        if fault := intention_fault(intention):
            return fault
    for entry in parsed:
        entries.set(index, entry)
    for intention in command.intentions:
        intentions.adopt(index, intention)
    for name in command.gone_intentions:
        intentions.delete(index, name)
    for destination in command.destinations:
        intentions.describe(index, ServiceName(destination.name, destination.namespace), destination.meta)
    for gone in command.gone_entries:
        entries.delete(index, (gone.kind, gone.name.lower()))
    return ""


def _holds(expected: int | None, found: int) -> bool:
    return expected is None or expected == found


def _permitted(intentions: IntentionStore) -> Iterator[str]:
    """The destinations of intentions that are about requests."""
    for destination in intentions.destinations():
        if destination.namespace == DEFAULT_NAMESPACE and any(
            intention.permissions for intention in intentions.about(destination)
        ):
            yield destination.name
