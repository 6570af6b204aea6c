"""What the settings mean together: the rules of Consul, with its texts where people search for them.

In: merged settings. Out: the settled value of each path, problems and warnings. Reads nothing and asks nobody.
"""

from __future__ import annotations

import ipaddress
import re
import string
from typing import Any, Final

from meshnode.agent.config.checks_acl import settle_acls
from meshnode.agent.config.checks_connect import settle_connect
from meshnode.agent.config.checks_entries import settle_entries
from meshnode.agent.config.checks_proxies import settle_proxies
from meshnode.agent.config.checks_services import settle_dns, settle_services
from meshnode.agent.config.merge import Settings
from meshnode.base.address import split_host_port
from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.gossip_key import parse_gossip_key
from meshnode.catalog.validate import MAX_META_KEY_CHARS, MAX_META_PAIRS, MAX_META_VALUE_CHARS, META_KEY

__all__ = ["Findings", "settle"]

MAX_NODE_NAME_CHARS: Final = 128
MIN_RECONNECT_TIMEOUT: Final = 8 * 3600.0

_DATACENTER: Final = re.compile(r"[a-z0-9_-]+")
_DNS_LABEL: Final = re.compile(r"[A-Za-z0-9-]{1,63}")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})")
_LIKE_IPV4: Final = re.compile(r"[0-9.]+")
_HEADER: Final = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")
_MODE: Final = re.compile(r"[0-7]{3,4}")
_QUORUM: Final = "See https://www.consul.io/docs/internals/consensus.html#deployment-table"
_POSITIVE: Final = (
    "gossip_lan.gossip_interval", "gossip_lan.probe_interval", "gossip_lan.probe_timeout",
    "gossip_wan.gossip_interval", "gossip_wan.probe_interval", "gossip_wan.probe_timeout",
    "retry_interval", "retry_interval_wan",
)  # fmt: skip
_COUNTS: Final = {
    "gossip_lan.gossip_nodes": 1, "gossip_lan.suspicion_mult": 1, "gossip_lan.retransmit_mult": 1,
    "gossip_wan.gossip_nodes": 1, "gossip_wan.suspicion_mult": 1, "gossip_wan.retransmit_mult": 1,
    "retry_max": 0, "retry_max_wan": 0, "log_rotate_bytes": 0, "log_rotate_max_files": 0,
    "limits.rpc_max_burst": 0, "autopilot.max_trailing_logs": 0,
}  # fmt: skip
_NOT_NEGATIVE: Final = (
    "performance.leave_drain_time", "performance.rpc_hold_timeout", "log_rotate_duration",
    "autopilot.last_contact_threshold",
    "telemetry.prometheus_retention_time",
)  # fmt: skip


class Findings:
    """Settled values by path, and what was found on the way."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.values: dict[str, Any] = {}
        self.problems: list[ConfigError] = []
        self.warnings: list[str] = []

    def problem(self, path: str, message: str, index: int | None = None) -> None:
        """Report that ``path`` can't be used."""
        self.problems.append(self.settings.problem(path, message, index))


def settle(settings: Settings, *, dev: bool, hostname: str) -> Findings:
    """Check every rule that needs no file, clock or interface."""
    found = Findings(settings)
    _identity(found, hostname)
    _node_meta(found)
    _role(found, dev=dev)
    _joining(found)
    _gossip(found)
    _tls(found)
    _http(found)
    _numbers(found)
    _logging(found)
    settle_acls(found)
    settle_connect(found)
    settle_proxies(found)
    settle_entries(found, dev=dev)
    settle_services(found)
    settle_dns(found)
    return found


def _identity(found: Findings, hostname: str) -> None:
    settings = found.settings
    name = (settings["node_name"] or hostname).strip()
    if not name:
        found.problem("node_name", "node_name cannot be empty: this machine has no host name either")
    elif len(name) > MAX_NODE_NAME_CHARS or not name.isprintable() or " " in name:
        found.problem(
            "node_name",
            f"node_name: {name[:40]!r} can't be used: at most {MAX_NODE_NAME_CHARS} characters, no spaces",
        )
    elif not _DNS_LABEL.fullmatch(name):
        found.warnings.append(
            f'Node name "{name}" will not be discoverable via DNS due to invalid characters. '
            "Valid characters include all alpha-numerics and dashes."
        )
    found.values["node_name"] = name
    node_id = settings["node_id"]
    if node_id and not _UUID.fullmatch(node_id):
        found.problem(
            "node_id", f'node_id: "{node_id[:40]}" is not a UUID: write 36 characters, or leave it out'
        )
    found.values["node_id"] = node_id.lower()
    datacenter = settings["datacenter"].lower()
    if not _DATACENTER.fullmatch(datacenter):
        found.problem("datacenter", f'datacenter cannot be "{datacenter}". Please use only [a-z0-9-_].')
    found.values["datacenter"] = datacenter
    primary = settings["primary_datacenter"].lower()
    if primary and not _DATACENTER.fullmatch(primary):
        found.problem(
            "primary_datacenter",
            f'primary_datacenter: "{primary[:40]}" can\'t be a name: use only [a-z0-9-_]',
        )
    elif primary not in ("", datacenter) and settings["server"] and settings["ports.serf_wan"] <= 0:
        found.problem(
            "primary_datacenter",
            f'primary_datacenter: "{primary[:40]}" is reached over the WAN pool, which is off: set ports.serf_wan',
        )
    found.values["primary_datacenter"] = primary or datacenter
    found.values["domain"] = settings["domain"].rstrip(".").lower() + "."


