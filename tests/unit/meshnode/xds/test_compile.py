from __future__ import annotations

import json
from typing import Any

import pytest

from meshnode.intentions.model import Intention
from meshnode.proxy.config import DestinationType, Endpoint, PublicListener
from meshnode.xds.bootstrap import Bootstrap, bootstrap_document
from meshnode.xds.compile import Snapshot, compile_snapshot
from meshnode.xds.schema import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, unpacked
from meshnode.xds.state import ProxyState
from tests.support.xds import DOMAIN, instance, public, state, upstream

DB = "db.default.dc1"
DENY = (Intention("a", "api", "web", "deny"),)


def one(snapshot: Snapshot, url: str, name: str) -> Any:
    return unpacked(snapshot[url][name].body)


def versions(found: ProxyState) -> dict[str, dict[str, str]]:
    return {
        url: {name: each.version for name, each in names.items()}
        for url, names in compile_snapshot(found).items()
    }


def changed(before: ProxyState, after: ProxyState) -> set[str]:
    old, new = versions(before), versions(after)
    return {url for url in old if old[url] != new[url]}


def test_the_same_state_has_the_same_versions_whatever_the_order() -> None:
    first = state(instances={}, intentions=(*DENY, Intention("b", "*", "web", "allow")))
    second = state(instances={}, intentions=(Intention("b", "*", "web", "allow"), *DENY))
    assert versions(first) == versions(second)
    rows = (instance(1), instance(2))
    assert versions(state(upstream(), instances={DB: rows})) == versions(
        state(upstream(), instances={DB: rows[::-1]})
    )


def test_a_change_touches_only_its_own_type() -> None:
    base = state(upstream(), instances={DB: (instance(),)})
    cases = {
        SECRET: state(upstream(), instances={DB: (instance(),)}, certificate="CERTIFICATE 2"),
        ENDPOINTS: state(upstream(), instances={DB: (instance(passing=False),)}),
        LISTENER: state(upstream(), instances={DB: (instance(),)}, intentions=DENY),
        CLUSTER: state(upstream(connect_timeout=1.0), instances={DB: (instance(),)}),
    }
    assert {url: changed(base, after) for url, after in cases.items()} == {url: {url} for url in cases}


@pytest.mark.parametrize(("protocol", "url"), [("tcp", LISTENER), ("http", ROUTES), ("grpc", ROUTES)])
def test_intentions_are_in_the_routes_where_requests_are_looked_at(protocol: str, url: str) -> None:
    listener = public(protocol=protocol)
    assert changed(state(listener=listener), state(listener=listener, intentions=DENY)) == {url}


def test_until_its_routes_come_an_http_listener_lets_nobody_in() -> None:
    listener = one(
        compile_snapshot(state(listener=public(protocol="http"))), LISTENER, "public:127.0.0.1:21000"
    )
    manager = unpacked(listener.filter_chains[0].filters[-1].typed_config)
    rules = unpacked(manager.http_filters[0].typed_config).rules
    assert (rules.action, dict(rules.policies)) == (0, {})


def test_the_public_listener_wants_a_service_of_the_trust_domain() -> None:
    listener = one(compile_snapshot(state()), LISTENER, "public:127.0.0.1:21000")
    context = unpacked(listener.filter_chains[0].transport_socket.typed_config)
    assert context.require_client_certificate.value
    common = context.common_tls_context
    (matcher,) = common.combined_validation_context.default_validation_context.match_typed_subject_alt_names
    assert matcher.san_type == 3, "URI"
    pattern = matcher.matcher.safe_regex.regex
    assert pattern.replace("\\", "") == f"spiffe://{DOMAIN}/ns/[^/]+/dc/(?:[^/]+)/svc/[^/]+"


