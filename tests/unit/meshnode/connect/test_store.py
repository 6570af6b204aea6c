"""The CA's table: what changes under which index, and who is woken."""

from __future__ import annotations

from dataclasses import replace

from meshnode.connect.model import CaConfig, CaRoot, CaState, NodeTrust, Revoked
from meshnode.connect.store import CONNECT_CONFIG, CONNECT_ROOTS, CONNECT_TRUST, MAX_REVOKED, ConnectStore

ROOT = CaRoot("a", "CA", 1, "k", 0.0, 9.0, "pem", active=True)
CA = CaState(CaConfig("id"), (ROOT,))


def store() -> tuple[ConnectStore, set[tuple[str, ...]]]:
    touched: set[tuple[str, ...]] = set()
    return ConnectStore(touched), touched


def test_a_change_that_was_worked_out_from_another_state_changes_nothing() -> None:
    table, touched = store()
    assert table.set(5, CA, 0)
    touched.clear()
    assert not table.set(6, replace(CA, roots=()), 0)
    assert not table.set(6, replace(CA, roots=()), 6)
    assert (table.index, len(table.ca.roots), touched) == (5, 1, set())


def test_only_what_changed_gets_the_new_index_and_wakes_its_watchers() -> None:
    table, touched = store()
    table.set(5, CA, 0)
    assert touched == {CONNECT_ROOTS, CONNECT_CONFIG, CONNECT_TRUST}
    touched.clear()
    assert table.set(7, replace(CA, config=CaConfig("id", leaf_cert_ttl=9.0)), 5)
    assert touched == {CONNECT_CONFIG, CONNECT_TRUST}
    assert table.ca.config is not None
    assert (table.ca.config.create_index, table.ca.config.modify_index) == (5, 7)
    assert (table.roots_index, table.ca.roots[0].modify_index) == (5, 5)
    touched.clear()
    second = replace(ROOT, id="b", active=False)
    assert table.set(9, replace(table.ca, roots=(ROOT, second)), 7)
    assert touched == {CONNECT_ROOTS, CONNECT_TRUST}
    assert [(r.create_index, r.modify_index) for r in table.ca.roots] == [(5, 5), (9, 9)]


def test_a_root_that_is_distrusted_is_told_with_the_roots() -> None:
    table, touched = store()
    table.set(5, CA, 0)
    touched.clear()
    assert table.set(7, replace(table.ca, distrusted=("b",)), 5)
    assert (table.roots_index, table.ca.distrusted, CONNECT_ROOTS in touched) == (7, ("b",), True)


def test_a_node_reports_is_read_by_name_and_is_forgotten_when_it_leaves_the_catalog() -> None:
    table, touched = store()
    table.report(3, NodeTrust("B", ("a",)))
    table.report(4, NodeTrust("a", ("a",)))
    table.report(5, NodeTrust("b", ("a", "b")))
    assert table.trust() == [NodeTrust("a", ("a",)), NodeTrust("b", ("a", "b"))]
    touched.clear()
    table.end_of_nodes(6, ["B", "unknown"])
    assert table.trust_index == 6
    table.report(7, NodeTrust("a", ()))
    assert (table.trust(), table.trust_index, touched) == ([], 7, {CONNECT_TRUST})


def test_a_report_that_says_nothing_new_wakes_nobody() -> None:
    table, touched = store()
    table.report(3, NodeTrust("n", ("a",)))
    touched.clear()
    table.report(4, NodeTrust("n", ("a",)))
    table.end_of_nodes(5, ["unknown"])
    assert (table.trust_index, touched) == (3, set())


def test_a_revoked_leaf_is_told_with_the_roots_until_its_time_is_over() -> None:
    table, touched = store()
    assert table.revoke(3, Revoked("AB:CD", 100.0, "lost", 1.0)) == ""
    assert (table.roots_index, touched) == (3, {CONNECT_ROOTS})
    assert table.is_revoked("ab:cd")
    assert table.is_revoked("AB:CD")
    assert not table.is_revoked("ab")
    table.revoke(4, Revoked("ef", 200.0, at=100.0))
    assert [row.serial for row in table.revoked()] == ["ef"]


def test_the_list_of_revoked_leaves_is_bounded() -> None:
    table, _ = store()
    for number in range(MAX_REVOKED):
        assert table.revoke(1, Revoked(f"{number:x}", 9.0)) == ""
    assert "rotate the root" in table.revoke(2, Revoked("ffff:ff", 9.0))
    assert table.revoke(2, Revoked("0", 10.0)) == ""