def _node_meta(found: Findings) -> None:
    pairs = found.settings["node_meta"]
    if len(pairs) > MAX_META_PAIRS:
        found.problem(
            "node_meta", f"node_meta cannot have more than {MAX_META_PAIRS} pairs, it has {len(pairs)}"
        )
    for key, value in pairs.items():
        if not META_KEY.fullmatch(key) or len(key) > MAX_META_KEY_CHARS:
            accepted = f"1 to {MAX_META_KEY_CHARS} characters of A-Za-z0-9_-"
            found.problem("node_meta", f'node_meta: "{key[:40]}" can\'t be a key: write {accepted}')
        elif key.startswith("consul-"):
            found.problem("node_meta", f"node_meta.{key}: keys that begin with consul- are reserved")
        if len(value) > MAX_META_VALUE_CHARS:
            found.problem(
                "node_meta",
                f"node_meta.{key[:40]}: the value has {len(value)} characters, over {MAX_META_VALUE_CHARS}",
            )


def _role(found: Findings, *, dev: bool) -> None:
    settings, values = found.settings, found.values
    server, bootstrap, expect = settings["server"], settings["bootstrap"], settings["bootstrap_expect"]
    if not settings["data_dir"] and not dev:
        found.problem("data_dir", 'data_dir cannot be empty: add "data_dir": "/opt/meshnode", or -data-dir')
    if bootstrap and not server:
        found.problem("bootstrap", "'bootstrap = true' requires 'server = true'")
    if expect < 0:
        found.problem(
            "bootstrap_expect", f"bootstrap_expect cannot be {expect}. Must be greater than or equal to zero"
        )
    if expect > 0 and not server:
        found.problem("bootstrap_expect", "'bootstrap_expect > 0' requires 'server = true'")
    if expect > 0 and dev:
        found.problem("bootstrap_expect", "'bootstrap_expect > 0' not allowed in dev mode")
    if expect > 0 and bootstrap:
        found.problem(
            "bootstrap_expect", "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive"
        )
    elif expect == 1:
        found.warnings.append("BootstrapExpect is set to 1; this is the same as Bootstrap mode.")
        bootstrap, expect = True, 0
    elif expect == 2:
        found.warnings.append(
            f"bootstrap_expect = 2: A cluster with 2 servers will provide no failure tolerance. {_QUORUM}"
        )
    elif expect > 2 and expect % 2 == 0:
        found.warnings.append(
            "bootstrap_expect is even number: A cluster with an even number of servers does not achieve optimum "
            f"fault tolerance. {_QUORUM}"
        )
    if settings["bootstrap"]:
        found.warnings.append("bootstrap = true: do not enable unless necessary")
    values |= {"server": server, "bootstrap": bootstrap, "bootstrap_expect": expect}
    leave, skip = settings["leave_on_terminate"], settings["skip_leave_on_interrupt"]
    values["leave_on_terminate"] = not server if leave is None else leave
    values["skip_leave_on_interrupt"] = server if skip is None else skip


def _joining(found: Findings) -> None:
    settings = found.settings
    for path in ("start_join", "start_join_wan", "retry_join", "retry_join_wan"):
        for index, text in enumerate(settings[path]):
            if "provider=" in text:
                found.problem(
                    path,
                    f"{path}[{index}]: cloud discovery (provider=...) is not in this release: write addresses",
                    index,
                )
                continue
            try:
                host, _ = split_host_port(text.strip())
            except MeshError as error:
                found.problem(path, f"{path}[{index}]: {error}", index)
                continue
            if not _is_host(host):
                message = f'{path}[{index}]: "{text}" is not an address: write an IP address or a host name'
                found.problem(path, message, index)
        found.values[path] = tuple(text.strip() for text in settings[path])
    for path in ("start_join_wan", "retry_join_wan"):
        if settings[path] and not settings["server"]:
            found.problem(
                path, f"{path}: only servers are in the WAN pool: set server = true, or leave it out"
            )
    for path in ("reconnect_timeout", "reconnect_timeout_wan"):
        if settings[path] < MIN_RECONNECT_TIMEOUT:
            found.problem(
                path, f"{path} cannot be shorter than 8h: failed members would be forgotten too early"
            )


