from __future__ import annotations

from typing import Any

import pytest

from meshnode.config_entries.chain import compile_chain
from meshnode.config_entries.gateways import LinkedService
from meshnode.intentions.decide import DefaultDecision
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import Endpoint
from meshnode.xds.compile import Snapshot, compile_snapshot
from meshnode.xds.gateways import ingress_domains
from meshnode.xds.schema import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, unpacked
from meshnode.xds.state import (
    IngressPort,
    IngressRoute,
    IngressState,
    LinkedState,
    Material,
    TerminatingState,
)
from tests.support.config_entries import http, table
from tests.support.xds import DOMAIN, instance

OWN = Material(DOMAIN, "dc1", "CERTIFICATE", "s3cret")


def one(snapshot: Snapshot, url: str, name: str) -> Any:
    return unpacked(snapshot[url][name].body)


def route(service: str, protocol: str = "http", **more: Any) -> IngressRoute:
    return IngressRoute(compile_chain(table(*http(service, protocol=protocol)), service, "dc1"), **more)


def ingress(*ports: IngressPort) -> Snapshot:
    return compile_snapshot(
        IngressState("front", OWN, "ROOTS", ports, {"web.default.dc1": (instance(1, "web"),)})
    )


def port(number: int, protocol: str, *routes: IngressRoute, **more: Any) -> IngressPort:
    return IngressPort(Endpoint("10.0.0.1", number), protocol, routes, **more)


@pytest.mark.parametrize(
    ("hosts", "domains"),
    [
        ((), ("web.ingress.*", "web.ingress.*:80")),
        (("a.example", "*.b.example"), ("a.example", "a.example:80", "*.b.example", "*.b.example:80")),
        (("*",), ("*",)),
    ],
)
def test_a_host_is_known_with_its_port_and_without(hosts: tuple[str, ...], domains: tuple[str, ...]) -> None:
    assert ingress_domains("web", hosts, 80) == domains


def test_a_port_of_requests_has_a_host_for_each_service_and_clusters_are_there_once() -> None:
    web, api = route("web"), route("api", hosts=("api.example",))
    snapshot = ingress(port(80, "http", web, api), port(81, "http", web))
    hosts = one(snapshot, ROUTES, "ingress:10.0.0.1:80").virtual_hosts
    assert [(host.name, host.domains[0]) for host in hosts] == [
        ("web", "web.ingress.*"),
        ("api", "api.example"),
    ]
    assert sorted(snapshot[CLUSTER]) == ["api.default.dc1", "web.default.dc1"]
    assert sorted(snapshot[LISTENER]) == ["ingress:10.0.0.1:80", "ingress:10.0.0.1:81"]
    assert sorted(snapshot[SECRET]) == ["leaf", "roots"]
    assert len(one(snapshot, ENDPOINTS, "web.default.dc1").endpoints) == 1


def test_a_port_of_connections_leads_to_its_one_service_and_one_without_services_is_shut() -> None:
    snapshot = ingress(port(80, "tcp", route("raw", "tcp")), port(81, "http"))
    assert list(snapshot[LISTENER]) == ["ingress:10.0.0.1:80"]
    (chain,) = one(snapshot, LISTENER, "ingress:10.0.0.1:80").filter_chains
    assert unpacked(chain.filters[0].typed_config).cluster == "raw.default.dc1"
    assert not chain.HasField("transport_socket")


def test_clients_outside_show_no_certificate_and_are_not_believed_about_addresses() -> None:
    secure = port(
        443, "http", route("web"), tls=("TLS_AUTO", ""), cipher_suites=("ECDHE-RSA-AES128-GCM-SHA256",)
    )
    (chain,) = one(ingress(secure), LISTENER, "ingress:10.0.0.1:443").filter_chains
    context = unpacked(chain.transport_socket.typed_config)
    assert not context.HasField("require_client_certificate")
    params = context.common_tls_context.tls_params
    assert (params.tls_minimum_protocol_version, params.tls_maximum_protocol_version) == (3, 4)
    assert list(params.cipher_suites) == ["ECDHE-RSA-AES128-GCM-SHA256"]
    assert unpacked(chain.filters[0].typed_config).use_remote_address.value


def linked(*places: Instance, protocol: str = "tcp", **files: str) -> LinkedState:
    service = LinkedService("legacy", **files)
    default = DefaultDecision(True, "")
    return LinkedState(service, OWN, protocol, (), default, ("legacy.example",), places)


