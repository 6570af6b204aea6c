"""Addresses, ports, sockets, and how to find the others."""

from __future__ import annotations

from typing import Final

from meshnode.agent.config.key import Key, Kind
from meshnode.agent.config.table.reasons import EXPOSE, LATER, MESH_GATEWAYS

__all__ = ["JOINING", "NETWORK"]

_S, _I, _D, _A, _AA, _P = Kind.STRING, Kind.INTEGER, Kind.DURATION, Kind.ADDRESS, Kind.ADDRESSES, Kind.PORT

NETWORK: Final = (
    Key("bind_addr", _A, "0.0.0.0", "Address of cluster traffic: gossip and RPC.", flag="bind"),
    Key("advertise_addr", _A, "", "Address that others use to reach this node.", flag="advertise",
        shown="`bind_addr`, or the only private IPv4 address"),
    Key("advertise_addr_wan", _A, "", "The same, from other data centres.", flag="advertise-wan",
        shown="`advertise_addr`"),
    Key("client_addr", _AA, "127.0.0.1", "Addresses of the HTTP and HTTPS interfaces.", flag="client"),
    Key("serf_lan", _A, "", "Address of LAN gossip.", flag="serf-lan-bind", shown="`bind_addr`"),
    Key("serf_wan", _A, "", "Address of WAN gossip.", flag="serf-wan-bind", shown="`bind_addr`"),
    Key("addresses", Kind.OBJECT, {}, "Addresses of single interfaces."),
    Key("addresses.http", _AA, "", "Addresses of HTTP; may hold `unix:///path`.", shown="`client_addr`"),
    Key("addresses.https", _AA, "", "Addresses of HTTPS.", shown="`client_addr`"),
    Key("addresses.dns", _AA, "", "Addresses of DNS.", shown="`client_addr`"),
    Key("addresses.grpc", _AA, "", "Addresses of gRPC, with and without TLS.", shown="`client_addr`"),
    Key("unix_sockets", Kind.OBJECT, {}, "Ownership of the sockets that are created."),
    Key("unix_sockets.user", _S, "", "Owner: a name or a number."),
    Key("unix_sockets.group", _S, "", "Group: a name or a number."),
    Key("unix_sockets.mode", _S, "", "Permission in octal digits, such as `\"0770\"`."),
    Key("ports", Kind.OBJECT, {}, "Ports; zero and negative numbers turn the interface off."),
    Key("ports.http", _P, 8500, "HTTP API.", flag="http-port"),
    Key("ports.https", _P, -1, "HTTPS API."),
    Key("ports.serf_lan", _P, 8301, "LAN gossip, TCP and UDP.", flag="serf-lan-port"),
    Key("ports.serf_wan", _P, 8302, "WAN gossip, TCP and UDP.", flag="serf-wan-port"),
    Key("ports.server", _P, 8300, "RPC of servers.", flag="server-port"),
    Key("ports.dns", _P, 8600, "DNS interface, UDP and TCP.", flag="dns-port"),
    Key("ports.grpc", _P, -1, "xDS for Envoy; 8502 in `-dev`, and in Consul.", flag="grpc-port"),
    Key("ports.grpc_tls", _P, -1, "xDS over TLS; 8503 in Consul."),
    Key("ports.proxy_min_port", _P, 20000, "First port of managed proxies."),
    Key("ports.proxy_max_port", _P, 20255, "Last port of managed proxies."),
    Key("ports.sidecar_min_port", _P, 21000, "First port of sidecars that name none."),
    Key("ports.sidecar_max_port", _P, 21255, "Last port of sidecars."),
    Key("ports.expose_min_port", _P, 21500, "First port of exposed paths.", EXPOSE),
    Key("ports.expose_max_port", _P, 21755, "Last port of exposed paths.", EXPOSE),
    Key("advertise_reconnect_timeout", _S, "", "Tells others how long to keep this node once it failed.", LATER),
    Key("server_rejoin_age_max", _D, 0.0, "Refuse to rejoin after this absence.", LATER),
)  # fmt: skip

JOINING: Final = (
    Key("start_join", Kind.STRINGS, (), "Addresses to join at start; fatal when none answers.", flag="join"),
    Key("start_join_wan", Kind.STRINGS, (), "The same over the WAN.", flag="join-wan"),
    Key("retry_join", Kind.STRINGS, (), "Addresses to join at start, tried until one answers.", flag="retry-join"),
    Key("retry_join_wan", Kind.STRINGS, (), "The same over the WAN.", flag="retry-join-wan"),
    Key("retry_interval", _D, 30.0, "Pause between attempts.", flag="retry-interval"),
    Key("retry_interval_wan", _D, 30.0, "Pause between attempts over the WAN.", flag="retry-interval-wan"),
    Key("retry_max", _I, 0, "Attempts before the agent gives up with exit code 1; 0 never.", flag="retry-max"),
    Key("retry_max_wan", _I, 0, "The same over the WAN.", flag="retry-max-wan"),
    Key("reconnect_timeout", _D, 259200.0, "How long a failed member is kept; at least 8h."),
    Key("reconnect_timeout_wan", _D, 259200.0, "The same over the WAN."),
    Key("primary_datacenter", _S, "", "Data centre whose intentions, config entries and certificate authority hold; "
        "ACLs are each one's own.", shown="`datacenter`"),
    Key("primary_gateways", Kind.STRINGS, (), "Mesh gateways of the primary data centre.", MESH_GATEWAYS),
    Key("primary_gateways_interval", _D, 30.0, "Pause between attempts to reach them.", MESH_GATEWAYS),
)  # fmt: skip
