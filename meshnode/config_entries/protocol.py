"""What a service speaks, by its own defaults or by those of all proxies."""

from __future__ import annotations

from typing import Final

from meshnode.config_entries.defaults import ProxyDefaults, ServiceDefaults
from meshnode.config_entries.table import EntryTable

__all__ = ["DEFAULT_PROTOCOL", "HTTP_LIKE", "PROTOCOLS", "is_http_like", "resolve_protocol"]

#: Source: Consul, documentation of ``service-defaults``.
PROTOCOLS: Final = ("tcp", "http", "http2", "grpc")
DEFAULT_PROTOCOL: Final = "tcp"
#: Those whose requests can be routed, split and allowed one by one.
HTTP_LIKE: Final = frozenset({"http", "http2", "grpc"})


def resolve_protocol(entries: EntryTable, service: str) -> str:
    """The protocol of a service: of its ``service-defaults``, else of ``proxy-defaults``, else ``tcp``.

    ``service-defaults`` that don't say which leave it to ``proxy-defaults``.
    """
    own = entries.spec(ServiceDefaults, service)
    if own is not None and own.protocol:
        return own.protocol
    shared = entries.spec(ProxyDefaults, "")
    found = shared.config.get("protocol") if shared is not None else None
    return found.lower() if isinstance(found, str) and found else DEFAULT_PROTOCOL


def is_http_like(protocol: str) -> bool:
    """Whether requests of this protocol can be told apart."""
    return protocol in HTTP_LIKE
