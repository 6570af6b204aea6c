"""Gateways: ingress, from clients outside into the mesh, and terminating, from the mesh to services outside of it."""

from __future__ import annotations

from typing import Any, Final

from meshnode.base.address import is_ip_address
from meshnode.config_entries.protocol import is_http_like
from meshnode.intentions.model import WILDCARD, ServiceName
from meshnode.proxy.config import DEFAULT_CONNECT_TIMEOUT, DEFAULT_HANDSHAKE_TIMEOUT, DEFAULT_MAX_CONNECTIONS
from meshnode.xds.addresses import address, socket_address
from meshnode.xds.clusters import assignment, breakers, leg_assignments, leg_clusters, speak_http2
from meshnode.xds.legs import Leg
from meshnode.xds.listeners import guarded_routes, network_rules
from meshnode.xds.managers import HTTP_RBAC, http_manager, leg_filter, nobody, tcp_relay
from meshnode.xds.rbac import Rules, compile_rules
from meshnode.xds.routes import Host, route_table
from meshnode.xds.schema import duration, message, packed
from meshnode.xds.state import IngressPort, IngressRoute, IngressState, LinkedState, TerminatingState
from meshnode.xds.tls import LEAF, ads, downstream, edge, leaf_secret, outside, roots_secret

__all__ = ["ingress_domains", "ingress_resources", "terminating_resources"]

_INGRESS: Final = "ingress"


# Into the mesh


def ingress_resources(state: IngressState) -> list[Any]:
    """Listeners with their routes, clusters and endpoints of every service behind them, and the gateway's leaf."""
    own = state.own
    found = [leaf_secret(own.certificate_pem, own.key_pem), roots_secret(state.roots_pem)]
    for port in state.ports:
        legs = [_leg(port, route) for route in port.routes]
        for leg in legs:
            found += leg_clusters(
                leg, state.instances, trust_domain=own.trust_domain, datacenter=own.datacenter
            )
            found += leg_assignments(leg, state.instances)
        if is_http_like(port.protocol):
            hosts = [_host(port, route, leg) for route, leg in zip(port.routes, legs, strict=True)]
            found.append(route_table(_name(port), hosts))
        if legs:
            found.append(_ingress_listener(state, port, legs[0]))
    return found


def ingress_domains(service: str, hosts: tuple[str, ...], port: int) -> tuple[str, ...]:
    """What the Host of a request may be, with the port or without: ``<service>.ingress.*`` where none is named."""
    if WILDCARD in hosts:
        return (WILDCARD,)
    return tuple(each for host in hosts or (f"{service}.ingress.*",) for each in (host, f"{host}:{port}"))


def _leg(port: IngressPort, route: IngressRoute) -> Leg:
    # Several ports may lead to one service: its clusters are there once.
    return Leg("", route.chain, port.protocol)


def _host(port: IngressPort, route: IngressRoute, leg: Leg) -> Host:
    service = route.chain.service
    domains = ingress_domains(service, route.hosts, port.bind.port)
    return Host(service, domains, leg, route.request_headers, route.response_headers)


def _name(port: IngressPort) -> str:
    return f"{_INGRESS}:{port.bind}"


def _ingress_listener(state: IngressState, port: IngressPort, leg: Leg) -> Any:
    chain: dict[str, Any] = {"filters": [leg_filter(_INGRESS, leg, _name(port), edge=True, logs=state.logs)]}
    if port.tls is not None:
        chain["transport_socket"] = edge(*port.tls, port.cipher_suites)
        chain["transport_socket_connect_timeout"] = duration(DEFAULT_HANDSHAKE_TIMEOUT)
    return message("config.listener.v3.Listener")(
        name=_name(port),
        address=address(port.bind),
        traffic_direction="OUTBOUND",
        filter_chains=[chain],
    )


# Out of the mesh


def terminating_resources(state: TerminatingState) -> list[Any]:
    """One listener that tells services apart by the name in the handshake, and the cluster of each one outside."""
    found = [roots_secret(state.roots_pem)]
    chains = []
    for each in state.services:
        rules = _rules(each)
        found.append(leaf_secret(each.own.certificate_pem, each.own.key_pem, _leaf(each)))
        found += _outside(each)
        if is_http_like(each.protocol):
            found.append(guarded_routes(_outer(each), _outer(each), rules))
        chains.append(_filter_chain(state, each, rules))
    inspector = message("extensions.filters.listener.tls_inspector.v3.TlsInspector")()
    listener = message("config.listener.v3.Listener")(
        name=f"terminating:{state.bind}",
        address=address(state.bind),
        traffic_direction="INBOUND",
        listener_filters=[
            {"name": "envoy.filters.listener.tls_inspector", "typed_config": packed(inspector)}
        ],
        filter_chains=chains,
    )
    # Envoy takes no listener without a chain.
    return [*found, listener] if chains else found


def _leaf(each: LinkedState) -> str:
    return f"{LEAF}:{each.linked.name}"


def _outer(each: LinkedState) -> str:
    return f"outside:{each.linked.name}"


def _rules(each: LinkedState) -> Rules:
    return compile_rules(
        each.intentions,
        ServiceName(each.linked.name),
        each.default,
        trust_domain=each.own.trust_domain,
        http=is_http_like(each.protocol),
    )


def _filter_chain(state: TerminatingState, each: LinkedState, rules: Rules) -> dict[str, Any]:
    name = _outer(each)
    if is_http_like(each.protocol):
        http2, rbac = each.protocol != "http", [(HTTP_RBAC, nobody())]
        filters = [http_manager(name, name, http2=http2, filters=rbac, guarded=True, logs=state.logs)]
    else:
        filters = [network_rules(name, rules), tcp_relay(name, name, state.logs)]
    return {
        "name": each.linked.name,
        "filter_chain_match": {"server_names": sorted(set(each.server_names))},
        "filters": filters,
        "transport_socket": downstream(each.own.trust_domain, leaf=_leaf(each)),
        "transport_socket_connect_timeout": duration(DEFAULT_HANDSHAKE_TIMEOUT),
    }


def _outside(each: LinkedState) -> list[Any]:
    """The cluster of a service outside, and its endpoints where all of them are addresses."""
    name = _outer(each)
    named = not all(is_ip_address(place.address) for place in each.places)
    cluster = message("config.cluster.v3.Cluster")(
        name=name,
        connect_timeout=duration(DEFAULT_CONNECT_TIMEOUT),
        circuit_breakers=breakers(DEFAULT_MAX_CONNECTIONS),
        lb_policy="LEAST_REQUEST",
        common_lb_config={"healthy_panic_threshold": {"value": 0}},
    )
    if each.linked.ca_file:
        cluster.transport_socket.CopyFrom(outside(each.linked, (place.address for place in each.places)))
    speak_http2(cluster, each.protocol)
    if not named:
        cluster.type = cluster.EDS
        cluster.eds_cluster_config.eds_config.CopyFrom(ads())
        return [cluster, assignment(name, each.places)]
    cluster.type = cluster.STRICT_DNS
    # Envoy would try IPv6 alone where a name has addresses of both kinds.
    cluster.dns_lookup_family = cluster.V4_PREFERRED
    rows = [
        {"endpoint": {"address": socket_address(place.address, place.port)}}
        for place in sorted(each.places, key=lambda one: (one.address, one.port))
        if place.passing
    ]
    cluster.load_assignment.CopyFrom(
        message("config.endpoint.v3.ClusterLoadAssignment")(
            cluster_name=name, endpoints=[{"lb_endpoints": rows}]
        )
    )
    return [cluster]
