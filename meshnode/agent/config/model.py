"""The configuration as the agent uses it: frozen, typed, checked. No dictionary and no environment below this.

Each field names its key, so that the loader can fill it and a reload can name what changed. Durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meshnode.agent.config.model_state import Acls, Autopilot, Connect, Dns, LocalConfig, StateLog
from meshnode.agent.config.setting import setting
from meshnode.base.address import Address

if TYPE_CHECKING:
    from meshnode.runtime.tls import TlsSettings

__all__ = [
    "Acls",
    "Addresses",
    "AgentConfig",
    "Autopilot",
    "Connect",
    "Dns",
    "Gossip",
    "GossipPool",
    "Http",
    "Identity",
    "Join",
    "JoinPool",
    "Limits",
    "LocalConfig",
    "Logging",
    "Ports",
    "Process",
    "StateLog",
    "Telemetry",
    "Tls",
    "UnixSockets",
]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is."""

    node_name: str = setting("node_name")
    #: Empty: take the one in ``<data_dir>/node-id``, or make one.
    node_id: str = setting("node_id")
    node_meta: Mapping[str, str] = setting("node_meta")
    datacenter: str = setting("datacenter")
    #: Whose intentions, config entries and certificate authority hold; this one if no other is named.
    primary_datacenter: str = setting("primary_datacenter")
    #: Ends in a dot.
    domain: str = setting("domain")
    #: Empty only in ``-dev``.
    data_dir: str = setting("data_dir")
    server: bool = setting("server")
    bootstrap: bool = setting("bootstrap")
    bootstrap_expect: int = setting("bootstrap_expect")
    tagged_addresses: Mapping[str, str] = setting("tagged_addresses")
    session_ttl_min: float = setting("session_ttl_min")
    disable_remote_exec: bool = setting("disable_remote_exec")
    protocol: int = setting("protocol")


@dataclass(frozen=True, slots=True)
class Process:
    """How the process starts, leaves and stops."""

    pid_file: str = setting("pid_file")
    leave_on_terminate: bool = setting("leave_on_terminate")
    skip_leave_on_interrupt: bool = setting("skip_leave_on_interrupt")
    rejoin_after_leave: bool = setting("rejoin_after_leave")
    leave_drain_time: float = setting("performance.leave_drain_time")


@dataclass(frozen=True, slots=True)
class Addresses:
    """IP addresses, all of them worked out; ``http`` and ``client`` may hold ``unix:///path`` too."""

    bind: str = setting("bind_addr")
    advertise: str = setting("advertise_addr")
    advertise_wan: str = setting("advertise_addr_wan")
    serf_lan: str = setting("serf_lan")
    serf_wan: str = setting("serf_wan")
    client: tuple[str, ...] = setting("client_addr")
    http: tuple[str, ...] = setting("addresses.http")
    https: tuple[str, ...] = setting("addresses.https")
    dns: tuple[str, ...] = setting("addresses.dns")
    grpc: tuple[str, ...] = setting("addresses.grpc")


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports; -1 is off."""

    http: int = setting("ports.http")
    https: int = setting("ports.https")
    serf_lan: int = setting("ports.serf_lan")
    serf_wan: int = setting("ports.serf_wan")
    server: int = setting("ports.server")
    dns: int = setting("ports.dns")
    grpc: int = setting("ports.grpc")
    grpc_tls: int = setting("ports.grpc_tls")
    #: Ranges that managed proxies and sidecars get theirs from.
    proxy_min: int = setting("ports.proxy_min_port")
    proxy_max: int = setting("ports.proxy_max_port")
    sidecar_min: int = setting("ports.sidecar_min_port")
    sidecar_max: int = setting("ports.sidecar_max_port")


@dataclass(frozen=True, slots=True)
class UnixSockets:
    """Ownership of sockets; empty text leaves the process's own."""

    user: str = setting("unix_sockets.user")
    group: str = setting("unix_sockets.group")
    mode: str = setting("unix_sockets.mode")


