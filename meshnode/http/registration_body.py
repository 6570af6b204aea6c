"""The body of ``PUT /v1/catalog/register`` as Consul's ``RegisterRequest``; a refusal is a 400 with the field."""

from __future__ import annotations

from typing import Any

from meshnode.control.endpoints.registration import config_fault
from meshnode.control.method import NANOSECONDS
from meshnode.http.body import Fields

__all__ = ["check_body", "registration_body", "service_body"]


def registration_body(fields: Fields) -> dict[str, Any]:
    """A ``RegisterRequest``; what is missing stays missing."""
    body: dict[str, Any] = {
        "Datacenter": fields.text("Datacenter"),
        "ID": fields.text("ID"),
        "Node": fields.text("Node"),
        "Address": fields.text("Address"),
        "TaggedAddresses": fields.text_map("TaggedAddresses"),
        "NodeMeta": fields.text_map("NodeMeta"),
        "SkipNodeUpdate": fields.boolean("SkipNodeUpdate"),
    }
    if (service := fields.object("Service")) is not None:
        body["Service"] = service_body(service)
    if (check := fields.object("Check")) is not None:
        body["Check"] = check_body(check)
    if checks := fields.objects("Checks"):
        body["Checks"] = [check_body(one) for one in checks]
    return body


def service_body(fields: Fields) -> dict[str, Any]:
    """A ``NodeService``; the ``Config`` of a proxy is passed on as it is."""
    body: dict[str, Any] = {
        "Kind": fields.text("Kind"),
        "ID": fields.text("ID"),
        "Service": fields.text("Service"),
        "Tags": list(fields.strings("Tags")),
        "Address": fields.text("Address"),
        "Meta": fields.text_map("Meta"),
        "Port": fields.integer("Port"),
        "EnableTagOverride": fields.boolean("EnableTagOverride"),
        "ProxyDestination": fields.text("ProxyDestination"),
    }
    if (weights := fields.object("Weights")) is not None:
        body["Weights"] = {"Passing": weights.integer("Passing"), "Warning": weights.integer("Warning")}
    if (proxy := fields.object("Proxy")) is not None:
        body["Proxy"] = _proxy_body(proxy)
    if (connect := fields.object("Connect")) is not None:
        body["Connect"] = {"Native": connect.boolean("Native")}
        if (managed := connect.object("Proxy")) is not None:
            body["Connect"]["Proxy"] = {
                "Command": list(managed.strings("Command")),
                "ExecMode": managed.text("ExecMode"),
                "Config": _config(managed),
            }
    return body


def _proxy_body(fields: Fields) -> dict[str, Any]:
    return {
        "DestinationServiceName": fields.text("DestinationServiceName"),
        "DestinationServiceID": fields.text("DestinationServiceID"),
        "LocalServiceAddress": fields.text("LocalServiceAddress"),
        "LocalServicePort": fields.integer("LocalServicePort"),
        "Config": _config(fields),
        "Upstreams": [
            {
                "DestinationType": upstream.text("DestinationType"),
                "DestinationNamespace": upstream.text("DestinationNamespace"),
                "DestinationName": upstream.text("DestinationName"),
                "Datacenter": upstream.text("Datacenter"),
                "LocalBindAddress": upstream.text("LocalBindAddress"),
                "LocalBindPort": upstream.integer("LocalBindPort"),
                "Config": _config(upstream),
            }
            for upstream in fields.objects("Upstreams")
        ],
    }


def _config(fields: Fields) -> dict[str, Any]:
    config = fields.object("Config")
    if config is None:
        return {}
    if fault := config_fault(config.obj):
        fields.refuse("Config", fault)
    return dict(config.obj)


def check_body(fields: Fields) -> dict[str, Any]:
    """A ``HealthCheck``; durations are nanoseconds."""
    body: dict[str, Any] = {
        name: fields.text(name)
        for name in ("Node", "CheckID", "Name", "Status", "Notes", "Output", "ServiceID")
    }
    if (definition := fields.object("Definition")) is not None:
        body["Definition"] = {
            "HTTP": definition.text("HTTP"),
            "TLSSkipVerify": definition.boolean("TLSSkipVerify"),
            "Header": {name: list(values) for name, values in definition.lists_map("Header").items()},
            "Method": definition.text("Method"),
            "TCP": definition.text("TCP"),
            **{
                name: round(definition.duration(name) * NANOSECONDS)
                for name in ("Interval", "Timeout", "DeregisterCriticalServiceAfter")
            },
        }
    return body
