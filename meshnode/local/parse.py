"""Reading definitions of services and checks, in the two forms that Consul takes.

From the API a mistake is a sentence of Consul's where clients may look for it; from configuration it begins with the
place (``services[1].checks[0]``). Both raise :class:`~meshnode.base.errors.ConfigError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from meshnode.base.errors import ConfigError
from meshnode.base.json_fields import json_type
from meshnode.catalog.model import SIDECAR_SUFFIX, STATES, ServiceAddress, Weights
from meshnode.local.check_type import (
    DEFAULT_OUTPUT_BYTES,
    AliasCheck,
    CertificateCheck,
    CheckType,
    DockerCheck,
    GrpcCheck,
    H2PingCheck,
    HttpCheck,
    ScriptCheck,
    TcpCheck,
    TtlCheck,
    UdpCheck,
    fault,
)
from meshnode.local.definitions import (
    MIN_DEREGISTER_AFTER,
    CheckDefinition,
    ServiceDefinition,
)
from meshnode.local.fields import ConfiguredFields, DefinitionFields
from meshnode.local.proxy import parse_managed_proxy, parse_proxy

__all__ = [
    "MAX_CHECKS",
    "MAX_NAME_CHARS",
    "configured_check",
    "configured_service",
    "parse_check",
    "parse_service",
]

T = TypeVar("T")
#: Checks of one service definition.
MAX_CHECKS: Final = 256
#: A name or an id is part of paths, file names and DNS names.
MAX_NAME_CHARS: Final = 1024
#: The certificate of a ``Certificate`` check is looked at so often when nothing is said.
CERTIFICATE_INTERVAL: Final = 60.0

#: Fields of later versions of Consul whose meaning would be lost if they were passed over in silence.
_REFUSED_CHECK_FIELDS: Final = {
    "OSService": 'services of the operating system are not asked: use args = ["systemctl", "is-active", NAME]'
}
_CHECK_FIELDS: Final = (
    *("ID", "CheckID", "Name", "Notes", "ServiceID", "Token", "Status", "Args", "ScriptArgs", "HTTP", "Method", "Body"),
    *("Header", "DisableRedirects", "TLSServerName", "TLSSkipVerify", "TCP", "TCPUseTLS", "UDP"),
    *("H2PING", "H2PINGUseTLS", "GRPC", "GRPCUseTLS", "Certificate"),
    *("DockerContainerID", "Shell", "AliasNode", "AliasService", "TTL", "Interval", "Timeout", "OutputMaxSize"),
    *("SuccessBeforePassing", "FailuresBeforeWarning", "FailuresBeforeCritical", "DeregisterCriticalServiceAfter"),
    *_REFUSED_CHECK_FIELDS,
)  # fmt: skip
_SERVICE_FIELDS: Final = (
    *("Kind", "ID", "Name", "Tags", "Address", "Meta", "Port", "Check", "Checks", "Weights", "Token"),
    *("EnableTagOverride", "ProxyDestination", "Proxy", "Connect"),
    *("TaggedAddresses", "SocketPath"),
)
_KINDS: Final = (
    *("Args", "DockerContainerID", "HTTP", "TCP", "UDP", "H2PING", "GRPC", "AliasNode", "Certificate", "TTL"),
)


def parse_service(body: Mapping[str, Any]) -> ServiceDefinition:
    """The body of ``PUT /v1/agent/service/register``, decoded."""
    return _service(DefinitionFields(body))


def parse_check(body: Mapping[str, Any]) -> CheckDefinition:
    """The body of ``PUT /v1/agent/check/register``, decoded."""
    fields = DefinitionFields(body)
    if not fields.text("Name"):
        raise ConfigError("Missing check name")
    if fields.text("Status") not in ("", *STATES):
        raise ConfigError(f"Bad check status: {_accepted_states()}")
    return _check(fields, fields.text("ServiceID"))


def configured_service(values: Mapping[str, Any], where: str) -> ServiceDefinition:
    """A service in configuration; ``where`` is its path (``services[0]``)."""
    return _placed(lambda: _service(ConfiguredFields(values, where)), where)


def configured_check(values: Mapping[str, Any], where: str) -> CheckDefinition:
    """A check in configuration; ``where`` is its path (``checks[0]``)."""
    fields = ConfiguredFields(values, where)
    if not fields.text("Name") and not _check_id(fields):
        raise ConfigError(f"{where}: Missing check name")
    return _placed(lambda: _check(fields, fields.text("ServiceID")), where)


def _placed(read: Callable[[], T], where: str) -> T:
    """Put the place in front of an error that doesn't begin with it."""
    try:
        return read()
    except ConfigError as error:
        text = str(error)
        raise error if text.startswith(where) else ConfigError(f"{where}: {text}") from None


