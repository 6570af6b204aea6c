"""``/v1/internal/ui``: what Consul's web page reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from meshnode.base.errors import MeshError
from meshnode.http.context import Context
from meshnode.http.discovery import named
from meshnode.http.effects import Steps
from meshnode.http.message import Request, Response, StreamResponse
from meshnode.http.router import Answer, Outcome
from meshnode.http.state import Render, flag, read

__all__ = ["node", "nodes", "services", "summarize"]

#: Consul's sentence.
_NO_LEADER: Final = "No cluster leader"
#: Key of a service's metadata that tells which other program registered it.
EXTERNAL_SOURCE: Final = "external-source"
_COUNTERS: Final = {"passing": "ChecksPassing", "warning": "ChecksWarning", "critical": "ChecksCritical"}


def nodes(context: Context, request: Request) -> Outcome:
    """GET /v1/internal/ui/nodes: every node with its services and checks; without a leader as a server knows it."""
    return _dump(context, request, lambda reply: reply["Dump"])


def node(context: Context, request: Request) -> Outcome:
    """GET /v1/internal/ui/node/:node; 404 when there is none."""
    body = {"Node": named(request, "node name")}

    def shown(reply: Mapping[str, Any]) -> Any:
        return reply["Dump"][0] if reply["Dump"] else Response(404)

    return read(context, request, "Internal.NodeInfo", body, shown)


def services(context: Context, request: Request) -> Outcome:
    """GET /v1/internal/ui/services: how each service is doing."""
    return _dump(context, request, lambda reply: summarize(reply["Dump"]))


def summarize(dump: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Consul's ``ServiceSummary`` of each service, by name; the check of a node counts for every service on it."""
    summaries: dict[str, dict[str, Any]] = {}
    for row in dump:
        here = [_counted(summaries, row["Node"], service) for service in row["Services"]]
        for check in row["Checks"]:
            counter, name = _COUNTERS.get(check["Status"]), check["ServiceName"]
            if counter is None:
                continue
            for summary in here if not name else filter(None, (summaries.get(name),)):
                summary[counter] += 1
    for summary in summaries.values():
        summary["Tags"] = sorted(summary["Tags"])
        summary["Nodes"] = sorted(summary["Nodes"])
        summary["ExternalSources"] = sorted(summary["ExternalSources"]) or None
    return [summaries[name] for name in sorted(summaries)]


def _counted(summaries: dict[str, dict[str, Any]], node: str, service: Mapping[str, Any]) -> dict[str, Any]:
    name = service["Service"]
    summary = summaries.get(name)
    if summary is None:
        kind = {"Kind": service["Kind"]} if service.get("Kind") else {}
        counters = dict.fromkeys(_COUNTERS.values(), 0)
        summary = {**kind, "Name": name, "Tags": set(), "Nodes": [], **counters, "ExternalSources": set()}
        summaries[name] = summary
    summary["Tags"].update(service["Tags"])
    summary["Nodes"].append(node)
    if source := service["Meta"].get(EXTERNAL_SOURCE):
        summary["ExternalSources"].add(source)
    return summary


def _dump(context: Context, request: Request, render: Render) -> Outcome:
    outcome = read(context, request, "Internal.NodeDump", {}, render)
    if isinstance(outcome, Response | StreamResponse):
        return outcome
    if flag(request, "stale") or flag(request, "consistent"):
        return outcome
    return _or_stale(context, request, render, outcome)


def _or_stale(context: Context, request: Request, render: Render, first: Steps[Answer]) -> Steps[Answer]:
    try:
        return (yield from first)
    except MeshError as error:
        if _NO_LEADER not in str(error):
            raise
    query = f"{request.raw_query}&stale" if request.raw_query else "stale"
    stale = Request(request.method, request.path, query, request.headers, remote=request.remote)
    outcome = read(context, stale, "Internal.NodeDump", {}, render)
    return outcome if isinstance(outcome, Response | StreamResponse) else (yield from outcome)
