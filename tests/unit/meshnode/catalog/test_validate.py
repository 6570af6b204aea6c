"""What the catalog refuses: each bound at the limit and one past it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshnode.base.address import MAX_SOCKET_PATH_BYTES
from meshnode.catalog.model import Check, Node, Service, ServiceAddress, Weights
from meshnode.catalog.validate import (
    MAX_META_KEY_CHARS,
    MAX_META_PAIRS,
    MAX_META_VALUE_CHARS,
    MAX_TAGGED_ADDRESSES,
    MAX_WEIGHT,
    check_fault,
    meta_fault,
    node_fault,
    service_fault,
)

UUID = "0b3c5d1e-8a2f-4c6b-9d7e-1f2a3b4c5d6e"


@pytest.mark.parametrize(
    ("node", "skip", "fault"),
    [
        (Node("n", "10.0.0.1"), False, ""),
        (Node("n", "10.0.0.1", UUID), False, ""),
        (Node("n", "10.0.0.1", UUID.upper()), False, ""),
        (Node("", "10.0.0.1"), False, "Must provide node"),
        (Node("n"), False, "Must provide address if SkipNodeUpdate is not set"),
        (Node("n"), True, ""),
        (Node("n", "a", "x"), False, 'Bad node ID: "x" is not a UUID'),
        (Node("n", "a", UUID + "0"), False, f'Bad node ID: "{UUID}0" is not a UUID'),
    ],
)
def test_nodes(node: Node, skip: bool, fault: str) -> None:
    assert node_fault(node, skip_node_update=skip) == fault


PROXY = Service("p", kind="connect-proxy", proxy_destination="web", port=1)


@pytest.mark.parametrize(
    ("service", "fault"),
    [
        (Service("web"), ""),
        (PROXY, ""),
        (Service("", id="web"), "Must provide service name with ID"),
        (replace(PROXY, kind="mesh"), "Invalid service kind"),
        (
            Service("g", kind="mesh-gateway", port=1),
            'Invalid service kind "mesh-gateway": sidecars reach other',
        ),
        (
            Service("g", kind="api-gateway", port=1),
            'Invalid service kind "api-gateway": it is of Consul 1.15',
        ),
        (Service("g", kind="terminating-gateway"), "Port must be non-zero for a terminating-gateway"),
        (
            Service("g", kind="ingress-gateway", native=True),
            "A ingress-gateway cannot be a proxy of one service",
        ),
        (
            replace(PROXY, proxy_destination=" "),
            "ProxyDestination must be non-empty for Connect proxy services",
        ),
        (replace(PROXY, port=0), "Port must be set for a Connect proxy"),
        (replace(PROXY, native=True), "A Proxy cannot also be Connect Native"),
        (Service("web", port=65535), ""),
        (Service("web", port=65536), "Invalid service port 65536"),
        (Service("web", port=-1), "Invalid service port -1"),
        (Service("web", address="0.0.0.0"), "Invalid service address"),
        (Service("web", tagged_addresses={"wan": ServiceAddress("x", 65535)}), ""),
        (
            Service("web", tagged_addresses={"wan": ServiceAddress("x", 65536)}),
            "TaggedAddresses[wan]: invalid port",
        ),
        (
            Service("web", tagged_addresses={"wan": ServiceAddress("::", 1)}),
            'TaggedAddresses[wan]: invalid address "::"',
        ),
        (
            Service("web", tagged_addresses={"wan": ServiceAddress("", 1)}),
            'TaggedAddresses[wan]: invalid address ""',
        ),
        (
            Service("web", tagged_addresses={"": ServiceAddress("x")}),
            "TaggedAddresses[]: a name has 1 to 128",
        ),
        (Service("web", tagged_addresses={"k" * 128: ServiceAddress("x")}), ""),
        (Service("web", tagged_addresses={"k" * 129: ServiceAddress("x")}), "TaggedAddresses[kkk"),
        (
            Service(
                "web", tagged_addresses={f"{n}": ServiceAddress("x") for n in range(MAX_TAGGED_ADDRESSES)}
            ),
            "",
        ),
        (
            Service(
                "web", tagged_addresses={f"{n}": ServiceAddress("x") for n in range(MAX_TAGGED_ADDRESSES + 1)}
            ),
            "TaggedAddresses of a service cannot be more than 64",
        ),
        (Service("web", socket_path="/" + "x" * (MAX_SOCKET_PATH_BYTES - 1)), ""),
        (Service("web", socket_path="/" + "x" * MAX_SOCKET_PATH_BYTES), "SocketPath is no path of a socket"),
        (Service("web", socket_path="/a\0"), "SocketPath is no path of a socket"),
        (
            Service("web", socket_path="/a", port=1),
            "service web cannot have both socket path /a and address/port",
        ),
        (Service("web", socket_path="/a", address="x"), "service web cannot have both socket path /a"),
        (Service("web", address="::"), "Invalid service address"),
        (Service("web", weights=Weights(0, 1)), "Passing must be greater than 0"),
        (Service("web", weights=Weights(1, 0)), ""),
        (Service("web", weights=Weights(1, -1)), "Warning must be greater or equal than 0"),
        (Service("web", weights=Weights(MAX_WEIGHT, MAX_WEIGHT)), ""),
        (Service("web", weights=Weights(MAX_WEIGHT + 1, 1)), "DNS Weight must be between"),
        (Service("web", weights=Weights(1, MAX_WEIGHT + 1)), "DNS Weight must be between"),
        (Service("web", meta={"": "x"}), "Invalid Service Meta for node n and serviceID "),
    ],
)
def test_services(service: Service, fault: str) -> None:
    found = service_fault(service, "n")
    assert found.startswith(fault)
    assert bool(found) == bool(fault)


@pytest.mark.parametrize(
    ("meta", "fault"),
    [
        ({}, ""),
        ({"external-source_1": "x"}, ""),
        ({f"k{i}": "" for i in range(MAX_META_PAIRS)}, ""),
        ({f"k{i}": "" for i in range(MAX_META_PAIRS + 1)}, "cannot contain more than 64"),
        ({"k" * MAX_META_KEY_CHARS: ""}, ""),
        ({"k" * (MAX_META_KEY_CHARS + 1): ""}, "Key is too long"),
        ({"k": "v" * MAX_META_VALUE_CHARS}, ""),
        ({"k": "v" * (MAX_META_VALUE_CHARS + 1)}, "Value is too long"),
        ({"a b": ""}, "invalid characters"),
        ({"consul-x": ""}, "reserved"),
        ({"": ""}, "cannot be blank"),
    ],
)
def test_metadata(meta: dict[str, str], fault: str) -> None:
    found = meta_fault(meta)
    assert fault in found
    assert bool(found) == bool(fault)


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        (Check("n", "c"), ""),
        (Check("N", "c", status="warning"), ""),
        (Check("n", ""), "Must provide CheckID or Name with a check"),
        (Check("m", "c"), 'check node "m" does not match node "n"'),
        (
            Check("n", "c", status="broken"),
            'Invalid check status "broken": must be one of passing, warning, critical',
        ),
    ],
)
def test_checks(check: Check, fault: str) -> None:
    assert check_fault(check, "n") == fault