# Services


def _service(fields: DefinitionFields, parent: tuple[str, str] | None = None) -> ServiceDefinition:
    """``parent``: id and name of the service that this one is the sidecar of."""
    fields.only(_SERVICE_FIELDS)
    name = _bounded(fields, "Name") or (parent[1] + SIDECAR_SUFFIX if parent else "")
    if not name.strip():
        raise ConfigError("Missing service name")
    service_id = parent[0] + SIDECAR_SUFFIX if parent else _bounded(fields, "ID") or name
    connect = fields.object("Connect") or type(fields)({})
    connect.only(("Native", "Proxy", "SidecarService"))
    proxy = parse_proxy(fields.object("Proxy"))
    destination = fields.text("ProxyDestination")
    if not destination and proxy is not None:
        destination = proxy["DestinationServiceName"]
    return ServiceDefinition(
        id=service_id,
        name=name,
        kind=fields.text("Kind"),
        tags=fields.strings("Tags"),
        address=fields.text("Address"),
        port=_port(fields),
        meta=fields.text_map("Meta"),
        weights=_weights(fields.object("Weights")),
        enable_tag_override=fields.boolean("EnableTagOverride"),
        proxy_destination=destination,
        native=connect.boolean("Native"),
        managed_proxy=parse_managed_proxy(connect.object("Proxy")),
        proxy=proxy,
        sidecar=_sidecar(connect.object("SidecarService"), service_id, name),
        parent=parent[0] if parent else "",
        token=fields.text("Token"),
        checks=_service_checks(fields, service_id, name),
        tagged_addresses=_tagged_addresses(fields),
        socket_path=fields.text("SocketPath"),
    )


def _sidecar(fields: DefinitionFields | None, service_id: str, name: str) -> ServiceDefinition | None:
    if fields is None:
        return None
    if fields.text("ID"):
        raise ConfigError("A SidecarService cannot specify an ID as this is managed by the agent")
    connect = fields.object("Connect")
    if connect is not None and connect.has("SidecarService"):
        raise ConfigError("A SidecarService cannot have a nested SidecarService")
    if connect is not None and connect.has("Proxy"):
        raise ConfigError("A SidecarService cannot have a managed proxy")
    return _service(fields, (service_id, name))


def _tagged_addresses(fields: DefinitionFields) -> dict[str, ServiceAddress]:
    value = fields.value("TaggedAddresses")
    if value is not None and not isinstance(value, Mapping):
        fields.refuse("TaggedAddresses", f"expected object, got {json_type(value)}")
    found = {}
    for name, way in (value or {}).items():
        place = f"{fields.path('TaggedAddresses')}[{name}]"
        if not isinstance(way, Mapping):
            raise fields.error(
                f'{place}: expected object, got {json_type(way)}: write {{"address": ..., "port": ...}}'
            )
        part = type(fields)(way, place).only(("Address", "Port"))
        found[name] = ServiceAddress(part.text("Address"), _port(part))
    return found


def _port(fields: DefinitionFields) -> int:
    port = fields.integer("Port")
    # The loader gives -1 for a port that is not set.
    if port == -1:
        return 0
    if not 0 <= port <= 65535:
        raise ConfigError(f"{fields.path('Port')}: invalid port: {port}: write 0 to 65535")
    return port


