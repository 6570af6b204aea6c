"""The body of ``PUT /v1/catalog/register`` as Consul's ``RegisterRequest``; a refusal is a 400 with the field."""

from __future__ import annotations

from typing import Any

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
    """A ``NodeService``; ``Proxy`` and ``Connect.Proxy`` are passed on as they are."""
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
        # The server reads this one field; its name may be written in any case.
        body["Proxy"] = {**proxy.obj, "DestinationServiceName": proxy.text("DestinationServiceName")}
    if (connect := fields.object("Connect")) is not None:
        body["Connect"] = {"Native": connect.boolean("Native")}
        if (managed := connect.object("Proxy")) is not None:
            body["Connect"]["Proxy"] = dict(managed.obj)
    return body


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
