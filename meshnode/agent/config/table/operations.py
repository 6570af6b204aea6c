"""HTTP, limits, servers, logging, telemetry."""

from __future__ import annotations

from typing import Final

from meshnode.agent.config.key import Key, Kind, Noted, Refused
from meshnode.agent.config.table.reasons import CONSTANT, DNS_CACHE, ENTERPRISE, LATER, LOG, PROMETHEUS

__all__ = ["CONSTANTS", "HTTP", "LATER_KEYS", "LOGGING", "SERVERS", "TELEMETRY"]

_S, _B, _I, _D, _N = Kind.STRING, Kind.BOOLEAN, Kind.INTEGER, Kind.DURATION, Kind.NUMBER

HTTP: Final = (
    Key("http_config", Kind.OBJECT, {}, "The HTTP API."),
    Key("http_config.block_endpoints", Kind.STRINGS, (), "Paths that are answered with 403, by their beginning.",
        reload=True),
    Key("http_config.response_headers", Kind.STRING_MAP, {}, "Headers of every answer.", reload=True),
    Key("http_config.allow_write_http_from", Kind.STRINGS, (), "Networks that may change things.", LATER),
    Key("http_config.use_cache", _B, True, "Answer from the agent's cache when asked.", LATER),
    Key("http_config.max_header_bytes", _I, 0, "Most bytes of request headers; 0 is the built-in bound.", LATER),
    Key("disable_http_unprintable_char_filter", _B, False, "Accept unprintable characters in paths.",
        Refused("paths with unprintable characters are always refused (CVE-2018-19653)")),
    Key("limits", Kind.OBJECT, {}, "What a client agent may ask of the servers."),
    Key("limits.rpc_rate", _N, -1.0, "Requests a second; -1 is no limit.", reload=True),
    Key("limits.rpc_max_burst", _I, 1000, "Requests at once.", reload=True),
    Key("limits.rpc_handshake_timeout", _D, 5.0, "Time for the TLS handshake of RPC.", LATER),
    Key("limits.rpc_client_timeout", _D, 60.0, "Time for an RPC.", LATER),
    Key("limits.https_handshake_timeout", _D, 5.0, "Time for the TLS handshake of HTTPS.", LATER),
    Key("limits.rpc_max_conns_per_client", _I, 100, "Connections of one address to RPC.", LATER),
    Key("limits.http_max_conns_per_client", _I, 200, "Connections of one address to HTTP.", LATER),
    Key("limits.kv_max_value_size", _I, 524288, "Most bytes of a value.", LATER),
    Key("limits.txn_max_req_len", _I, 524288, "Most bytes of a transaction.", LATER),
    Key("limits.request_limits", Kind.OPEN, {}, "Requests a second to a server.", LATER),
)  # fmt: skip