def _weights(fields: DefinitionFields | None) -> Weights:
    if fields is None or not fields.obj:
        return Weights()
    fields.only(("Passing", "Warning"))
    passing = fields.integer("Passing") if fields.has("Passing") else 1
    return Weights(passing, fields.integer("Warning") if fields.has("Warning") else 1)


def _service_checks(fields: DefinitionFields, service_id: str, name: str) -> tuple[CheckDefinition, ...]:
    single = fields.object("Check")
    parts = [*([single] if single is not None and single.obj else []), *fields.objects("Checks")]
    if len(parts) > MAX_CHECKS:
        raise ConfigError(f"{fields.path('Checks')}: a service has at most {MAX_CHECKS} checks")
    checks: list[CheckDefinition] = []
    for number, part in enumerate(parts, 1):
        if part.text("Status") not in ("", *STATES):
            raise ConfigError(f"Status for checks must 'passing', 'warning', 'critical': {part.where}.Status")
        numbered = f":{number}" if len(parts) > 1 else ""
        checks.append(
            replace(
                _check(part, service_id),
                id=_check_id(part) or f"service:{service_id}{numbered}",
                name=part.text("Name") or f"Service '{name}' check",
                token=part.text("Token") or fields.text("Token"),
            )
        )
    twice = {check.id.lower() for check in checks}
    if len(twice) < len(checks):
        raise ConfigError(f"{fields.path('Checks')}: two checks have the same ID")
    return tuple(checks)


# Checks


def _check_id(fields: DefinitionFields) -> str:
    return _bounded(fields, "ID") or _bounded(fields, "CheckID")


def _check(fields: DefinitionFields, service_id: str) -> CheckDefinition:
    fields.only(_CHECK_FIELDS)
    if fields.text("Status") not in ("", *STATES):
        raise ConfigError(f"{fields.path('Status')}: bad check status: {_accepted_states()}")
    for refused, reason in _REFUSED_CHECK_FIELDS.items():
        if fields.value(refused):
            raise _invalid(fields, f"{refused}: {reason}")
    check_id, name = _check_id(fields), _bounded(fields, "Name")
    after = fields.duration("DeregisterCriticalServiceAfter")
    return CheckDefinition(
        id=check_id or name,
        name=name or check_id,
        run=_run(fields),
        notes=fields.text("Notes"),
        service_id=service_id,
        token=fields.text("Token"),
        status=fields.text("Status"),
        deregister_critical_service_after=max(after, MIN_DEREGISTER_AFTER) if after > 0 else 0.0,
    )


def _run(fields: DefinitionFields) -> CheckType:
    interval, ttl = fields.duration("Interval"), fields.duration("TTL")
    args = fields.strings("Args") or fields.strings("ScriptArgs")
    kind = _kind(fields, args)
    if interval > 0 and ttl > 0:
        raise _invalid(fields, "Interval and TTL cannot both be specified")
    if kind == "AliasNode" and interval > 0:
        raise _invalid(fields, "Interval cannot be set for Alias checks")
    if kind == "AliasNode" and ttl > 0:
        raise _invalid(fields, "TTL must be not be set for Alias checks")
    if kind not in ("AliasNode", "TTL") and ttl > 0:
        raise _invalid(fields, f"TTL cannot be set together with {kind}: write Interval")
    if kind == "TTL" and ttl <= 0:
        known = ", ".join(_KINDS[:-1])
        raise _invalid(fields, f"TTL must be > 0 for TTL checks: set TTL, or one of {known}")
    if kind == "TTL":
        size = fields.integer("OutputMaxSize") or DEFAULT_OUTPUT_BYTES
        run: CheckType = TtlCheck(ttl=ttl, output_max_size=size, **_thresholds(fields))
    elif kind == "AliasNode":
        run = AliasCheck(fields.text("AliasNode"), fields.text("AliasService"))
    else:
        run = _repeated(fields, kind, args)
    if reason := fault(run):
        raise _invalid(fields, reason)
    return run


