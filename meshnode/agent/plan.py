"""From the configuration to what each part is built with: pure translation, one function a part."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from meshnode import CONSUL_API_VERSION, __version__
from meshnode.agent import on_demand
from meshnode.agent.config.model import AgentConfig
from meshnode.base.address import Address
from meshnode.base.metric_names import MetricNames
from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.serf.config import SerfConfig
from meshnode.http.view import HttpSettings
from meshnode.runtime.http_server import TcpListener, UnixListener

if TYPE_CHECKING:
    from meshnode.http.page import Page

__all__ = [
    "GossipPlan",
    "gossip_plan",
    "gossip_tags",
    "http_listeners",
    "http_settings",
    "metric_names",
    "web_page",
]

RefuseMember = Callable[[str, Address, dict[str, str]], str]


@dataclass(frozen=True, slots=True)
class GossipPlan:
    """How this node takes part in one pool. ``verification`` is (incoming, outgoing)."""

    wan: bool
    name: str
    bind: Address
    advertise: Address
    tags: dict[str, str]
    serf: SerfConfig
    verification: tuple[bool, bool]
    keyring_path: Path | None
    snapshot_path: Path | None
    refuse_member: RefuseMember
    encrypt: bytes | None = field(default=None, repr=False)


def gossip_plan(
    config: AgentConfig, node_id: str, *, wan: bool, names_by_id: Callable[[], Mapping[str, str]]
) -> GossipPlan:
    """The plan of the LAN pool, or of the WAN pool in which servers are called ``node.datacenter``.

    ``names_by_id`` tells who in this pool has which node id.
    """
    identity, addresses, ports = config.identity, config.addresses, config.ports
    timing = config.gossip.wan if wan else config.gossip.lan
    profile = MemberlistConfig.wan if wan else MemberlistConfig.lan
    data_dir = identity.data_dir
    memberlist = profile(
        gossip_nodes=timing.gossip_nodes,
        gossip_interval=timing.gossip_interval,
        probe_interval=timing.probe_interval,
        probe_timeout=timing.probe_timeout,
        suspicion_mult=timing.suspicion_mult,
        retransmit_mult=timing.retransmit_mult,
        verify_incoming=config.gossip.verify_incoming,
        verify_outgoing=config.gossip.verify_outgoing,
    )
    keyring_path = config.keyring_file(wan=wan)
    return GossipPlan(
        wan=wan,
        name=f"{identity.node_name}.{identity.datacenter}" if wan else identity.node_name,
        bind=Address(
            addresses.serf_wan if wan else addresses.serf_lan, ports.serf_wan if wan else ports.serf_lan
        ),
        advertise=Address(addresses.advertise_wan if wan else addresses.advertise, 0),
        tags=gossip_tags(config, node_id),
        serf=SerfConfig(
            memberlist=memberlist,
            reconnect_timeout=timing.reconnect_timeout,
            persists_keyring=keyring_path is not None,
            writes_snapshot=bool(data_dir),
            rejoin_after_leave=config.process.rejoin_after_leave,
        ),
        verification=(config.gossip.verify_incoming, config.gossip.verify_outgoing),
        keyring_path=keyring_path,
        snapshot_path=Path(data_dir, "serf", "remote.snapshot" if wan else "local.snapshot")
        if data_dir
        else None,
        refuse_member=_refuse_wan
        if wan
        else _refuse_lan(identity.datacenter, identity.node_name, node_id, names_by_id),
        encrypt=config.gossip.encrypt,
    )


def gossip_tags(config: AgentConfig, node_id: str) -> dict[str, str]:
    """The tags by which Consul's agents know each other."""
    identity = config.identity
    tags = {
        "role": "consul" if identity.server else "node",
        "dc": identity.datacenter,
        "id": node_id,
        "vsn": str(identity.protocol),
        "vsn_min": "2",
        "vsn_max": "3",
        "build": f"{CONSUL_API_VERSION}:meshnode{__version__}",
        "segment": "",
    }
    if identity.server:
        tags |= {"port": str(config.ports.server), "raft_vsn": "3"}
        tags |= {"wan_join_port": str(config.ports.serf_wan)} if config.ports.serf_wan > 0 else {}
        tags |= {"bootstrap": "1"} if identity.bootstrap or config.dev else {}
        tags |= {"expect": str(identity.bootstrap_expect)} if identity.bootstrap_expect > 1 else {}
        tags |= {"use_tls": "1"} if config.tls.verify_incoming_rpc else {}
    return tags


def _refuse_lan(
    datacenter: str, own_name: str, own_id: str, names_by_id: Callable[[], Mapping[str, str]]
) -> RefuseMember:
    def refuse(name: str, _address: Address, tags: dict[str, str]) -> str:
        theirs = tags.get("dc", "")
        if theirs and theirs != datacenter:
            return f"Member '{name}' part of wrong datacenter '{theirs}': this pool is '{datacenter}'"
        node_id = tags.get("id", "")
        if node_id == own_id and name != own_name:
            return f"Member '{name}' has conflicting node ID '{node_id}' with this agent's ID"
        other = names_by_id().get(node_id, name)
        if other != name:
            return f"Member '{name}' has conflicting node ID '{node_id}' with member '{other}'"
        return ""

    return refuse


def _refuse_wan(name: str, _address: Address, tags: dict[str, str]) -> str:
    if tags.get("role") not in (None, "consul"):
        return f"Member '{name}' is not a server: the WAN pool is for servers only"
    return ""


def http_settings(config: AgentConfig) -> HttpSettings:
    """The API's settings."""
    return HttpSettings(
        block_endpoints=config.http.block_endpoints,
        response_headers=config.http.response_headers,
        prometheus_retention=config.telemetry.prometheus_retention_time,
        pretty=config.dev,
        translate_wan_addrs=config.dns.translate_wan_addrs,
        discovery_max_stale=config.http.discovery_max_stale,
    )


def web_page(config: AgentConfig) -> Page | None:
    """The web page, if it is on."""
    return on_demand.page.Page(on_demand.ui.page_files()) if config.http.ui else None


def http_listeners(
    config: AgentConfig, tls: Callable[[], ssl.SSLContext]
) -> list[TcpListener | UnixListener]:
    """Where the API listens, plain and with TLS."""
    found: list[TcpListener | UnixListener] = [
        _unix(config, where) if isinstance(where, Path) else TcpListener(where, "ports.http")
        for where in config.http_listeners
    ]
    found += [TcpListener(w, "ports.https", tls) for w in config.https_listeners if isinstance(w, Address)]
    return found


def _unix(config: AgentConfig, path: Path) -> UnixListener:
    sockets = config.unix_sockets
    return UnixListener(path, "addresses.http", mode=sockets.mode, user=sockets.user, group=sockets.group)


def metric_names(config: AgentConfig) -> MetricNames:
    """How the agent's metrics are called, and which are kept."""
    telemetry = config.telemetry
    return MetricNames(
        prefix=telemetry.metrics_prefix,
        host_name="" if telemetry.disable_hostname else config.identity.node_name,
        filters=telemetry.prefix_filter,
        keeps_by_default=telemetry.filter_default,
    )
