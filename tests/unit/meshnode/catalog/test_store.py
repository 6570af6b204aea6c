"""Registering and deregistering: what keeps its index, what cascades, who may have a name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from meshnode.catalog import queries
from meshnode.catalog.coordinates import Coordinate, NodeCoordinate
from meshnode.catalog.model import Check, Node, Service, serf_check
from meshnode.catalog.store import Catalog, Registration, Written
from meshnode.catalog.tables import WatchKey

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
N1 = Node("n1", "10.0.0.1")
WEB = Service("web", port=80, tags=("v1",))


class Bench:
    """A catalog and the next index."""

    def __init__(self) -> None:
        self.touched: set[WatchKey] = set()
        self.catalog = Catalog(self.touched)
        self.index = 0

    def put(self, node: Node, service: Service | None = None, *checks: Check, skip: bool = False) -> Written:
        self.index += 1
        self.touched.clear()
        return self.catalog.register(self.index, Registration(node, service, checks, skip_node_update=skip))

    def drop(self, node: str, service_id: str = "", check_id: str = "") -> Written:
        self.index += 1
        self.touched.clear()
        return self.catalog.deregister(self.index, node, service_id, check_id)

    def node(self, name: str) -> Node | None:
        return queries.node(self.catalog, name)[1]

    def services(self, node: str) -> dict[str, Service]:
        found = queries.node_services(self.catalog, node)[1]
        return {service.id: service for service in found.services} if found is not None else {}

    def checks(self, node: str) -> dict[str, Check]:
        return {check.check_id: check for check in queries.node_checks(self.catalog, node)[1]}


@pytest.fixture
def bench() -> Bench:
    return Bench()


def indexes(value: Node | Service | Check | None) -> tuple[int, int]:
    assert value is not None
    return value.create_index, value.modify_index


def web_check(status: str = "passing", **more: str) -> Check:
    return Check("n1", "web-up", status=status, service_id="web", **more)


# What keeps its index


def test_the_first_registration_gives_everything_its_index(bench: Bench) -> None:
    assert bench.put(N1, WEB, serf_check("n1", alive=True), web_check()).fault == ""
    assert indexes(bench.node("n1")) == (1, 1)
    assert indexes(bench.services("n1")["web"]) == (1, 1)
    assert [indexes(check) for check in bench.checks("n1").values()] == [(1, 1), (1, 1)]


def test_the_same_registration_again_moves_no_index_and_touches_nothing(bench: Bench) -> None:
    for _ in range(2):
        bench.put(N1, WEB, serf_check("n1", alive=True), web_check())
    assert not bench.touched
    tables = bench.catalog.tables
    assert (tables.nodes_index, tables.services_index, tables.checks_index) == (1, 1, 1)
    assert indexes(bench.checks("n1")["web-up"]) == (1, 1)


def test_only_what_changed_moves(bench: Bench) -> None:
    bench.put(N1, WEB, web_check())
    bench.put(N1, replace(WEB, port=81), web_check())
    assert indexes(bench.node("n1")) == (1, 1)
    assert indexes(bench.services("n1")["web"]) == (1, 2)
    assert indexes(bench.checks("n1")["web-up"]) == (1, 1)


def test_indexes_inside_a_registration_are_not_believed(bench: Bench) -> None:
    bench.put(replace(N1, create_index=99, modify_index=99), replace(WEB, modify_index=99))
    assert indexes(bench.node("n1")) == (1, 1)
    assert indexes(bench.services("n1")["web"]) == (1, 1)


def test_skip_node_update_leaves_a_node_that_is_there_and_makes_one_that_is_not(bench: Bench) -> None:
    bench.put(N1)
    bench.put(Node("n1", "10.9.9.9"), WEB, skip=True)
    assert bench.node("n1") == replace(N1, create_index=1, modify_index=1)
    assert bench.put(Node("n2"), skip=True).fault == ""
    assert bench.node("n2") is not None


def test_names_ignore_case_and_the_last_writing_is_shown(bench: Bench) -> None:
    bench.put(N1, WEB)
    bench.put(Node("N1", "10.0.0.1"), replace(WEB, id="WEB", name="Web"))
    assert len(queries.nodes(bench.catalog)[1]) == 1
    assert indexes(bench.node("n1")) == (1, 2)
    assert [service.name for service in bench.services("n1").values()] == ["Web"]


# What is filled in, and copied


def test_ids_come_from_names_and_a_check_is_critical_until_it_says_otherwise(bench: Bench) -> None:
    bench.put(N1, Service("db"), Check("", "", name="alive", status=""))
    assert bench.services("n1")["db"].id == "db"
    check = bench.checks("n1")["alive"]
    assert (check.node, check.status) == ("n1", "critical")


def test_a_check_shows_name_and_tags_of_its_service_whatever_it_says_itself(bench: Bench) -> None:
    bench.put(N1, WEB, web_check(service_name="lie"))
    assert bench.checks("n1")["web-up"].service_name == "web"
    assert bench.checks("n1")["web-up"].service_tags == ("v1",)


def test_checks_follow_their_service_when_its_name_or_tags_change(bench: Bench) -> None:
    bench.put(N1, WEB, web_check())
    bench.put(N1, replace(WEB, name="api", id="web", tags=("v2",)))
    check = bench.checks("n1")["web-up"]
    assert (check.service_name, check.service_tags, indexes(check)) == ("api", ("v2",), (1, 2))
    assert queries.service_checks(bench.catalog, "api")[1] == [check]
    assert queries.service_checks(bench.catalog, "web")[1] == []
    assert {("service", "web"), ("service", "api")} <= bench.touched


def test_a_check_can_move_from_one_service_to_another(bench: Bench) -> None:
    bench.put(N1, WEB, web_check())
    bench.put(N1, Service("db"), replace(web_check(), service_id="db"))
    assert queries.service_checks(bench.catalog, "web")[1] == []
    assert [check.check_id for check in queries.service_checks(bench.catalog, "db")[1]] == ["web-up"]
    assert {("service", "web"), ("service", "db")} <= bench.touched


# Whole or not at all


@pytest.mark.parametrize(
    ("node", "service", "checks", "fault"),
    [
        (Node("", "a"), None, (), "Must provide node"),
        (N1, Service("", id="x"), (), "Must provide service name with ID"),
        (N1, WEB, (Check("n2", "c"),), 'check node "n2" does not match node "n1"'),
        (
            N1,
            WEB,
            (Check("n1", "ok"), Check("n1", "c", service_id="db")),
            'failed inserting check: Missing service registration: "db" on node "n1"',
        ),
    ],
)
def test_a_refused_registration_changes_nothing(
    bench: Bench, node: Node, service: Service | None, checks: Iterable[Check], fault: str
) -> None:
    assert bench.put(node, service, *checks).fault == fault
    assert queries.dump(bench.catalog) == (1, [])
    assert not bench.touched


def test_a_check_of_a_service_that_is_there_already_is_taken(bench: Bench) -> None:
    bench.put(N1, WEB)
    assert bench.put(N1, None, replace(web_check(), service_id="WEB")).fault == ""
    assert queries.service_checks(bench.catalog, "web")[1][0].service_name == "web"


# Who may have a name


def test_a_node_with_an_id_takes_a_new_name_and_leaves_all_under_the_old_one(bench: Bench) -> None:
    bench.put(replace(N1, id=A), WEB, serf_check("n1", alive=True))
    written = bench.put(Node("n9", "10.0.0.1", A))
    assert bench.node("n1") is None
    assert indexes(bench.node("n9")) == (1, 2)
    assert bench.services("n9") == {}
    assert written.lost_nodes == ["n1"]
    assert written.lost_checks == [("n1", "serfhealth")]
    assert queries.service_instances(bench.catalog, "web")[1] == []


def test_a_rename_that_only_changes_the_case_is_a_rename_too(bench: Bench) -> None:
    bench.put(replace(N1, id=A), WEB)
    assert bench.put(Node("N1", "10.0.0.1", A)).lost_nodes == ["n1"]
    assert indexes(bench.node("n1")) == (1, 2)
    assert bench.services("n1") == {}


@pytest.mark.parametrize(
    ("holder", "claimant_known", "refused"),
    [("", False, False), ("", True, True), (B, False, True), (B, True, True)],
    ids=[
        "new id, name without id",
        "rename, name without id",
        "new id, name of another",
        "rename, name of another",
    ],
)
def test_who_may_take_a_name(bench: Bench, holder: str, claimant_known: bool, refused: bool) -> None:
    bench.put(Node("taken", "10.0.0.2", holder))
    if claimant_known:
        bench.put(Node("n1", "10.0.0.1", A))
    fault = bench.put(Node("Taken", "10.0.0.1", A)).fault
    assert bool(fault) is refused
    node = bench.node("taken")
    assert node is not None
    assert node.id == (holder if refused else A)
    if refused:
        assert f'Error while renaming Node ID: "{A}": Node name Taken is reserved by node' in fault
        assert fault.endswith("with name taken")


@pytest.mark.parametrize("alive", [True, False])
def test_a_machine_that_was_made_again_takes_its_name_once_the_old_one_has_failed(
    bench: Bench, alive: bool
) -> None:
    old = replace(N1, id=B)
    bench.put(old, WEB)
    bench.put(old, None, serf_check("n1", alive=alive))
    written = bench.put(replace(N1, id=A, address="10.0.0.9"))
    node = bench.node("n1")
    assert node is not None
    if alive:
        assert (node.id, "is reserved by node" in written.fault) == (B, True)
        return
    assert (node.id, node.address, written.fault, written.lost_nodes) == (A, "10.0.0.9", "", ["n1"])
    assert bench.services("n1") == {}
    assert queries.node_services(bench.catalog, A)[1] is not None
    assert queries.node_services(bench.catalog, B)[1] is None


def test_a_registration_without_an_id_keeps_the_one_that_is_known(bench: Bench) -> None:
    bench.put(replace(N1, id=A))
    bench.put(replace(N1, address="10.0.0.7"))
    node = bench.node("n1")
    assert node is not None
    assert (node.id, node.address) == (A, "10.0.0.7")
    assert queries.node_services(bench.catalog, A[:8])[1] is not None


# What cascades


def test_a_service_goes_with_its_checks_and_nothing_else(bench: Bench) -> None:
    bench.put(N1, WEB, serf_check("n1", alive=True), web_check())
    written = bench.drop("N1", "WEB", "serfHealth")
    assert written.lost_checks == [("n1", "web-up")]
    assert list(bench.checks("n1")) == ["serfHealth"], "a service id wins over a check id"
    assert bench.services("n1") == {}


def test_a_node_goes_with_everything_on_it(bench: Bench) -> None:
    bench.put(N1, WEB, serf_check("n1", alive=True), web_check())
    bench.catalog.update_coordinates(2, [NodeCoordinate("n1")])
    written = bench.drop("n1")
    assert sorted(written.lost_checks) == [("n1", "serfhealth"), ("n1", "web-up")]
    assert written.lost_nodes == ["n1"]
    assert queries.dump(bench.catalog)[1] == []
    assert queries.all_coordinates(bench.catalog)[1] == []
    assert queries.checks_in_state(bench.catalog, "any")[1] == []
    assert queries.services(bench.catalog)[1] == {}


@pytest.mark.parametrize("what", [("n2",), ("n1", "db"), ("n1", "", "nope")])
def test_what_is_not_there_is_removed_already(bench: Bench, what: tuple[str, ...]) -> None:
    bench.put(N1, WEB)
    assert bench.drop(*what) == Written()
    assert not bench.touched


def test_deregistering_needs_a_node(bench: Bench) -> None:
    assert bench.drop("", "web").fault == "Must provide node"


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        ("passing", "critical", True),
        ("warning", "critical", True),
        ("critical", "critical", False),
        ("critical", "passing", False),
        ("passing", "warning", False),
    ],
)
def test_sessions_hear_of_a_check_that_turns_critical(
    bench: Bench, before: str, after: str, lost: bool
) -> None:
    bench.put(N1, WEB, web_check(before))
    assert bench.put(N1, None, web_check(after)).lost_checks == ([("n1", "web-up")] if lost else [])


def test_the_tables_of_services_do_not_grow_with_names_that_are_gone(bench: Bench) -> None:
    for i in range(50):
        name = f"job-{i}"
        bench.put(N1, Service(name, kind="connect-proxy", proxy_destination=f"to-{i}", port=1))
        bench.drop("n1", name)
    tables = bench.catalog.tables
    assert [tables.name_index, tables.connect_index, tables.by_name, tables.by_connect] == [{}] * 4


def test_coordinates_of_unknown_nodes_and_malformed_ones_are_passed_over(bench: Bench) -> None:
    bench.put(N1)
    bench.catalog.update_coordinates(
        2, [NodeCoordinate("n2"), NodeCoordinate("n1", coord=Coordinate((1.0,)))]
    )
    assert queries.all_coordinates(bench.catalog) == (1, [])
    bench.catalog.update_coordinates(3, [NodeCoordinate("N1")])
    assert queries.node_coordinates(bench.catalog, "n1") == (3, [NodeCoordinate("N1")])
