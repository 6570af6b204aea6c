"""The part of the model that is about the cluster's state, services, DNS and rights; ``model`` puts all together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshnode.agent.config.setting import setting

__all__ = ["Acls", "Autopilot", "Connect", "Dns", "LocalConfig", "StateLog"]


@dataclass(frozen=True, slots=True)
class Acls:
    """Access control; both spellings are folded into one."""

    enabled: bool = setting("acl.enabled")
    datacenter: str = setting("acl_datacenter")
    default_policy: str = setting("acl.default_policy")
    down_policy: str = setting("acl.down_policy")
    token_ttl: float = setting("acl.token_ttl")
    key_list_policy: bool = setting("acl.enable_key_list_policy")
    token_persistence: bool = setting("acl.enable_token_persistence")
    #: Empty: the default policy where there are ACLs, else allow.
    intention_policy: str = setting("default_intention_policy")
    master_token: str = setting("acl.tokens.initial_management", secret=True)
    agent_master_token: str = setting("acl.tokens.agent_recovery", secret=True)
    agent_token: str = setting("acl.tokens.agent", secret=True)
    default_token: str = setting("acl.tokens.default", secret=True)
    #: For the primary datacenter, when this is another one.
    replication_token: str = setting("acl.tokens.replication", secret=True)


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """Services, checks and watches of this agent, as they were written; ``local_config`` and ``watches`` read them."""

    services: tuple[Mapping[str, Any], ...] = setting("services")
    checks: tuple[Mapping[str, Any], ...] = setting("checks")
    watches: tuple[Mapping[str, Any], ...] = setting("watches")
    check_update_interval: float = setting("check_update_interval")
    check_output_max_size: int = setting("check_output_max_size")
    discard_check_output: bool = setting("discard_check_output")
    enable_script_checks: bool = setting("enable_script_checks")
    enable_local_script_checks: bool = setting("enable_local_script_checks")
    enable_agent_tls_for_checks: bool = setting("enable_agent_tls_for_checks")


@dataclass(frozen=True, slots=True)
class Dns:
    """The DNS interface; ``domain`` is the identity's."""

    alt_domain: str = setting("alt_domain")
    translate_wan_addrs: bool = setting("translate_wan_addrs")
    #: ``host:port`` or ``host``.
    recursors: tuple[str, ...] = setting("recursors")
    allow_stale: bool = setting("dns_config.allow_stale")
    max_stale: float = setting("dns_config.max_stale")
    node_ttl: float = setting("dns_config.node_ttl")
    #: Durations by service.
    service_ttl: Mapping[str, float] = setting("dns_config.service_ttl")
    enable_truncate: bool = setting("dns_config.enable_truncate")
    only_passing: bool = setting("dns_config.only_passing")
    recursor_timeout: float = setting("dns_config.recursor_timeout")
    recursor_strategy: str = setting("dns_config.recursor_strategy")
    disable_compression: bool = setting("dns_config.disable_compression")
    udp_answer_limit: int = setting("dns_config.udp_answer_limit")
    a_record_limit: int = setting("dns_config.a_record_limit")
    node_meta_txt: bool = setting("dns_config.enable_additional_node_meta_txt")
    soa_refresh: int = setting("dns_config.soa.refresh")
    soa_retry: int = setting("dns_config.soa.retry")
    soa_expire: int = setting("dns_config.soa.expire")
    soa_min_ttl: int = setting("dns_config.soa.min_ttl")


@dataclass(frozen=True, slots=True)
class StateLog:
    """The engine of the replicated log; where it names no certificate, the agent's own serve."""

    engine: str = setting("state_log.engine")
    #: ``https://10.0.0.1:2379``, or ``http://`` without TLS.
    endpoints: tuple[str, ...] = setting("state_log.endpoints")
    #: Empty: ``meshnode/<datacenter>/``.
    prefix: str = setting("state_log.prefix")
    ca_file: str = setting("state_log.ca_file")
    cert_file: str = setting("state_log.cert_file")
    key_file: str = setting("state_log.key_file")


@dataclass(frozen=True, slots=True)
class Autopilot:
    """How a new cluster cares for its servers; later ``consul operator autopilot set-config`` says."""

    cleanup_dead_servers: bool = setting("autopilot.cleanup_dead_servers")
    last_contact_threshold: float = setting("autopilot.last_contact_threshold")
    max_trailing_logs: int = setting("autopilot.max_trailing_logs")


@dataclass(frozen=True, slots=True)
class Connect:
    """The service mesh; ``ca_config`` as it was written, read by ``connect.settings``."""

    enabled: bool = setting("connect.enabled")
    ca_provider: str = setting("connect.ca_provider")
    ca_config: Mapping[str, Any] = setting("connect.ca_config", secret=True)
    #: Managed proxies: whether they run although the agent is root, and may come from the API.
    allow_managed_root: bool = setting("connect.proxy.allow_managed_root")
    allow_managed_api_registration: bool = setting("connect.proxy.allow_managed_api_registration")
    proxy_exec_mode: str = setting("connect.proxy_defaults.exec_mode")
    proxy_daemon_command: tuple[str, ...] = setting("connect.proxy_defaults.daemon_command")
    proxy_script_command: tuple[str, ...] = setting("connect.proxy_defaults.script_command")
    proxy_config: Mapping[str, Any] = setting("connect.proxy_defaults.config")
    #: Config entries as they were written, checked.
    bootstrap_entries: tuple[Mapping[str, Any], ...] = setting("config_entries.bootstrap")