@dataclass(frozen=True, slots=True)
class JoinPool:
    """Whom to join in one pool: IP addresses or host names, with or without a port."""

    start: tuple[str, ...]
    retry: tuple[str, ...]
    interval: float
    #: 0: for ever.
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Join:
    """How this node finds the others."""

    start_lan: tuple[str, ...] = setting("start_join")
    start_wan: tuple[str, ...] = setting("start_join_wan")
    retry_lan: tuple[str, ...] = setting("retry_join")
    retry_wan: tuple[str, ...] = setting("retry_join_wan")
    interval_lan: float = setting("retry_interval")
    interval_wan: float = setting("retry_interval_wan")
    max_lan: int = setting("retry_max")
    max_wan: int = setting("retry_max_wan")

    @property
    def lan(self) -> JoinPool:
        """The LAN pool's part."""
        return JoinPool(self.start_lan, self.retry_lan, self.interval_lan, self.max_lan)

    @property
    def wan(self) -> JoinPool:
        """The WAN pool's part."""
        return JoinPool(self.start_wan, self.retry_wan, self.interval_wan, self.max_wan)


@dataclass(frozen=True, slots=True)
class GossipPool:
    """Timing of one pool; memberlist's names."""

    gossip_nodes: int
    gossip_interval: float
    probe_interval: float
    probe_timeout: float
    suspicion_mult: int
    retransmit_mult: int
    reconnect_timeout: float


@dataclass(frozen=True, slots=True)
class LanGossip(GossipPool):
    """The LAN pool."""

    gossip_nodes: int = setting("gossip_lan.gossip_nodes")
    gossip_interval: float = setting("gossip_lan.gossip_interval")
    probe_interval: float = setting("gossip_lan.probe_interval")
    probe_timeout: float = setting("gossip_lan.probe_timeout")
    suspicion_mult: int = setting("gossip_lan.suspicion_mult")
    retransmit_mult: int = setting("gossip_lan.retransmit_mult")
    reconnect_timeout: float = setting("reconnect_timeout")


