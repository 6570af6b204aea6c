"""What the reads of the catalog and of health have in common: names, tags, metadata, nearness, and ``?filter=``."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from meshnode.control.near import CALLER, OWN_AGENT
from meshnode.http.context import Context
from meshnode.http.errors import HttpError
from meshnode.http.filter.fields import Fields
from meshnode.http.filtering import filtered
from meshnode.http.message import Request
from meshnode.http.router import Outcome
from meshnode.http.state import flag, node_meta, read
from meshnode.http.translate import translated

__all__ = ["caller_address", "named", "nodes_query", "read_rows", "service_query"]


def named(request: Request, what: str) -> str:
    """The open part of the path. Raises :class:`HttpError` 400 ``Missing node name`` when ``what`` is ``node name``."""
    if not request.param:
        raise HttpError(400, f"Missing {what}")
    try:
        request.param.encode()
    except UnicodeEncodeError:
        raise HttpError(400, f"The {what} in the path is not UTF-8") from None
    return request.param


def nodes_query(context: Context, request: Request) -> dict[str, Any]:
    """``NodeMetaFilters`` from ``?node-meta=``, and ``Source`` from ``?near=``; neither when not asked for."""
    body: dict[str, Any] = {}
    if not request.raw_query:
        return body
    if meta := node_meta(request):
        body["NodeMetaFilters"] = meta
    if near := request.query.get("near"):
        source = {"Datacenter": request.query.get("dc") or context.view.datacenter}
        source["Node"] = context.view.node_name if near == OWN_AGENT else near
        if near == CALLER:
            source["Ip"] = caller_address(request)
        body["Source"] = source
    return body


def caller_address(request: Request) -> str:
    """The IP address of the first in ``X-Forwarded-For``, else of the connection; empty when it isn't known."""
    forwarded = request.header(b"x-forwarded-for").partition(",")[0].strip()
    host, _, _ = request.remote.rpartition(":")
    for text in (forwarded, host.strip("[]"), request.remote):
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            continue
    return ""


def service_query(context: Context, request: Request, *, connect: bool) -> dict[str, Any]:
    """A ``ServiceSpecificRequest`` for the service in the path; ``?tag=`` may be repeated: all of them are wanted."""
    body: dict[str, Any] = {"ServiceName": named(request, "service name"), **nodes_query(context, request)}
    if connect:
        body["Connect"] = True
    if flag(request, "tag"):
        tags = tuple(request.query.all("tag"))
        body |= {"TagFilter": True, "ServiceTag": tags[0], "ServiceTags": tags}
    return body


def read_rows(
    context: Context, request: Request, method: str, body: dict[str, Any], name: str, fields: Fields
) -> Outcome:
    """Answer with the list in the field ``name`` of the reply, as far as ``?filter=`` leaves it."""
    keep = filtered(request, fields)

    def shown(reply: Mapping[str, Any]) -> Any:
        return translated(context, request, keep(reply[name]))

    return read(context, request, method, body, shown, discovery=True)