SERVERS: Final = (
    Key("state_log", Kind.OBJECT, {}, "The engine of the replicated log; meshnode's own key."),
    Key("state_log.engine", _S, "embedded", "`embedded`: SQLite in the data directory of one server. `etcd`: an etcd "
        "cluster, for two or more servers.", choices=("embedded", "etcd")),
    Key("state_log.endpoints", Kind.STRINGS, (), "etcd's client URLs: `https://10.0.0.1:2379`, or `http://`. Both only "
        "while etcd changes from one to the other; then `https` is tried first."),
    Key("state_log.prefix", _S, "", "Beginning of its keys; one for each cluster.", shown="`meshnode/<datacenter>/`"),
    Key("state_log.ca_file", _S, "", "CA of etcd's certificates.", shown="`ca_file`"),
    Key("state_log.cert_file", _S, "", "Certificate shown to etcd.", shown="`cert_file`"),
    Key("state_log.key_file", _S, "", "Its key.", shown="`key_file`"),
    Key("performance", Kind.OBJECT, {}, "How servers are paced."),
    Key("performance.leave_drain_time", _D, 5.0, "Time to finish requests while leaving."),
    Key("performance.rpc_hold_timeout", _D, 7.0, "Time that a request waits for a leader."),
    Key("performance.raft_multiplier", _I, 5, "Factor of raft's times.",
        Noted("there is no raft to tune: a leader that is gone is replaced at once", 5)),
    Key("performance.grpc_keepalive_interval", _D, 30.0, "Pause between gRPC keep-alives.", LATER),
    Key("performance.grpc_keepalive_timeout", _D, 20.0, "Time for their answer.", LATER),
    Key("raft_protocol", _I, 3, "Version of raft's protocol.", LOG, flag="raft-protocol"),
    Key("raft_snapshot_threshold", _I, 16384, "Log entries between snapshots.", LOG),
    Key("raft_snapshot_interval", _D, 30.0, "Pause between looks at that number.", LOG),
    Key("raft_trailing_logs", _I, 10240, "Log entries kept after a snapshot.", LOG),
    Key("raft_logstore", Kind.OPEN, {}, "Where the log is kept.", LOG),
    Key("raft_prevote_disabled", _B, False, "Elections without a trial vote.", LOG),
    Key("autopilot", Kind.OBJECT, {}, "Care for the set of servers: what a new cluster begins with."),
    Key("autopilot.cleanup_dead_servers", _B, True, "Remove failed servers that were replaced."),
    Key("autopilot.last_contact_threshold", _D, 0.2, "Silence after which a server is unhealthy."),
    Key("autopilot.max_trailing_logs", _I, 250, "Lag after which it is."),
    Key("autopilot.min_quorum", _I, 0, "Servers that are never cleaned up.", LOG),
    Key("autopilot.server_stabilization_time", _D, 10.0, "Time before a new server votes.", LOG),
    Key("autopilot.redundancy_zone_tag", _S, "", "Key of `node_meta` that names the zone.", ENTERPRISE),
    Key("autopilot.disable_upgrade_migration", _B, False, "Upgrade without migration.", ENTERPRISE),
    Key("autopilot.upgrade_version_tag", _S, "", "Key of `node_meta` that names the version.", ENTERPRISE),
)  # fmt: skip

LOGGING: Final = (
    Key("log_level", _S, "INFO", "Least severity that is logged.", flag="log-level", reload=True,
        choices=("TRACE", "DEBUG", "INFO", "WARN", "ERR")),
    Key("log_json", _B, False, "Each line is a JSON object."),
    Key("log_file", _S, "", "File to log to; a path that ends in `/` gets the name `meshnode.log`.", flag="log-file"),
    Key("log_rotate_bytes", _I, 0, "Size at which a new file is begun; 0 is no bound.", flag="log-rotate-bytes"),
    Key("log_rotate_duration", _D, 86400.0, "Age at which a new file is begun.", flag="log-rotate-duration"),
    Key("log_rotate_max_files", _I, 0, "Old files that are kept; 0 is all of them."),
    Key("enable_syslog", _B, False, "Log to syslog too.", flag="syslog"),
    Key("syslog_facility", _S, "LOCAL0", "Its facility.", choices=(
        "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP",
        "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5", "LOCAL6", "LOCAL7")),
)  # fmt: skip

_CIRCONUS: Final = (
    "api_token", "broker_id", "broker_select_tag", "check_display_name", "check_force_metric_activation", "check_id",
    "check_instance_id", "check_search_tag", "check_tags", "submission_url",
)  # fmt: skip

TELEMETRY: Final = (
    Key("telemetry", Kind.OBJECT, {}, "Metrics."),
    Key("telemetry.metrics_prefix", _S, "consul", "First part of every name."),
    Key("telemetry.disable_hostname", _B, False, "Leave the host name out of gauges."),
    Key("telemetry.filter_default", _B, True, "Whether a metric that no filter mentions is kept."),
    Key("telemetry.prefix_filter", Kind.STRINGS, (), "`+prefix` keeps, `-prefix` drops.", reload=True),
    Key("telemetry.prometheus_retention_time", _D, 0.0, "How long Prometheus metrics are kept; 0 turns them off."),
    Key("telemetry.statsd_address", _S, "", "statsd.", PROMETHEUS),
    Key("telemetry.statsite_address", _S, "", "statsite.", PROMETHEUS),
    Key("telemetry.dogstatsd_addr", _S, "", "DogStatsD.", PROMETHEUS),
    Key("telemetry.dogstatsd_tags", Kind.STRINGS, (), "Tags for DogStatsD.", PROMETHEUS),
    Key("telemetry.circonus_api_app", _S, "consul", "Circonus.", PROMETHEUS),
    Key("telemetry.circonus_api_url", _S, "https://api.circonus.com/v2", "Circonus.", PROMETHEUS),
    Key("telemetry.circonus_submission_interval", _D, 10.0, "Circonus.", PROMETHEUS),
    *(Key(f"telemetry.circonus_{name}", _S, "", "Circonus.", PROMETHEUS, secret=name == "api_token")
      for name in _CIRCONUS),
    Key("telemetry.retry_failed_connection", _B, True, "Start although a sink is away.", LATER),
    Key("telemetry.enable_host_metrics", _B, False, "Metrics of the machine.", LATER),
    Key("telemetry.disable_per_tenancy_usage_metrics", _B, False, "Fewer usage metrics.", LATER),
)  # fmt: skip