@dataclass(frozen=True, slots=True)
class WanGossip(GossipPool):
    """The WAN pool."""

    gossip_nodes: int = setting("gossip_wan.gossip_nodes")
    gossip_interval: float = setting("gossip_wan.gossip_interval")
    probe_interval: float = setting("gossip_wan.probe_interval")
    probe_timeout: float = setting("gossip_wan.probe_timeout")
    suspicion_mult: int = setting("gossip_wan.suspicion_mult")
    retransmit_mult: int = setting("gossip_wan.retransmit_mult")
    reconnect_timeout: float = setting("reconnect_timeout_wan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gossip:
    """Gossip and its encryption; ``encrypt`` is the decoded key, ``None`` when none is configured."""

    encrypt: bytes | None = setting("encrypt", secret=True)
    verify_incoming: bool = setting("encrypt_verify_incoming")
    verify_outgoing: bool = setting("encrypt_verify_outgoing")
    disable_keyring_file: bool = setting("disable_keyring_file")
    lan: LanGossip
    wan: WanGossip


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of RPC and HTTPS; ``verify_incoming`` is folded into the other two, and so is what implies ``outgoing``."""

    ca_file: str = setting("ca_file")
    ca_path: str = setting("ca_path")
    cert_file: str = setting("cert_file")
    key_file: str = setting("key_file")
    server_name: str = setting("server_name")
    verify_incoming: bool = setting("verify_incoming")
    verify_incoming_rpc: bool = setting("verify_incoming_rpc")
    verify_incoming_https: bool = setting("verify_incoming_https")
    verify_outgoing: bool = setting("verify_outgoing")
    verify_server_hostname: bool = setting("verify_server_hostname")
    min_version: str = setting("tls_min_version")
    #: Go's names.
    cipher_suites: tuple[str, ...] = setting("tls_cipher_suites")
    prefer_server_ciphers: bool = setting("tls_prefer_server_cipher_suites")


@dataclass(frozen=True, slots=True)
class Http:
    """The HTTP API, and the web page beside it."""

    block_endpoints: tuple[str, ...] = setting("http_config.block_endpoints")
    response_headers: Mapping[str, str] = setting("http_config.response_headers")
    discovery_max_stale: float = setting("discovery_max_stale")
    ui: bool = setting("ui")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client agent may ask of the servers; ``rpc_rate`` is -1 for no limit."""

    rpc_rate: float = setting("limits.rpc_rate")
    rpc_max_burst: int = setting("limits.rpc_max_burst")
    rpc_hold_timeout: float = setting("performance.rpc_hold_timeout")


@dataclass(frozen=True, slots=True)
class Logging:
    """Where log lines go; ``level`` is one of TRACE, DEBUG, INFO, WARN, ERR."""

    level: str = setting("log_level")
    as_json: bool = setting("log_json")
    #: Empty: no file. Never ends in a slash.
    file: str = setting("log_file")
    rotate_bytes: int = setting("log_rotate_bytes")
    rotate_duration: float = setting("log_rotate_duration")
    rotate_max_files: int = setting("log_rotate_max_files")
    syslog: bool = setting("enable_syslog")
    syslog_facility: str = setting("syslog_facility")


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Metrics; ``prometheus_retention_time`` is 0 when Prometheus is off."""

    metrics_prefix: str = setting("telemetry.metrics_prefix")
    disable_hostname: bool = setting("telemetry.disable_hostname")
    filter_default: bool = setting("telemetry.filter_default")
    #: ``+prefix`` and ``-prefix``, in their order.
    prefix_filter: tuple[str, ...] = setting("telemetry.prefix_filter")
    prometheus_retention_time: float = setting("telemetry.prometheus_retention_time")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Everything that an agent is told."""

    #: Whether this is a ``-dev`` agent, which keeps nothing on disk.
    dev: bool
    identity: Identity
    process: Process
    addresses: Addresses
    ports: Ports
    unix_sockets: UnixSockets
    join: Join
    gossip: Gossip
    tls: Tls
    http: Http
    limits: Limits
    state_log: StateLog
    autopilot: Autopilot
    acls: Acls
    connect: Connect
    local: LocalConfig
    dns: Dns
    logging: Logging
    telemetry: Telemetry

    @property
    def http_listeners(self) -> tuple[Address | Path, ...]:
        """Where plain HTTP listens: sockets of the network, or paths of Unix sockets."""
        return _listeners(self.addresses.http, self.ports.http)

    @property
    def https_listeners(self) -> tuple[Address | Path, ...]:
        """Where HTTPS listens: always the network."""
        return _listeners(self.addresses.https, self.ports.https)

    @property
    def dns_listeners(self) -> tuple[Address, ...]:
        """Where DNS listens, UDP and TCP; nowhere when its port is off."""
        if self.ports.dns <= 0:
            return ()
        return tuple(Address(host, self.ports.dns) for host in self.addresses.dns)

    @property
    def grpc_listeners(self) -> tuple[tuple[Address, bool], ...]:
        """Where xDS listens, and whether with TLS; nowhere when both ports are off."""
        ports = (self.ports.grpc, False), (self.ports.grpc_tls, True)
        return tuple(
            (Address(host, port), tls) for port, tls in ports if port > 0 for host in self.addresses.grpc
        )

    def keyring_file(self, *, wan: bool) -> Path | None:
        """File of the pool's gossip keys; ``None`` when keys stay in memory."""
        if self.gossip.disable_keyring_file or not self.identity.data_dir:
            return None
        return Path(self.identity.data_dir) / "serf" / ("remote.keyring" if wan else "local.keyring")

    def tls_settings(self) -> TlsSettings:
        """The same, as the TLS of the runtime wants it."""
        from meshnode.runtime.tls import (
            TlsSettings,
        )  # here: it loads cryptography, which many commands don't need

        tls = self.tls
        return TlsSettings(
            ca_file=tls.ca_file,
            ca_path=tls.ca_path,
            cert_file=tls.cert_file,
            key_file=tls.key_file,
            verify_incoming_rpc=tls.verify_incoming_rpc,
            verify_incoming_https=tls.verify_incoming_https,
            verify_outgoing=tls.verify_outgoing,
            verify_server_hostname=tls.verify_server_hostname,
            min_version=tls.min_version,
            cipher_suites=tls.cipher_suites,
            prefer_server_ciphers=tls.prefer_server_ciphers,
            server_name=tls.server_name,
            domain=self.identity.domain,
            datacenter=self.identity.datacenter,
        )


def _listeners(addresses: tuple[str, ...], port: int) -> tuple[Address | Path, ...]:
    """Unix sockets need no port, and are there although the port is off (Consul)."""
    unix = [Path(address.removeprefix("unix://")) for address in addresses if address.startswith("unix://")]
    network = [Address(address, port) for address in addresses if not address.startswith("unix://")]
    return (*unix, *(network if port > 0 else ()))
