"""The table of intentions: its indexes against a list, what is refused, and what is touched."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.intentions.decide import names
from meshnode.intentions.model import Destination, Intention, ServiceName
from meshnode.intentions.store import INTENTIONS, IntentionStore, WatchKey, watched_from, watched_to

WEB, DB, ANY = ServiceName("web"), ServiceName("db"), ServiceName("*")
ONE = Intention("I1", "web", "db", "deny", created_at=1.0, updated_at=1.0)


class Store(IntentionStore):
    def __init__(self) -> None:
        self.touched: set[WatchKey] = set()
        super().__init__(self.touched)


@pytest.fixture
def store() -> Store:
    store = Store()
    assert store.put(5, ONE, create=True) == ""
    return store


def test_what_is_put_is_found_by_id_and_by_name_whatever_the_case(store: Store) -> None:
    stored = replace(ONE, create_index=5, modify_index=5)
    assert store.get("i1") == (5, stored)
    assert store.exact(ServiceName("WEB"), ServiceName("Db")) == (5, stored)
    assert store.exact(DB, WEB) == (5, None)
    assert store.every() == store.to(DB) == store.from_(WEB) == (5, [stored])
    assert store.to(WEB) == store.from_(DB) == (5, [])


def test_an_empty_table_has_an_index_all_the_same() -> None:
    assert Store().every() == Store().to(DB) == (1, [])


def test_two_about_the_same_are_refused_with_consuls_sentence(store: Store) -> None:
    refused = "duplicate intention found: DENY default/web => default/db (ID: I1, Precedence: 9)"
    assert store.put(6, Intention("i2", "WEB", "db", "allow"), create=True) == refused
    assert store.put(7, Intention("i2", "web", "api", "allow"), create=True) == ""
    assert store.put(8, Intention("i2", "web", "db", "allow"), create=False) == refused
    assert store.index == 7


@pytest.mark.parametrize(
    ("intention", "create", "because"),
    [
        (replace(ONE, id=""), True, "Missing Intention ID"),
        (replace(ONE, id="i1"), True, "Intention ID 'i1' is in use"),
        (replace(ONE, id="i9"), False, "Cannot modify non-existent intention: 'i9'"),
    ],
)
def test_ids_are_refused_that_are_none_or_taken_or_gone(
    store: Store, intention: Intention, create: bool, because: str
) -> None:
    before = store.every()
    assert store.put(6, intention, create=create) == because
    assert store.every() == before


def test_a_change_keeps_when_it_was_created_and_moves_it_in_every_index(store: Store) -> None:
    changed = Intention("i1", "*", "api", "allow", created_at=9.0, updated_at=9.0)
    assert store.put(6, changed, create=False) == ""
    row = store.get("i1")[1]
    assert row == replace(changed, created_at=1.0, create_index=5, modify_index=6)
    assert store.to(DB)[1] == []
    assert store.exact(WEB, DB)[1] is None
    assert store.put(7, Intention("i2", "web", "db", "allow"), create=True) == ""


def test_an_upsert_adds_or_changes_by_name_and_keeps_the_id(store: Store) -> None:
    assert store.upsert(6, Intention("new", "WEB", "db", "allow", created_at=9.0, updated_at=9.0)) == "I1"
    row = store.get("i1")[1]
    assert row is not None
    assert (row.action, row.created_at, row.updated_at, row.create_index, row.modify_index) == (
        "allow",
        1.0,
        9.0,
        5,
        6,
    )
    assert store.upsert(7, Intention("i7", "web", "*", "allow")) == "i7"
    assert len(store.every()[1]) == 2


def test_what_is_deleted_is_gone_and_once_only(store: Store) -> None:
    assert store.delete(6, "i1")
    assert not store.delete(7, "i1")
    assert store.every() == (6, [])
    assert store.exact(WEB, DB) == (6, None)
    assert store.put(8, ONE, create=True) == ""


def test_a_write_touches_both_ends_and_a_move_touches_all_four(store: Store) -> None:
    assert store.touched == {INTENTIONS, ("intentions-to", "db"), ("intentions-from", "web")}
    store.touched.clear()
    store.put(6, Intention("i1", "*", "api", "deny"), create=False)
    assert store.touched == {
        INTENTIONS,
        *(("intentions-to", name) for name in ("db", "api")),
        *(("intentions-from", name) for name in ("web", "*")),
    }
    store.touched.clear()
    store.load(Intention("i3", "a", "b", "deny"))
    assert not store.touched


@pytest.mark.parametrize("again", [replace(ONE, source_name="x"), replace(ONE, id="i2")])
def test_a_row_that_is_there_twice_is_refused_when_it_is_loaded(store: Store, again: Intention) -> None:
    with pytest.raises(ValueError, match="is there twice"):
        store.load(again)


def test_who_reads_about_a_service_hears_of_the_wildcard_too() -> None:
    assert watched_to(ServiceName("DB")) == (("intentions-to", "db"), ("intentions-to", "*"))
    assert watched_from(ServiceName("Web")) == (("intentions-from", "web"), ("intentions-from", "*"))


_name = st.sampled_from(["a", "A", "b", "*"])
_row = st.builds(Intention, st.sampled_from(["1", "2", "3", "4"]), _name, _name, st.just("deny"))
_steps = st.lists(st.tuples(st.sampled_from(["create", "update", "upsert", "delete"]), _row), max_size=20)


@given(_steps, _name, _name)
def test_the_indexes_agree_with_a_list_of_rows(
    steps: list[tuple[str, Intention]], source: str, destination: str
) -> None:
    store, rows = Store(), dict[str, Intention]()
    for index, (operation, row) in enumerate(steps, 1):
        same = next((known for known in rows.values() if known.pair == row.pair), None)
        match operation:
            case "delete":
                assert store.delete(index, row.id) is (rows.pop(row.id, None) is not None)
            case "upsert":
                kept = row.id if same is None else same.id
                assert store.upsert(index, row) == kept
                rows[kept] = replace(row, id=kept)
            case _:
                create = operation == "create"
                fine = (row.id in rows) is not create and (same is None or same.id == row.id)
                assert (store.put(index, row, create=create) == "") is fine
                if fine:
                    rows[row.id] = row
    here, there = ServiceName(source), ServiceName(destination)
    assert {row.id for row in store.every()[1]} == set(rows)
    assert {row.id for row in store.to(there)[1]} == {
        row.id for row in rows.values() if names(row, row.source, there)
    }
    assert {row.id for row in store.from_(here)[1]} == {
        row.id for row in rows.values() if names(row, here, row.destination)
    }
    found = store.exact(here, there)[1]
    assert (found.id if found else None) == next(
        (row.id for row in rows.values() if row.pair == Intention("", source, destination).pair), None
    )


def about(store: IntentionStore, name: str) -> tuple[list[str], dict[str, str], int, int]:
    """Sources, metadata and indexes of the entry about one destination."""
    found = store.destination(ServiceName(name))
    assert found is not None
    sources = [row.source_name for row in store.about(found)]
    return sources, dict(found.meta), found.create_index, found.modify_index


def test_a_destination_changes_with_each_of_its_intentions_and_goes_with_the_last_one() -> None:
    store = IntentionStore(set())
    store.put(3, Intention("i1", "web", "db", "deny"), create=True)
    store.put(4, Intention("i2", "api", "DB", "deny"), create=True)
    store.put(5, Intention("i3", "api", "*", "deny"), create=True)
    assert about(store, "dB") == (["api", "web"], {}, 3, 4)
    assert [each.name for each in store.destinations()] == ["*", "db"]
    store.delete(6, "i1")
    assert about(store, "db") == (["api"], {}, 3, 6)
    store.put(7, Intention("i2", "api", "other", "deny"), create=False)
    assert store.destination(ServiceName("db")) is None
    assert about(store, "other") == (["api"], {}, 4, 7)
    assert store.destination(ServiceName("other", "ns")) is None


def test_all_about_a_destination_are_replaced_at_once_and_keep_their_ids() -> None:
    touched: set[tuple[str, ...]] = set()
    store = IntentionStore(touched)
    store.put(3, Intention("i1", "web", "db", "deny", created_at=1.0), create=True)
    store.put(4, Intention("i2", "api", "db", "deny"), create=True)
    store.put(5, Intention("i3", "api", "*", "deny"), create=True)
    wanted = [Intention("n1", "Web", "db", "allow", created_at=9.0), Intention("n2", "x", "db", "deny")]
    store.replace_about(6, ServiceName("db"), wanted, {"k": "v"})
    assert about(store, "db") == (["Web", "x"], {"k": "v"}, 3, 6)
    rows = {row.source_name: row for row in store.every()[1] if row.destination_name == "db"}
    assert (rows["Web"].id, rows["Web"].created_at, rows["Web"].create_index) == ("i1", 1.0, 3)
    assert (rows["x"].id, rows["x"].create_index) == ("n2", 6)
    assert store.get("i2")[1] is None
    assert store.get("i3")[1] is not None
    touched.clear()
    store.replace_about(7, ServiceName("db"), [*wanted], {"k": "v"})
    assert (about(store, "db")[3], store.index, touched) == (6, 6, set())
    store.replace_about(8, ServiceName("db"), wanted, {})
    assert (about(store, "db")[1:], touched) == (({}, 3, 8), {INTENTIONS})
    store.replace_about(9, ServiceName("db"), [], {})
    assert (store.destination(ServiceName("db")), store.index) == (None, 9)


def test_a_destination_whose_every_source_is_replaced_stays_the_same_one() -> None:
    store = IntentionStore(set())
    store.replace_about(3, ServiceName("db"), [Intention("a", "web", "db", "deny")], {"k": "v"})
    store.replace_about(4, ServiceName("db"), [Intention("b", "api", "db", "deny")], {"k": "v"})
    assert about(store, "db") == (["api"], {"k": "v"}, 3, 4)


def test_what_a_snapshot_says_about_a_destination_counts_and_needs_intentions() -> None:
    store = IntentionStore(set())
    store.load(Intention("i1", "web", "db", "deny", create_index=3, modify_index=4))
    store.load(Intention("i2", "api", "db", "deny", create_index=2, modify_index=3))
    assert about(store, "db")[2:] == (2, 4)
    store.load_destination(Destination("db", meta={"k": "v"}, create_index=1, modify_index=9))
    assert about(store, "db")[1:] == ({"k": "v"}, 1, 9)
    with pytest.raises(ValueError, match="there are no intentions about 'x'"):
        store.load_destination(Destination("x"))