CONSTANTS: Final = (
    Key("acl_disabled_ttl", _D, 120.0, "How long disabled ACLs are not asked about.", CONSTANT),
    Key("ae_interval", _D, 60.0, "Pause between full syncs with the catalog.", CONSTANT),
    Key("check_deregister_interval_min", _D, 60.0, "Least time before a critical service goes.", CONSTANT),
    Key("check_reap_interval", _D, 30.0, "Pause between looks for such services.", CONSTANT),
    Key("consul", Kind.OBJECT, {}, "Inner timing."),
    Key("consul.coordinate", Kind.OBJECT, {}, "Network coordinates."),
    Key("consul.coordinate.update_batch_size", _I, 128, "Updates in a batch.", CONSTANT),
    Key("consul.coordinate.update_max_batches", _I, 5, "Batches in a period.", CONSTANT),
    Key("consul.coordinate.update_period", _D, 5.0, "The period.", CONSTANT),
    Key("consul.raft", Kind.OBJECT, {}, "Raft."),
    Key("consul.raft.election_timeout", _D, 5.0, "Time before an election.", CONSTANT),
    Key("consul.raft.heartbeat_timeout", _D, 5.0, "Silence before that.", CONSTANT),
    Key("consul.raft.leader_lease_timeout", _D, 2.5, "Lease of the leader.", CONSTANT),
    Key("consul.server", Kind.OBJECT, {}, "Servers."),
    Key("consul.server.health_interval", _D, 2.0, "Pause between looks at their health.", CONSTANT),
    Key("revision", _S, "", "Revision of the program.", CONSTANT),
    Key("version", _S, "", "Version of the program.", CONSTANT),
    Key("version_prerelease", _S, "", "Its suffix.", CONSTANT),
    Key("segment_limit", _I, 64, "Most segments.", CONSTANT),
    Key("segment_name_limit", _I, 64, "Longest name of one.", CONSTANT),
    Key("sync_coordinate_interval_min", _D, 15.0, "Least pause between coordinate updates.", CONSTANT),
    Key("sync_coordinate_rate_target", _N, 64.0, "Coordinate updates a second in the cluster.", CONSTANT),
)  # fmt: skip

LATER_KEYS: Final = (
    Key("cache", Kind.OPEN, {}, "The agent's cache.", DNS_CACHE),
    Key("use_streaming_backend", _B, False, "How health queries are served.", LATER),
    Key("rpc", Kind.OPEN, {}, "Streaming.", LATER),
    Key("default_query_time", _D, 300.0, "Wait of a blocking query that names none.", LATER),
    Key("max_query_time", _D, 600.0, "Longest wait of a blocking query.", LATER),
    Key("auto_reload_config", _B, False, "Reload when a file changes.", LATER),
    Key("read_replica", _B, False, "Server without a vote.", ENTERPRISE),
    Key("license_path", _S, "", "Licence.", ENTERPRISE),
    Key("reporting", Kind.OPEN, {}, "Reports about the licence.", ENTERPRISE),
    Key("audit", Kind.OPEN, {}, "Audit log.", ENTERPRISE),
    Key("locality", Kind.OPEN, {}, "Region and zone.", LATER),
    Key("experiments", Kind.STRINGS, (), "Unfinished features.", LATER),
    Key("cloud", Kind.OPEN, {}, "HashiCorp's cloud.", Refused("meshnode reports to nobody")),
)  # fmt: skip
