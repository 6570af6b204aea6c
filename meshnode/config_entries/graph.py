"""What entries may not be together: a change is refused when a chain, a listener or an intention would fail by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meshnode.config_entries.chain import ChainError, compile_chain
from meshnode.config_entries.gateways import IngressGateway
from meshnode.config_entries.model import PROXY_DEFAULTS, ConfigEntry, Key
from meshnode.config_entries.protocol import is_http_like, resolve_protocol
from meshnode.config_entries.routing import ServiceResolver, ServiceRouter, ServiceSplitter
from meshnode.config_entries.table import EntryTable
from meshnode.intentions.model import WILDCARD

__all__ = ["change_fault", "permissions_fault"]

_CHAINED = (ServiceRouter, ServiceSplitter, ServiceResolver)


def change_fault(
    before: EntryTable, key: Key, entry: ConfigEntry | None, permitted: Iterable[str] = ()
) -> str:
    """Why ``entry`` can't be at ``key`` (``None``: why it can't go), or ``""``.

    ``permitted``: destinations of intentions that are about requests.
    """
    after = before.with_change(key, entry)
    everywhere = key[0] == PROXY_DEFAULTS
    affected = _affected(after, key[1])
    names = {each.name.lower(): each.name for each in after}
    for service in sorted(_chained(after) if everywhere else affected):
        try:
            compile_chain(after, names.get(service, service), "dc")
        except ChainError as error:
            return str(error)
    for gateway in after:
        if isinstance(gateway.spec, IngressGateway):
            for fault in _listener_faults(
                after, gateway.spec, None if gateway.key == key or everywhere else affected
            ):
                return fault
    for service in permitted:
        if everywhere or service.lower() in affected:
            # One that is wrong already is no reason against another change.
            fault = permissions_fault(after, service)
            if fault and not permissions_fault(before, service):
                return fault
    return ""


def permissions_fault(entries: EntryTable, service: str) -> str:
    """Why an intention about the requests to ``service`` can't be, or ``""``."""
    protocol = resolve_protocol(entries, service)
    if is_http_like(protocol):
        return ""
    return (
        f'service "{service}" has protocol "{protocol}", which is incompatible with L7 intentions permissions: set '
        "Protocol to http, http2 or grpc in its service-defaults first"
    )


def _chained(entries: EntryTable) -> set[str]:
    return {entry.name.lower() for entry in entries if isinstance(entry.spec, _CHAINED)}


def _affected(entries: EntryTable, changed: str) -> set[str]:
    """The service and all those whose chain comes to it, in lower case."""
    towards: dict[str, set[str]] = {}
    for entry in entries:
        for name in entry.references:
            towards.setdefault(name.lower(), set()).add(entry.name.lower())
    found, waiting = {changed}, [changed]
    while waiting:
        fresh = towards.get(waiting.pop(), set()) - found
        found |= fresh
        waiting += fresh
    return found


def _listener_faults(entries: EntryTable, spec: IngressGateway, affected: set[str] | None) -> Iterator[str]:
    for listener in spec.listeners:
        for service in listener.services:
            if service.name == WILDCARD or (affected is not None and service.name.lower() not in affected):
                continue
            found = resolve_protocol(entries, service.name)
            if found != listener.protocol:
                yield (
                    f'service "{service.name}" has protocol "{found}", which does not match defined listener protocol '
                    f'"{listener.protocol}"'
                )
