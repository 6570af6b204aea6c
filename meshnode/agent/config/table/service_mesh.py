"""The catalog, the mesh, DNS and the web page: keys that later releases of meshnode fill with life."""

from __future__ import annotations

from typing import Final

from meshnode.agent.config.key import Key, Kind
from meshnode.agent.config.table.reasons import CENTRAL, DNS_CACHE, ENTERPRISE, LATER, MESH_GATEWAYS, UI, XDS

__all__ = ["MESH"]

_S, _B, _I, _D = Kind.STRING, Kind.BOOLEAN, Kind.INTEGER, Kind.DURATION

MESH: Final = (
    Key("service", Kind.OBJECT, None, "One service; joins `services`.", reload=True, shape="service"),
    Key("services", Kind.OBJECTS, (), "Services of this node.", reload=True, shape="service"),
    Key("check", Kind.OBJECT, None, "One check; joins `checks`.", reload=True, shape="check"),
    Key("checks", Kind.OBJECTS, (), "Checks of this node.", reload=True, shape="check"),
    Key("watches", Kind.OBJECTS, (), "Programs to run on changes.", reload=True, shape="watch"),
    Key("check_update_interval", _D, 300.0, "How often a check whose output alone changed is synced."),
    Key("check_output_max_size", _I, 4096, "Most bytes of output that are kept."),
    Key("discard_check_output", _B, False, "Keep no output of checks.", reload=True),
    Key("enable_script_checks", _B, False, "Allow checks that run programs.", flag="enable-script-checks"),
    Key("enable_local_script_checks", _B, False, "The same, but only from configuration files."),
    Key("enable_agent_tls_for_checks", _B, False, "HTTPS checks present the agent's certificate."),
    Key("enable_central_service_config", _B, False, "Merge defaults from config entries.", CENTRAL),
    Key("config_entries", Kind.OBJECT, {}, "Config entries to begin with."),
    Key("config_entries.bootstrap", Kind.OPENS, (), "Entries that the leader writes where there is none of the kind "
        "and name; as `consul config write` takes them, in any order. Servers only."),
    Key("connect", Kind.OBJECT, {}, "The service mesh."),
    Key("connect.enabled", _B, False, "Whether there is a mesh; on in `-dev`."),
    Key("connect.ca_provider", _S, "consul", "Who signs the certificates of services.",
        choices=("consul", "vault")),
    Key("connect.ca_config", Kind.OPEN, {}, "Settings of the CA when there is none yet: `leaf_cert_ttl` (`72h`; 1s to "
        "43800h), `rotation_period`, `private_key` and `root_cert` (PEM; made when left out), `private_key_type` and "
        "`private_key_bits`; with `vault`: `address`, `token`, `root_pki_path`, `intermediate_pki_path`, `namespace`, "
        "`ca_file`, `ca_path`, `cert_file`, `key_file`, `tls_server_name`. Later they are changed through the API.",
        secret=True),
    Key("connect.proxy", Kind.OBJECT, {}, "Managed proxies."),
    Key("connect.proxy.allow_managed_root", _B, False, "Run them although the agent is root; on in `-dev`."),
    Key("connect.proxy.allow_managed_api_registration", _B, False, "Accept them from the API."),
    Key("connect.proxy_defaults", Kind.OBJECT, {}, "What every managed proxy begins with."),
    Key("connect.proxy_defaults.exec_mode", _S, "daemon", "`daemon` is kept running, `script` is run "
        "after each change.", choices=("daemon", "script")),
    Key("connect.proxy_defaults.daemon_command", Kind.STRINGS, (), "Command of a daemon.",
        shown="`connect proxy` of this program"),
    Key("connect.proxy_defaults.script_command", Kind.STRINGS, (), "Command of a script."),
    Key("connect.proxy_defaults.config", Kind.OPEN, {}, "Its configuration; a service's own counts more."),
    Key("connect.enable_mesh_gateway_wan_federation", _B, False, "Federate through gateways.", MESH_GATEWAYS),
    Key("domain", _S, "consul.", "Domain of DNS names and of server certificates.", flag="domain"),
    Key("alt_domain", _S, "", "A second domain."),
    Key("recursors", Kind.STRINGS, (), "DNS servers for other names.", flag="recursor"),
    Key("dns_config", Kind.OBJECT, {}, "The DNS interface."),
    Key("dns_config.allow_stale", _B, True, "Any server may answer."),
    Key("dns_config.max_stale", _D, 315360000.0, "Staleness that is accepted."),
    Key("dns_config.node_ttl", _D, 0.0, "TTL of node names."),
    Key("dns_config.service_ttl", Kind.STRING_MAP, {}, "TTL by service; `*` for all."),
    Key("dns_config.enable_truncate", _B, False, "Set the TC bit on long UDP answers."),
    Key("dns_config.only_passing", _B, False, "Leave out instances with warnings."),
    Key("dns_config.recursor_timeout", _D, 2.0, "Time that a recursor has."),
    Key("dns_config.recursor_strategy", _S, "sequential", "Order of the recursors.", choices=("sequential", "random")),
    Key("dns_config.disable_compression", _B, False, "Send names in full."),
    Key("dns_config.udp_answer_limit", _I, 3, "Most records in a UDP answer."),
    Key("dns_config.a_record_limit", _I, 0, "Most A records in an answer."),
    Key("dns_config.enable_additional_node_meta_txt", _B, True, "Add `node_meta` as TXT records."),
    Key("dns_config.soa", Kind.OBJECT, {}, "Figures of the SOA record, in seconds."),
    Key("dns_config.soa.refresh", _I, 3600, "How often secondaries look."),
    Key("dns_config.soa.retry", _I, 600, "How soon they look again."),
    Key("dns_config.soa.expire", _I, 86400, "How long they answer without an answer."),
    Key("dns_config.soa.min_ttl", _I, 0, "How long it is kept that there is nothing."),
    Key("dns_config.use_cache", _B, False, "Answer from the agent's cache.", DNS_CACHE),
    Key("dns_config.cache_max_age", _D, 0.0, "Oldest answer from it.", DNS_CACHE),
    Key("dns_config.prefer_namespace", _B, False, "How names with one label too many are read.", ENTERPRISE),
    Key("ui", _B, False, "The web page, under `/ui/`; on in `-dev`.", flag="ui"),
    Key("ui_dir", _S, "", "Directory of another web page.", UI, flag="ui-dir"),
    Key("ui_content_path", _S, "/ui/", "Path of the web page.", UI),
    Key("ui_config", Kind.OBJECT, {}, "The web page, as later releases write it."),
    Key("ui_config.enabled", _B, False, "The same as `ui`, which counts where both are set; true in `-dev`."),
    Key("ui_config.dir", _S, "", "Directory of another web page.", UI),
    Key("ui_config.content_path", _S, "/ui/", "Path of the web page.", UI),
    Key("ui_config.metrics_provider", _S, "", "Where the page has figures from.", UI),
    Key("ui_config.metrics_provider_files", Kind.STRINGS, (), "Scripts for that.", UI),
    Key("ui_config.metrics_provider_options_json", _S, "", "Options for them.", UI),
    Key("ui_config.metrics_proxy", Kind.OPEN, {}, "Passes the page's questions on.", UI),
    Key("ui_config.dashboard_url_templates", Kind.STRING_MAP, {}, "Links to dashboards.", UI),
    Key("xds", Kind.OPEN, {}, "How fast Envoy is served.", XDS),
    Key("peering", Kind.OPEN, {}, "Links between clusters.", LATER),
)  # fmt: skip
