"""Definitions as records of files, in Consul's layout, and back.

A service is ``{"Token", "Service": structs.NodeService}``, a check ``{"Token", "Check": structs.HealthCheck,
"ChkType": structs.CheckType}``, the state of a TTL check ``{"CheckID", "Status", "Output", "Expires"}`` with unix
seconds. What another version wrote is read as far as it is known. Source: Consul 1.2.3, agent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from meshnode.base.duration import format_duration
from meshnode.base.errors import ConfigError
from meshnode.base.json_fields import JsonFields
from meshnode.catalog.model import CRITICAL, SIDECAR_SUFFIX, STATES
from meshnode.catalog.wire import service_fields
from meshnode.local.check_type import (
    AliasCheck,
    CertificateCheck,
    CheckType,
    DockerCheck,
    GrpcCheck,
    H2PingCheck,
    HttpCheck,
    IntervalCheck,
    ScriptCheck,
    TcpCheck,
    Thresholds,
    TtlCheck,
    UdpCheck,
)
from meshnode.local.definitions import CheckDefinition, ServiceDefinition
from meshnode.local.parse import parse_check, parse_service

__all__ = [
    "SavedStatus",
    "parse_check_record",
    "parse_service_record",
    "parse_status_record",
    "serialize_check",
    "serialize_service",
    "serialize_status",
]


@dataclass(frozen=True, slots=True)
class SavedStatus:
    """What was last reported for a TTL check; it means nothing from ``expires`` (unix seconds) on."""

    check_id: str
    status: str
    output: str
    expires: float


def serialize_service(definition: ServiceDefinition) -> dict[str, Any]:
    """A record; the checks of a service have records of their own."""
    service = service_fields(definition.service())
    if definition.parent:
        service["LocallyRegisteredAsSidecar"] = True
    return {"Token": definition.token, "Service": service}


def parse_service_record(record: Mapping[str, Any]) -> ServiceDefinition:
    """The inverse; raises :class:`ConfigError` when it holds no service."""
    fields = JsonFields(record)
    service = fields.object("Service")
    if service is None:
        raise ConfigError("Service is missing")
    body = {**service.obj, "Name": service.text("Service"), "Token": fields.text("Token")}
    definition = parse_service(body)
    if not service.boolean("LocallyRegisteredAsSidecar"):
        return definition
    return replace(definition, parent=definition.id.removesuffix(SIDECAR_SUFFIX))


def serialize_check(definition: CheckDefinition) -> dict[str, Any]:
    """A record."""
    return {
        "Token": definition.token,
        "Check": {
            "CheckID": definition.id,
            "Name": definition.name,
            "Status": definition.status or CRITICAL,
            "Notes": definition.notes,
            "ServiceID": definition.service_id,
        },
        "ChkType": None if definition.run is None else _run_body(definition),
    }


def parse_check_record(record: Mapping[str, Any]) -> CheckDefinition:
    """The inverse; raises :class:`ConfigError` when it holds no check."""
    fields = JsonFields(record)
    check = fields.object("Check")
    if check is None:
        raise ConfigError("Check is missing")
    run = fields.object("ChkType")
    known = {"CheckID", "Name", "Status", "Notes", "ServiceID"}
    body = {name: check.value(name) for name in known}
    body["Token"] = fields.text("Token")
    if run is not None:
        return parse_check({**run.obj, **body})
    status = check.text("Status")
    return CheckDefinition(
        id=check.text("CheckID") or check.text("Name"),
        name=check.text("Name"),
        run=None,
        notes=check.text("Notes"),
        service_id=check.text("ServiceID"),
        token=fields.text("Token"),
        status=status if status in STATES else "",
    )


def serialize_status(saved: SavedStatus) -> dict[str, Any]:
    """A record."""
    return {
        "CheckID": saved.check_id,
        "Status": saved.status,
        "Output": saved.output,
        "Expires": int(saved.expires),
    }


def parse_status_record(record: Mapping[str, Any]) -> SavedStatus:
    """The inverse; raises :class:`ConfigError` when it holds no status."""
    fields = JsonFields(record)
    status = fields.text("Status")
    if status not in STATES:
        fields.refuse("Status", f"is none of {', '.join(STATES)}")
    return SavedStatus(fields.text("CheckID"), status, fields.text("Output"), fields.integer("Expires"))


#: Names of attributes in records; durations are texts, the others are as they are.
_DURATIONS: Final = {"interval": "Interval", "timeout": "Timeout", "ttl": "TTL"}
_NAMES: Final[dict[type[Any], dict[str, str]]] = {
    Thresholds: {
        "success_before_passing": "SuccessBeforePassing",
        "failures_before_warning": "FailuresBeforeWarning",
        "failures_before_critical": "FailuresBeforeCritical",
    },
    IntervalCheck: {"output_max_size": "OutputMaxSize"},
    ScriptCheck: {"args": "ScriptArgs"},
    HttpCheck: {
        "url": "HTTP",
        "method": "Method",
        "header": "Header",
        "body": "Body",
        "tls_skip_verify": "TLSSkipVerify",
        "tls_server_name": "TLSServerName",
        "disable_redirects": "DisableRedirects",
    },
    TcpCheck: {
        "address": "TCP",
        "use_tls": "TCPUseTLS",
        "tls_skip_verify": "TLSSkipVerify",
        "tls_server_name": "TLSServerName",
    },
    UdpCheck: {"address": "UDP"},
    H2PingCheck: {
        "address": "H2PING",
        "use_tls": "H2PINGUseTLS",
        "tls_skip_verify": "TLSSkipVerify",
        "tls_server_name": "TLSServerName",
    },
    GrpcCheck: {
        "target": "GRPC",
        "use_tls": "GRPCUseTLS",
        "tls_skip_verify": "TLSSkipVerify",
        "tls_server_name": "TLSServerName",
    },
    DockerCheck: {"container": "DockerContainerID", "args": "ScriptArgs", "shell": "Shell"},
    CertificateCheck: {"target": "Certificate", "tls_server_name": "TLSServerName"},
    TtlCheck: {"output_max_size": "OutputMaxSize"},
    AliasCheck: {"node": "AliasNode", "service_id": "AliasService"},
}


def _run_body(definition: CheckDefinition) -> dict[str, Any]:
    run: CheckType | None = definition.run
    body: dict[str, Any] = {}
    for kind in type(run).__mro__:
        for attribute, name in _NAMES.get(kind, {}).items():
            value = getattr(run, attribute)
            if isinstance(value, Mapping):
                value = {key: list(items) for key, items in value.items()}
            body[name] = list(value) if isinstance(value, tuple) else value
    for attribute, name in _DURATIONS.items():
        if seconds := getattr(run, attribute, 0.0):
            body[name] = format_duration(seconds)
    if definition.deregister_critical_service_after:
        body["DeregisterCriticalServiceAfter"] = format_duration(definition.deregister_critical_service_after)
    return body