def terminating(*services: LinkedState) -> Snapshot:
    return compile_snapshot(TerminatingState("exit", Endpoint("10.0.0.1", 8443), "ROOTS", services))


def cluster(*places: Instance, **more: Any) -> Any:
    return one(terminating(linked(*places, **more)), CLUSTER, "outside:legacy")


ADDRESS, FAILING = Instance("10.0.0.9", 80, ""), Instance("10.0.0.8", 80, "", passing=False)
NAMED = Instance("legacy.example", 80, "")


def test_the_name_in_the_handshake_says_which_service_and_whose_certificate_is_shown() -> None:
    snapshot = terminating(linked(ADDRESS))
    listener = one(snapshot, LISTENER, "terminating:10.0.0.1:8443")
    (chain,) = listener.filter_chains
    assert list(chain.filter_chain_match.server_names) == ["legacy.example"]
    assert listener.listener_filters[0].name == "envoy.filters.listener.tls_inspector"
    context = unpacked(chain.transport_socket.typed_config).common_tls_context
    assert context.tls_certificate_sds_secret_configs[0].name == "leaf:legacy"
    assert sorted(snapshot[SECRET]) == ["leaf:legacy", "roots"]
    assert [each.name for each in chain.filters] == [
        "envoy.filters.network.rbac",
        "envoy.filters.network.tcp_proxy",
    ]
    assert "s3cret" not in repr(linked(ADDRESS))


def test_a_gateway_of_nothing_listens_nowhere() -> None:
    assert terminating()[LISTENER] == {}


def test_requests_to_a_service_outside_are_judged_one_by_one() -> None:
    snapshot = terminating(linked(ADDRESS, protocol="http"))
    assert list(snapshot[ROUTES]) == ["outside:legacy"]
    (chain,) = one(snapshot, LISTENER, "terminating:10.0.0.1:8443").filter_chains
    manager = unpacked(chain.filters[0].typed_config)
    assert manager.rds.route_config_name == "outside:legacy"
    assert manager.normalize_path.value


def test_addresses_are_endpoints_and_names_are_resolved_by_envoy() -> None:
    found = cluster(ADDRESS, FAILING)
    assert (found.type, found.HasField("load_assignment")) == (3, False)
    snapshot = terminating(linked(ADDRESS, FAILING))
    rows = one(snapshot, ENDPOINTS, "outside:legacy").endpoints[0].lb_endpoints
    assert [row.health_status for row in rows] == [2, 1]
    found = cluster(NAMED, FAILING)
    assert found.type == 1
    (row,) = found.load_assignment.endpoints[0].lb_endpoints
    assert row.endpoint.address.socket_address.address == "legacy.example"


@pytest.mark.parametrize(
    ("places", "files", "names", "sni"),
    [
        ((ADDRESS,), {"sni": "a.example"}, [(2, "a.example")], "a.example"),
        ((NAMED,), {}, [(2, "legacy.example")], "legacy.example"),
        ((ADDRESS,), {}, [(4, "10.0.0.9")], ""),
        ((ADDRESS, NAMED), {}, [(4, "10.0.0.9"), (2, "legacy.example")], "legacy.example"),
    ],
)
def test_a_server_outside_must_prove_its_name(
    places: tuple[Instance, ...], files: dict[str, str], names: list[tuple[int, str]], sni: str
) -> None:
    context = unpacked(cluster(*places, ca_file="/ca.pem", **files).transport_socket.typed_config)
    validation = context.common_tls_context.validation_context
    assert validation.trusted_ca.filename == "/ca.pem"
    found = [(each.san_type, each.matcher.exact) for each in validation.match_typed_subject_alt_names]
    assert (found, context.sni) == (names, sni)


def test_a_client_s_certificate_is_taken_from_the_gateway_s_disk_and_no_ca_is_no_tls() -> None:
    files = {"ca_file": "/ca.pem", "cert_file": "/c.pem", "key_file": "/k.pem"}
    context = unpacked(cluster(ADDRESS, **files).transport_socket.typed_config)
    (certificate,) = context.common_tls_context.tls_certificates
    assert (certificate.certificate_chain.filename, certificate.private_key.filename) == ("/c.pem", "/k.pem")
    assert not cluster(ADDRESS).HasField("transport_socket")
