"""Host names of URLs that stand for services of the mesh."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MeshHost", "parse_host"]


@dataclass(frozen=True, slots=True)
class MeshHost:
    """What to dial; an empty ``datacenter`` is ours."""

    name: str
    datacenter: str = ""
    prepared_query: bool = False


def parse_host(host: str) -> MeshHost | None:
    """Read ``NAME.mesh`` or ``NAME.{service,connect,query}[.DATACENTER].consul``; ``None`` for any other name.

    Capitals are as small letters, as in DNS. ``NAME`` of ``.mesh`` has no dot in it.
    """
    match host.lower().removesuffix(".").split("."):
        case [name, "mesh"] if name:
            return MeshHost(name)
        case [name, "service" | "connect" | "query" as kind, "consul"] if name:
            return MeshHost(name, "", kind == "query")
        case [name, "service" | "connect" | "query" as kind, datacenter, "consul"] if name and datacenter:
            return MeshHost(name, datacenter, kind == "query")
    return None