def _is_host(host: str) -> bool:
    """Whether ``host`` could be an IP address or a name; a mistyped IPv4 address is neither."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST.fullmatch(host) is not None and not _LIKE_IPV4.fullmatch(host)
    return True


def _gossip(found: Findings) -> None:
    settings = found.settings
    text = settings["encrypt"]
    found.values["encrypt"] = None
    if text:
        try:
            found.values["encrypt"] = parse_gossip_key(text)
        except ConfigError as error:
            found.problem("encrypt", f"encrypt has invalid key: {error}")
    for pool in ("gossip_lan", "gossip_wan"):
        if settings[f"{pool}.probe_timeout"] > settings[f"{pool}.probe_interval"]:
            found.problem(
                f"{pool}.probe_timeout", f"{pool}.probe_timeout cannot be longer than {pool}.probe_interval"
            )


def _tls(found: Findings) -> None:
    settings, values = found.settings, found.values
    has_ca = bool(settings["ca_file"] or settings["ca_path"])
    has_pair = bool(settings["cert_file"] and settings["key_file"])
    hostname = settings["verify_server_hostname"]
    incoming = [p for p in ("verify_incoming", "verify_incoming_rpc", "verify_incoming_https") if settings[p]]
    outgoing = [p for p in ("verify_outgoing", "verify_server_hostname") if settings[p]]
    if outgoing and not has_ca:
        found.problem(outgoing[0], "VerifyOutgoing set, and no CA certificate provided! Set ca_file")
    if incoming and not has_ca:
        found.problem(incoming[0], "VerifyIncoming set, and no CA certificate provided! Set ca_file")
    if incoming and not has_pair:
        found.problem(
            incoming[0], "VerifyIncoming set, and no Cert/Key pair provided! Set cert_file and key_file"
        )
    for one, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if settings[one] and not settings[other]:
            found.problem(one, f"{one} is set and {other} is not: they go together")
    if settings["ports.https"] > 0 and not has_pair:
        found.problem("ports.https", "ports.https: HTTPS needs a certificate: set cert_file and key_file")
    if settings["ports.grpc_tls"] > 0 and not has_pair:
        found.problem("ports.grpc_tls", "ports.grpc_tls: TLS needs a certificate: set cert_file and key_file")
    values["verify_incoming_rpc"] = settings["verify_incoming"] or settings["verify_incoming_rpc"]
    values["verify_incoming_https"] = settings["verify_incoming"] or settings["verify_incoming_https"]
    values["verify_outgoing"] = settings["verify_outgoing"] or hostname
    values["server_name"] = settings["server_name"] or values["node_name"]
    names = tuple(name.strip() for name in settings["tls_cipher_suites"].split(",") if name.strip())
    values["tls_cipher_suites"] = names
    if names or settings.is_set("tls_min_version"):
        _tls_choices(found, names)


def _tls_choices(found: Findings, names: tuple[str, ...]) -> None:
    from meshnode.runtime.tls_ciphers import minimum_version, openssl_ciphers  # here: it loads ssl

    for path, check in (
        ("tls_min_version", lambda: minimum_version(found.settings["tls_min_version"])),
        ("tls_cipher_suites", lambda: openssl_ciphers(names)),
    ):
        try:
            check()
        except ConfigError as error:
            found.problem(path, str(error))


def _http(found: Findings) -> None:
    later = found.settings["ui_config.enabled"]
    found.values["ui"] = found.settings["ui"] if found.settings.is_set("ui") else later
    for name, value in found.settings["http_config.response_headers"].items():
        path = "http_config.response_headers"
        if not name or not set(name) <= _HEADER:
            found.problem(path, f'{path}: "{name[:40]}" is not the name of a header (RFC 9110 5.1)')
        elif not value.isprintable():
            found.problem(path, f"{path}.{name}: a header can't hold line breaks or control characters")
    mode = found.settings["unix_sockets.mode"]
    if mode and not _MODE.fullmatch(mode):
        found.problem(
            "unix_sockets.mode", f'unix_sockets.mode: "{mode}" is not a mode: write octal digits, "0770"'
        )
    if found.settings["limits.rpc_rate"] != -1 and found.settings["limits.rpc_rate"] < 0:
        found.problem("limits.rpc_rate", "limits.rpc_rate cannot be negative; -1 is no limit")
    for index, text in enumerate(found.settings["telemetry.prefix_filter"]):
        if text[:1] not in ("+", "-") or len(text) == 1:
            message = f'telemetry.prefix_filter[{index}]: "{text}" must begin with "+" (keep) or "-" (drop)'
            found.problem("telemetry.prefix_filter", message, index)


def _numbers(found: Findings) -> None:
    settings = found.settings
    for path in _POSITIVE:
        if settings[path] <= 0:
            found.problem(path, f"{path} must be longer than 0s")
    for path in _NOT_NEGATIVE:
        if settings[path] < 0:
            found.problem(path, f"{path} cannot be negative")
    for path, least in _COUNTS.items():
        if settings[path] < least:
            found.problem(path, f"{path} cannot be {settings[path]}: the least is {least}")
    for path in ("ports.serf_lan", *(("ports.server",) if settings["server"] else ())):
        if settings[path] < 0:
            found.problem(path, f"{path} can't be turned off: it is what agents talk over")


def _logging(found: Findings) -> None:
    file = found.settings["log_file"]
    found.values["log_file"] = f"{file}meshnode.log" if file.endswith("/") else file
