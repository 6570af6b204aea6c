"""What is inside a service, a check, a watch and a segment: the shapes that rows of the table refer to.

They are read and checked already, so that a mistake in them is named; the rows that hold them say whether they work.
"""

from __future__ import annotations

from typing import Final

from meshnode.agent.config.key import Key, Kind, Refused

__all__ = ["CAMEL_CASE", "SHAPES"]

_S, _B, _I, _D, _P = Kind.STRING, Kind.BOOLEAN, Kind.INTEGER, Kind.DURATION, Kind.PORT

#: CamelCase spellings that Consul translates, in lower case -> the key. The key wins when both are written.
CAMEL_CASE: Final = {
    "deregistercriticalserviceafter": "deregister_critical_service_after",
    "dockercontainerid": "docker_container_id",
    "scriptargs": "args",
    "serviceid": "service_id",
    "tlsskipverify": "tls_skip_verify",
}

CHECK: Final = (
    Key("id", _S, "", "ID; the name by default."),
    Key("name", _S, "", "Name."),
    Key("notes", _S, "", "For people."),
    Key("service_id", _S, "", "Service that it belongs to."),
    Key("token", _S, "", "ACL token of its registration.", secret=True),
    Key("status", _S, "", "State at the beginning."),
    Key("args", Kind.STRINGS, (), "Program to run."),
    Key("http", _S, "", "URL to ask."),
    Key("header", Kind.LISTS_MAP, {}, "Headers of that request."),
    Key("method", _S, "", "Its method."),
    Key("body", _S, "", "Its body."),
    Key("disable_redirects", _B, False, "Do not follow redirects."),
    Key("output_max_size", _I, 4096, "Most bytes of output that are kept."),
    Key("tcp", _S, "", "`host:port` to connect to."),
    Key("tcp_use_tls", _B, False, "With TLS; see `tls_server_name` and `tls_skip_verify`."),
    Key("udp", _S, "", "`host:port` that must answer an empty datagram."),
    Key("h2ping", _S, "", "`host:port` to ping over HTTP/2."),
    Key("h2ping_use_tls", _B, True, "With TLS."),
    Key(
        "os_service",
        _S,
        "",
        "Service of the operating system.",
        Refused(
            'services of the operating system are not asked: use args = ["systemctl", "is-active", NAME]'
        ),
    ),
    Key("interval", _D, 0.0, "Pause between runs; not together with `ttl`."),
    Key("docker_container_id", _S, "", "Container to run the program in."),
    Key("shell", _S, "", "Shell to run it with."),
    Key("grpc", _S, "", "`host:port/service` to ask for its health."),
    Key("grpc_use_tls", _B, False, "With TLS."),
    Key("tls_server_name", _S, "", "Name expected of the other end."),
    Key("tls_skip_verify", _B, False, "Accept any certificate."),
    Key("alias_node", _S, "", "Node whose health this check has."),
    Key("alias_service", _S, "", "Service whose health this check has."),
    Key("timeout", _D, 0.0, "Time that a run has."),
    Key("ttl", _D, 0.0, "Time in which the state must be reported."),
    Key("certificate", _S, "", "PEM file, or `host:port`, whose certificate is looked at."),
    Key("success_before_passing", _I, 0, "Successes in a row before it passes."),
    Key("failures_before_warning", _I, 0, "Failures in a row before it warns."),
    Key("failures_before_critical", _I, 0, "Failures in a row before it is critical."),
    Key("deregister_critical_service_after", _D, 0.0, "Time in critical state after which the service goes."),
)