def test_an_upstream_must_prove_to_be_the_service_in_its_datacenter() -> None:
    snapshot = compile_snapshot(state(upstream(datacenter="dc2")))
    cluster = one(snapshot, CLUSTER, "db.default.dc2:127.0.0.1:9191")
    context = unpacked(cluster.transport_socket.typed_config)
    validation = context.common_tls_context.combined_validation_context.default_validation_context
    (matcher,) = validation.match_typed_subject_alt_names
    assert matcher.matcher.exact == f"spiffe://{DOMAIN}/ns/default/dc/dc2/svc/db"
    assert cluster.common_lb_config.healthy_panic_threshold.value == 0


def test_what_a_prepared_query_finds_may_be_of_several_services() -> None:
    geo = upstream("geo", destination_type=DestinationType.PREPARED_QUERY)
    found = {geo.name: (instance(1, "db"), instance(2, "db-old"))}
    (cluster,) = [
        unpacked(each.body)
        for name, each in compile_snapshot(state(geo, instances=found))[CLUSTER].items()
        if name != "local_app"
    ]
    context = unpacked(cluster.transport_socket.typed_config)
    validation = context.common_tls_context.combined_validation_context.default_validation_context
    ends = [each.matcher.exact.rpartition("/")[2] for each in validation.match_typed_subject_alt_names]
    assert ends == ["db", "db-old"]


def test_failing_instances_are_told_as_such() -> None:
    rows = (instance(1), instance(2, passing=False))
    found = one(compile_snapshot(state(upstream(), instances={DB: rows})), ENDPOINTS, DB)
    assert [row.health_status for row in found.endpoints[0].lb_endpoints] == [1, 2]


@pytest.mark.parametrize(
    ("app", "kind"),
    [
        (Endpoint("127.0.0.1", 80), 0),
        (Endpoint("app.example", 80, named=True), 1),
        (Endpoint(path="/run/app.sock"), 0),
    ],
)
def test_the_application_is_an_address_a_name_or_a_socket(app: Endpoint, kind: int) -> None:
    listener = PublicListener(Endpoint("127.0.0.1", 1), app)
    found = one(compile_snapshot(state(listener=listener)), CLUSTER, "local_app")
    where = found.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address
    assert found.type == kind
    assert (where.pipe.path or where.socket_address.address) == (app.path or app.host)


def test_no_key_is_shown_of_a_state_or_of_a_snapshot() -> None:
    found = state()
    assert "s3cret" not in repr(found)
    assert "s3cret" not in repr(compile_snapshot(found))


def test_a_bootstrap_holds_the_token_as_metadata_and_no_admin_unless_it_is_asked_for() -> None:
    settings = Bootstrap("web-sidecar-proxy", "web", Endpoint("127.0.0.1", 8502), token="s3cret")
    assert "s3cret" not in repr(settings)
    document = bootstrap_document(settings)
    assert "admin" not in document
    ads = document["dynamic_resources"]["ads_config"]
    assert ads["api_type"] == "DELTA_GRPC"
    assert ads["grpc_services"][0]["initial_metadata"] == [{"key": "x-consul-token", "value": "s3cret"}]
    assert document["node"] == {"id": "web-sidecar-proxy", "cluster": "web"}
    assert "transport_socket" not in json.dumps(document)


def test_a_bootstrap_with_a_ca_checks_the_agent_s_certificate() -> None:
    where = Endpoint("agent.example", 8503, named=True)
    settings = Bootstrap("w", "w", where, ca_pem="CA", server_name="server.dc1.consul", delta=False)
    document = bootstrap_document(settings)
    (cluster,) = document["static_resources"]["clusters"]
    context = cluster["transport_socket"]["typed_config"]
    assert (cluster["type"], context["sni"]) == ("STRICT_DNS", "server.dc1.consul")
    validation = context["common_tls_context"]["validation_context"]
    assert validation["trusted_ca"] == {"inline_string": "CA"}
    assert validation["match_typed_subject_alt_names"][0]["matcher"] == {"exact": "server.dc1.consul"}
    assert document["dynamic_resources"]["ads_config"]["api_type"] == "GRPC"
