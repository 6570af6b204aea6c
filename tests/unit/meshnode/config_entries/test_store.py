"""The table of entries: indexes, watch keys, one row for each kind and name whatever their case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshnode.config_entries.defaults import ServiceDefaults
from meshnode.config_entries.model import KIND_OF, KINDS
from meshnode.config_entries.routing import ServiceResolver
from meshnode.config_entries.store import CONFIG_ENTRIES, ConfigEntryStore, WatchKey, watched_entry
from tests.support.config_entries import entry

WEB = entry('kind = "service-defaults"\nname = "Web"\nprotocol = "http"')
SHARED = entry('kind = "proxy-defaults"\nconfig { protocol = "http" }')


@pytest.fixture
def store() -> ConfigEntryStore:
    return ConfigEntryStore(set())


def test_an_entry_keeps_when_it_was_created(store: ConfigEntryStore) -> None:
    store.set(3, WEB)
    store.set(5, replace(WEB, name="web", meta={"k": "v"}))
    found = store.entries.get("service-defaults", "WEB")
    assert found is not None
    assert (found.name, found.create_index, found.modify_index, store.index) == ("web", 3, 5, 5)
    assert store.of("service-defaults") == (5, [found])
    assert store.of("service-router") == (5, [])


def test_saying_the_same_again_changes_nothing() -> None:
    touched: set[WatchKey] = set()
    store = ConfigEntryStore(touched)
    store.set(3, WEB)
    assert touched == {CONFIG_ENTRIES, watched_entry("service-defaults", "web")}
    touched.clear()
    store.set(4, WEB)
    store.delete(5, ("service-defaults", "other"))
    assert (store.index, touched) == (3, set())
    store.delete(6, WEB.key)
    assert (store.index, touched) == (6, {CONFIG_ENTRIES, watched_entry("service-defaults", "Web")})
    assert store.every() == []


def test_an_empty_table_has_index_1(store: ConfigEntryStore) -> None:
    assert store.of("service-defaults") == (1, [])


def test_a_row_is_loaded_once_and_moves_no_index(store: ConfigEntryStore) -> None:
    store.load(replace(WEB, create_index=2, modify_index=4))
    assert store.index == 0
    with pytest.raises(ValueError, match="service-defaults/Web is there twice"):
        store.load(WEB)


def test_fields_are_found_by_kind_and_name(store: ConfigEntryStore) -> None:
    store.set(1, WEB)
    store.set(2, SHARED)
    assert store.entries.spec(ServiceDefaults, "wEb") == WEB.spec
    assert store.entries.spec(ServiceResolver, "web") is None
    assert store.entries.spec(type(SHARED.spec), "anything") == SHARED.spec
    assert sorted(row.kind for row in store.entries) == ["proxy-defaults", "service-defaults"]


def test_a_change_that_is_only_looked_at_leaves_the_table_alone(store: ConfigEntryStore) -> None:
    store.set(1, WEB)
    without = store.entries.with_change(WEB.key, None)
    beside = store.entries.with_change(SHARED.key, SHARED)
    assert [list(without), len(list(beside)), len(store.every())] == [[], 2, 1]


def test_every_kind_is_known_by_its_fields() -> None:
    assert {KIND_OF[spec] for spec in KINDS.values()} == set(KINDS)