SERVICE: Final = (
    Key("kind", _S, "", "Empty, `connect-proxy`, `ingress-gateway` or `terminating-gateway`."),
    Key("id", _S, "", "ID; the name by default."),
    Key("name", _S, "", "Name."),
    Key("tags", Kind.STRINGS, (), "Tags."),
    Key("address", _S, "", "Address; the node's by default."),
    Key("socket_path", _S, "", "Unix socket instead of address and port; a sidecar reaches the service there."),
    Key("tagged_addresses", Kind.OPEN, {}, "Further ways to it, `{ wan = { address = \"...\", port = 80 } }`; "
        "`wan` counts with `translate_wan_addrs`."),
    Key("meta", Kind.STRING_MAP, {}, "Free pairs."),
    Key("port", _P, -1, "Port."),
    Key("check", Kind.OBJECT, None, "One check; joins `checks`.", shape="check"),
    Key("checks", Kind.OBJECTS, (), "Checks.", shape="check"),
    Key("token", _S, "", "ACL token of its registration.", secret=True),
    Key("weights", Kind.OBJECT, {}, "Share of the requests, in DNS."),
    Key("weights.passing", _I, 1, "While it passes."),
    Key("weights.warning", _I, 1, "While it warns."),
    Key("enable_tag_override", _B, False, "Others may change the tags."),
    Key("proxy_destination", _S, "", "Service that this proxy stands for."),
    Key("proxy", Kind.OPEN, {}, "Settings of a proxy: `destination_service_name`, `upstreams`, `config` and so on."),
    Key("connect", Kind.OBJECT, {}, "The mesh."),
    Key("connect.native", _B, False, "The program speaks mutual TLS itself."),
    Key("connect.proxy", Kind.OBJECT, {}, "A managed proxy."),
    Key("connect.proxy.command", Kind.STRINGS, (), "Its command."),
    Key("connect.proxy.exec_mode", _S, "daemon", "How it is started."),
    Key("connect.proxy.config", Kind.OPEN, {}, "`bind_address`, `bind_port`, `tcp_check_address`, "
        "`disable_tcp_check`, `local_service_address`, `local_connect_timeout_ms`, `handshake_timeout_ms`, "
        "`decision_refresh_ms`, `decision_max_age_ms`, "
        "`telemetry`, `upstreams` (`destination_type`, `destination_name`, `destination_namespace`, "
        "`destination_datacenter`, `local_bind_address`, `local_bind_port`, `connect_timeout_ms`)."),
    Key("connect.sidecar_service", Kind.OBJECT, None, "A sidecar, registered with the service.", shape="service"),
)  # fmt: skip

WATCH: Final = (
    Key("type", _S, "", "What is watched.", choices=(
        "key", "keyprefix", "services", "nodes", "service", "checks", "event", "connect_roots", "connect_leaf",
        "connect_proxy_config", "agent_service")),
    Key("datacenter", _S, "", "Data centre."),
    Key("token", _S, "", "ACL token.", secret=True),
    Key("handler_type", _S, "script", "`script` or `http`."),
    Key("handler", _S, "", "Program to run, in one text (deprecated)."),
    Key("args", Kind.STRINGS, (), "Program to run."),
    Key("http_handler_config", Kind.OBJECT, {}, "Request to send."),
    Key("http_handler_config.path", _S, "", "Its URL."),
    Key("http_handler_config.method", _S, "POST", "Its method."),
    Key("http_handler_config.timeout", _D, 10.0, "Time that it has."),
    Key("http_handler_config.header", Kind.LISTS_MAP, {}, "Its headers."),
    Key("http_handler_config.tls_skip_verify", _B, False, "Accept any certificate."),
    Key("stale", _B, False, "Any server may answer."),
    Key("key", _S, "", "For `key`."),
    Key("prefix", _S, "", "For `keyprefix`."),
    Key("service", _S, "", "For `service`, `checks` and `connect_leaf`."),
    Key("service_id", _S, "", "For `agent_service`."),
    Key("tag", _S, "", "For `service`."),
    Key("passingonly", _B, False, "For `service`."),
    Key("state", _S, "", "For `checks`."),
    Key("name", _S, "", "For `event`."),
    Key("proxy_service_id", _S, "", "For `connect_proxy_config`."),
)  # fmt: skip

SEGMENT: Final = (
    Key("name", _S, "", "Name."),
    Key("bind", _S, "", "Address."),
    Key("port", _P, -1, "Port."),
    Key("advertise", _S, "", "Address for others."),
    Key("rpc_listener", _B, False, "RPC on this address too."),
)

SHAPES: Final = {"service": SERVICE, "check": CHECK, "watch": WATCH, "segment": SEGMENT}
