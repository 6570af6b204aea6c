"""What a prepared query may not be, whatever the state holds. The texts are Consul's where Consul has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meshnode.base.duration import parse_duration
from meshnode.base.errors import ConfigError
from meshnode.catalog.validate import meta_fault
from meshnode.control.prepared.model import NAME_PREFIX_MATCH, PreparedQuery
from meshnode.control.prepared.template import MAX_NAME_CHARS, template_fault

__all__ = ["HIDDEN", "query_fault"]

#: What is shown in place of a token.
HIDDEN: Final = "<hidden>"
#: Agents put metadata with this prefix on their nodes, so it may be asked for, though not set.
_RESERVED_PREFIX: Final = "consul-"


def query_fault(query: PreparedQuery) -> str:
    """Why this query can't be stored; ``""`` when it can."""
    if not query.name and not query.is_template and not query.session:
        return "Must be bound to a session: a query without a Name has to end with one"
    if len(query.name) > MAX_NAME_CHARS:
        return f"Name has {len(query.name)} characters: at most {MAX_NAME_CHARS}"
    if query.token == HIDDEN:
        return (
            f"Bad Token '{HIDDEN}', it looks like a query definition with a redacted token was submitted: "
            "send the token itself, or none"
        )
    return _template_fault(query) or _service_fault(query) or _dns_fault(query.dns.ttl)


def _template_fault(query: PreparedQuery) -> str:
    if query.template.type not in {"", NAME_PREFIX_MATCH}:
        return (
            f"Bad Template.Type '{query.template.type[:80]}': leave it empty or write '{NAME_PREFIX_MATCH}'"
        )
    return template_fault(query) if query.is_template else ""


def _service_fault(query: PreparedQuery) -> str:
    service = query.service
    if not service.service:
        return "Must provide a Service name to query"
    if service.failover.nearest_n < 0:
        return f"Bad NearestN '{service.failover.nearest_n}', must be >= 0"
    if fault := _meta_fault(service.node_meta):
        return f"Invalid NodeMeta filter: {fault}"
    if fault := _meta_fault(service.service_meta):
        return f"Invalid ServiceMeta filter: {fault}"
    return ""


def _meta_fault(meta: Mapping[str, str]) -> str:
    plain = {key: value for key, value in meta.items() if not key.startswith(_RESERVED_PREFIX)}
    rest = {key.removeprefix(_RESERVED_PREFIX): meta[key] for key in meta.keys() - plain.keys()}
    return meta_fault(plain) or meta_fault(rest)


def _dns_fault(ttl: str) -> str:
    try:
        if ttl and parse_duration(ttl) < 0:
            return f"DNS TTL '{ttl[:80]}', must be >=0"
    except ConfigError as error:
        return f"Bad DNS TTL '{ttl[:80]}': {error}"
    return ""