def _thresholds(fields: DefinitionFields) -> dict[str, int]:
    return {
        "success_before_passing": fields.integer("SuccessBeforePassing"),
        "failures_before_warning": fields.integer("FailuresBeforeWarning"),
        "failures_before_critical": fields.integer("FailuresBeforeCritical"),
    }


def _repeated(fields: DefinitionFields, kind: str, args: tuple[str, ...]) -> CheckType:
    interval = fields.duration("Interval")
    shared: dict[str, Any] = {
        **_thresholds(fields),
        "interval": CERTIFICATE_INTERVAL if kind == "Certificate" and not interval else interval,
        "timeout": fields.duration("Timeout"),
        "output_max_size": fields.integer("OutputMaxSize") or DEFAULT_OUTPUT_BYTES,
    }
    insecure, server_name = fields.boolean("TLSSkipVerify"), fields.text("TLSServerName")
    match kind:
        case "Args":
            return ScriptCheck(args=args, **shared)
        case "DockerContainerID":
            container = fields.text("DockerContainerID")
            return DockerCheck(container=container, args=args, shell=fields.text("Shell"), **shared)
        case "HTTP":
            return HttpCheck(
                url=fields.text("HTTP"),
                method=fields.text("Method"),
                header=fields.lists_map("Header"),
                body=fields.text("Body"),
                tls_skip_verify=insecure,
                tls_server_name=server_name,
                disable_redirects=fields.boolean("DisableRedirects"),
                **shared,
            )
        case "TCP":
            return TcpCheck(
                address=fields.text("TCP"),
                use_tls=fields.boolean("TCPUseTLS"),
                tls_skip_verify=insecure,
                tls_server_name=server_name,
                **shared,
            )
        case "UDP":
            return UdpCheck(address=fields.text("UDP"), **shared)
        case "H2PING":
            return H2PingCheck(
                address=fields.text("H2PING"),
                use_tls=fields.boolean("H2PINGUseTLS") if fields.has("H2PINGUseTLS") else True,
                tls_skip_verify=insecure,
                tls_server_name=server_name,
                **shared,
            )
        case "GRPC":
            return GrpcCheck(
                target=fields.text("GRPC"),
                use_tls=fields.boolean("GRPCUseTLS"),
                tls_skip_verify=insecure,
                tls_server_name=server_name,
                **shared,
            )
        case _:
            return CertificateCheck(target=fields.text("Certificate"), tls_server_name=server_name, **shared)


def _kind(fields: DefinitionFields, args: tuple[str, ...]) -> str:
    """Which of the ways to run is asked for; more than one is refused (Consul takes the first that it knows)."""
    docker = fields.text("DockerContainerID")
    found = [name for name in ("HTTP", "TCP", "UDP", "H2PING", "GRPC", "Certificate") if fields.text(name)]
    if docker:
        found.append("DockerContainerID")
    elif args:
        found.append("Args")
    if fields.text("AliasNode") or fields.text("AliasService"):
        found.append("AliasNode")
    if len(found) > 1:
        raise _invalid(fields, f"{' and '.join(found)} cannot both be set: write one check for each")
    return found[0] if found else "TTL"


def _invalid(fields: DefinitionFields, reason: str) -> ConfigError:
    place = f"{fields.where}: " if fields.where else ""
    if isinstance(fields, ConfiguredFields):
        return ConfigError(place + reason)
    return ConfigError(f"Invalid check: {place}{reason}")


def _bounded(fields: DefinitionFields, name: str) -> str:
    text = fields.text(name)
    if len(text) > MAX_NAME_CHARS:
        raise ConfigError(f"{fields.path(name)}: is longer than {MAX_NAME_CHARS} characters")
    return text


def _accepted_states() -> str:
    return f"write one of {', '.join(STATES)}"
