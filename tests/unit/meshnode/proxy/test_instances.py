from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshnode.base.errors import MeshError
from meshnode.proxy.balance import Instance
from meshnode.proxy.instances import instances_of_query, instances_of_service
from tests.support.proxy import TRUST_DOMAIN, spiffe


def row(**changes: Any) -> dict[str, Any]:
    service = {"Service": "db-sidecar-proxy", "Address": "10.0.0.9", "Port": 21000} | changes.pop(
        "service", {}
    )
    return {
        "Node": {"Address": "10.0.0.1", "Datacenter": "dc1"} | changes.pop("node", {}),
        "Service": service,
        "Checks": [{"Status": status} for status in changes.pop("checks", ["passing"])],
    } | changes


def of_service(*rows: Any, datacenter: str = "dc1") -> tuple[Instance, ...]:
    return instances_of_service(list(rows), "db", trust_domain=TRUST_DOMAIN, datacenter=datacenter)


def of_query(answer: Any) -> tuple[Instance, ...]:
    return instances_of_query(answer, trust_domain=TRUST_DOMAIN, datacenter="dc1")


def test_an_instance_has_the_services_address_and_else_its_nodes() -> None:
    assert of_service(row()) == (Instance("10.0.0.9", 21000, spiffe("db")),)
    assert of_service(row(service={"Address": ""}))[0].address == "10.0.0.1"


@pytest.mark.parametrize(
    ("checks", "passing"),
    [([], True), (["passing", "passing"], True), (["passing", "warning"], False), (["critical"], False)],
)
def test_an_instance_passes_when_all_its_checks_do(checks: list[str], passing: bool) -> None:
    assert of_service(row(checks=checks))[0].passing is passing


GOSSIP = {"CheckID": "serfHealth", "Status": "critical"}
OWN = {"CheckID": "service:db", "ServiceID": "db"}


@pytest.mark.parametrize(
    ("checks", "lost"),
    [
        ([GOSSIP], True),
        ([GOSSIP, OWN | {"Status": "passing"}], True),
        ([GOSSIP | {"ServiceID": ""}], True),
        ([GOSSIP, OWN | {"Status": "warning"}], False),
        ([GOSSIP, OWN | {"Status": "critical"}], False),
        ([GOSSIP, {"CheckID": "_node_maintenance", "Status": "critical"}], False),
        ([GOSSIP | {"ServiceID": "db"}], False),
        ([GOSSIP, 3], False),
        ([GOSSIP | {"Status": "passing"}], False),
        ([], False),
    ],
)
def test_the_agent_alone_is_lost_where_nothing_but_gossip_s_check_of_the_node_fails(
    checks: list[Any], lost: bool
) -> None:
    (found,) = of_service(row() | {"Checks": checks})
    assert found.agent_lost is lost
    assert not (found.passing and lost)


def test_the_identity_is_the_destinations_whatever_the_row_says_it_is() -> None:
    lying = row(service={"Service": "other", "Kind": "connect-proxy", "ProxyDestination": "other"})
    assert of_service(lying)[0].spiffe_id == spiffe("db")


def test_a_terminating_gateway_is_asked_for_the_service_and_shows_that_one_s_certificate() -> None:
    (found,) = of_service(row(service={"Service": "exit", "Kind": "terminating-gateway"}))
    assert (found.server_name, found.spiffe_id) == (f"db.default.dc1.internal.{TRUST_DOMAIN}", spiffe("db"))
    assert of_service(row())[0].server_name == ""


def test_the_identity_is_of_the_rows_datacenter_and_else_of_the_one_asked() -> None:
    assert of_service(row(node={"Datacenter": "dc2"}))[0].spiffe_id == spiffe("db", datacenter="dc2")
    assert of_service(row(node={"Datacenter": ""}), datacenter="dc3")[0].spiffe_id == spiffe(
        "db", datacenter="dc3"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"service": {"Port": 0}},
        {"service": {"Port": 65536}},
        {"service": {"Port": "80"}},
        {"service": {"Address": ""}, "node": {"Address": ""}},
        {"node": {"Datacenter": "a/b"}},
        {"Service": None},
    ],
)
def test_what_cannot_be_dialled_is_left_out(changes: dict[str, Any]) -> None:
    assert of_service(row(**changes), row()) == of_service(row())


def test_a_query_says_itself_which_service_each_row_is() -> None:
    rows = [
        row(service={"Kind": "connect-proxy", "ProxyDestination": "db"}),
        row(service={"Kind": "connect-proxy", "Proxy": {"DestinationServiceName": "cache"}}),
        row(service={"Service": "native", "Connect": {"Native": True}}),
        row(service={"Kind": "connect-proxy"}),
    ]
    found = of_query({"Datacenter": "dc9", "Nodes": rows})
    assert [instance.spiffe_id for instance in found] == [spiffe("db"), spiffe("cache"), spiffe("native")]
    assert [instance.distance for instance in found] == [0, 1, 2], "the query's order is kept"


def test_rows_of_a_query_without_a_datacenter_are_of_the_one_that_answered() -> None:
    answer = {"Datacenter": "dc2", "Nodes": [row(node={"Datacenter": ""}, service={"Service": "db"})]}
    assert of_query(answer)[0].spiffe_id == spiffe("db", datacenter="dc2")
    assert of_query({"Nodes": None}) == ()


def test_answers_that_are_no_lists_are_errors() -> None:
    assert instances_of_service(None, "db", trust_domain=TRUST_DOMAIN, datacenter="dc1") == ()
    for answer in ({}, "x", [1], 3):
        with pytest.raises(MeshError):
            instances_of_service(answer, "db", trust_domain=TRUST_DOMAIN, datacenter="dc1")
    with pytest.raises(MeshError):
        of_query([])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Node", "Service", "Checks", "Address", "Port", "Datacenter", "Nodes", "Proxy", "Kind"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


#: Rows as they are, but for one field or two.
ROWS = st.builds(
    lambda service, changes: row(service=service, **changes),
    st.dictionaries(st.sampled_from(["Service", "Address", "Port", "Kind", "Proxy"]), JSON, max_size=1)
    | st.builds(lambda port: {"Port": port}, st.integers(-1, 70_000)),
    st.dictionaries(st.sampled_from(["Node", "Checks"]), JSON, max_size=1),
)


@given(
    JSON | st.lists(ROWS, max_size=3) | st.builds(lambda rows: {"Nodes": rows}, st.lists(ROWS, max_size=3))
)
@example([row()])
@example({"Nodes": [row()]})
def test_any_answer_ends_in_instances_or_in_an_error_of_ours(answer: Any) -> None:
    rows = answer if isinstance(answer, list) else [answer]
    for read in (lambda: of_service(*rows), lambda: of_query(answer)):
        try:
            found = read()
        except MeshError:
            continue
        assert [instance for instance in found if not 0 < instance.port < 65536] == []
