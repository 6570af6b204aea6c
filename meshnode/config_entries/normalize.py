"""An entry as it is stored: protocols and methods in one case, weights in hundredths, sources in order."""

from __future__ import annotations

from dataclasses import replace

from meshnode.config_entries.defaults import Expose, ProxyDefaults, ServiceDefaults
from meshnode.config_entries.gateways import IngressGateway, IngressListener
from meshnode.config_entries.model import ConfigEntry, Spec
from meshnode.config_entries.routing import Route, ServiceRouter, ServiceSplitter, Split
from meshnode.config_entries.sources import ServiceIntentions, Source, intention_from
from meshnode.intentions.model import SOURCE_CONSUL

__all__ = ["normalized"]


def normalized(entry: ConfigEntry) -> ConfigEntry:
    """The same entry, said in the one way in which it is stored."""
    return replace(entry, spec=_spec(entry))


def _spec(entry: ConfigEntry) -> Spec:
    match entry.spec:
        case ServiceDefaults() as spec:
            return replace(spec, protocol=spec.protocol.lower(), expose=_expose(spec.expose))
        case ProxyDefaults() as spec:
            return replace(spec, expose=_expose(spec.expose))
        case ServiceSplitter(splits):
            return ServiceSplitter(tuple(map(_split, splits)))
        case ServiceRouter(routes):
            return ServiceRouter(tuple(map(_route, routes)))
        case IngressGateway(tls, listeners):
            return IngressGateway(tls, tuple(map(_listener, listeners)))
        case ServiceIntentions(sources):
            return ServiceIntentions(_sources(sources, entry))
        case spec:
            return spec


def _expose(expose: Expose) -> Expose:
    paths = (replace(path, protocol=path.protocol.lower() or "http") for path in expose.paths)
    return replace(expose, paths=tuple(paths))


def _split(split: Split) -> Split:
    return replace(split, weight=round(split.weight, 2))


def _route(route: Route) -> Route:
    if route.match is None or route.match.http is None:
        return route
    http = route.match.http
    upper = replace(http, methods=tuple(method.upper() for method in http.methods))
    return replace(route, match=replace(route.match, http=upper))


def _listener(listener: IngressListener) -> IngressListener:
    return replace(listener, protocol=listener.protocol.lower() or "tcp")


def _sources(sources: tuple[Source, ...], entry: ConfigEntry) -> tuple[Source, ...]:
    """In the order they are looked at; what only the state knows is dropped."""
    rows = []
    for source in sources:
        namespace = "" if source.namespace == entry.namespace else source.namespace
        permissions = tuple(
            replace(
                each, http=replace(each.http, methods=tuple(method.upper() for method in each.http.methods))
            )
            for each in source.permissions
        )
        plain = replace(
            source,
            namespace=namespace,
            permissions=permissions,
            type=source.type or SOURCE_CONSUL,
            legacy_id="",
            legacy_create_time="",
            legacy_update_time="",
        )
        intention = intention_from(plain, entry.name, entry.namespace)
        rows.append((intention.order, replace(plain, precedence=intention.precedence)))
    return tuple(source for _, source in sorted(rows, key=lambda row: row[0]))
