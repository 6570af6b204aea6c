"""Entries: every operation against every state of the key, lists with their indexes, taking back."""

from __future__ import annotations

import pytest

from meshnode.kv.store import Entry, KvStore, RollbackError, WatchKey

MISSING = None
FREE = Entry("k", b"old", 1, 3, "", 5, 7)
HELD = Entry("k", b"old", 1, 3, "s1", 5, 7)


def store_with(*entries: Entry | None) -> KvStore:
    store = KvStore(set())
    store.load([entry for entry in entries if entry is not None])
    store.index = 8
    return store


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (MISSING, Entry("k", b"new", 2, 0, "", 9, 9)),
        (FREE, Entry("k", b"new", 2, 3, "", 5, 9)),
        (HELD, Entry("k", b"new", 2, 3, "s1", 5, 9)),
    ],
    ids=["missing", "free", "held"],
)
def test_put_keeps_create_index_lock_index_and_the_holder(before: Entry | None, after: Entry) -> None:
    store = store_with(before)
    assert store.put(9, "k", b"new", 2) == after
    assert store.get("k") == (9, after)


def test_put_of_the_same_value_moves_the_index_as_in_consul() -> None:
    store = store_with(FREE)
    store.put(9, "k", FREE.value, FREE.flags)
    assert store.get("k")[0] == 9


@pytest.mark.parametrize(
    ("before", "expected", "written"),
    [
        (MISSING, 0, True),
        (MISSING, 7, False),
        (FREE, 0, False),
        (FREE, 7, True),
        (FREE, 5, False),
        (FREE, 8, False),
        (HELD, 0, False),
        (HELD, 7, True),
    ],
)
def test_check_and_set(before: Entry | None, expected: int, written: bool) -> None:
    store = store_with(before)
    entry = store.cas(9, "k", b"new", 2, expected)
    assert (entry is not None) is written
    assert store.get("k")[1] == (entry if written else before)
    assert store.index == (9 if written else 8)


@pytest.mark.parametrize(
    ("before", "session", "lock_index"),
    [
        (MISSING, "s1", 1),
        (FREE, "s1", 4),
        (HELD, "s1", 3),
        (HELD, "s2", None),
    ],
    ids=["missing", "free", "held by us", "held by another"],
)
def test_acquire(before: Entry | None, session: str, lock_index: int | None) -> None:
    store = store_with(before)
    entry = store.acquire(9, "k", b"new", 2, session)
    if lock_index is None:
        assert entry is None
        assert store.get("k")[1] == before
        return
    created = before.create_index if before is not None else 9
    assert entry == Entry("k", b"new", 2, lock_index, session, created, 9)
    assert store.held_by(session) == ["k"]


@pytest.mark.parametrize(
    ("before", "session", "released"),
    [(MISSING, "s1", False), (FREE, "s1", False), (HELD, "s1", True), (HELD, "s2", False)],
    ids=["missing", "free", "held by us", "held by another"],
)
def test_release(before: Entry | None, session: str, released: bool) -> None:
    store = store_with(before)
    entry = store.release(9, "k", b"new", 2, session)
    assert (entry is not None) is released
    if released:
        assert entry == Entry("k", b"new", 2, 3, "", 5, 9)
        assert store.held_by(session) == []
    else:
        assert store.get("k")[1] == before


@pytest.mark.parametrize("before", [MISSING, FREE, HELD], ids=["missing", "free", "held"])
def test_delete_removes_whatever_is_there_and_leaves_a_tombstone(before: Entry | None) -> None:
    store = store_with(before)
    assert store.delete(9, "k") is (before is not None)
    assert store.get("k") == ((9 if before is not None else 8), None)
    assert store.graveyard.stones == ({"k": 9} if before is not None else {})
    assert store.held_by("s1") == []


@pytest.mark.parametrize(
    ("before", "expected", "answer", "gone"),
    [
        (MISSING, 0, True, True),
        (MISSING, 7, True, True),
        (FREE, 0, False, False),
        (FREE, 7, True, True),
        (HELD, 7, True, True),
        (HELD, 6, False, False),
    ],
)
def test_delete_with_an_index_is_true_for_what_is_not_there(
    before: Entry | None, expected: int, answer: bool, gone: bool
) -> None:
    store = store_with(before)
    assert store.delete_cas(9, "k", expected) is answer
    assert (store.get("k")[1] is None) is gone


# Lists


@pytest.fixture
def tree() -> KvStore:
    store = KvStore(set())
    for index, key in enumerate(["a/1", "a/2", "a/b/1", "a/b/2", "a0", "b", "é/x", "\U0001f600"], 1):
        store.put(index, key, key.encode())
    return store


@pytest.mark.parametrize(
    ("prefix", "index", "keys"),
    [
        ("", 8, ["a/1", "a/2", "a/b/1", "a/b/2", "a0", "b", "é/x", "\U0001f600"]),
        ("a/", 4, ["a/1", "a/2", "a/b/1", "a/b/2"]),
        ("a/b", 4, ["a/b/1", "a/b/2"]),
        ("a", 5, ["a/1", "a/2", "a/b/1", "a/b/2", "a0"]),
        ("é", 7, ["é/x"]),
        ("\U0001f600", 8, ["\U0001f600"]),
        ("zz", 8, []),
    ],
)
def test_a_list_is_what_starts_with_the_prefix_in_order(
    tree: KvStore, prefix: str, index: int, keys: list[str]
) -> None:
    assert tree.keys_under(prefix) == (index, keys)
    assert tree.under(prefix) == (index, [tree.get(key)[1] for key in keys])


def test_keys_are_in_the_order_of_their_bytes(tree: KvStore) -> None:
    keys = tree.keys_under("")[1]
    assert keys == sorted(keys, key=str.encode)


@pytest.mark.parametrize(
    ("prefix", "separator", "keys"),
    [
        ("", "/", ["a/", "a0", "b", "é/", "\U0001f600"]),
        ("a/", "/", ["a/1", "a/2", "a/b/"]),
        ("a", "/", ["a/", "a0"]),
        ("a/b/", "/", ["a/b/1", "a/b/2"]),
        ("a/", "/b/", ["a/1", "a/2", "a/b/1", "a/b/2"]),
        ("a", "/b/", ["a/1", "a/2", "a/b/", "a0"]),
    ],
)
def test_a_separator_cuts_keys_and_shows_each_once(
    tree: KvStore, prefix: str, separator: str, keys: list[str]
) -> None:
    index, found = tree.keys_under(prefix, separator)
    assert found == keys
    assert index == tree.under(prefix)[0], "keys that aren't shown count"


def test_a_deletion_moves_the_lists_that_had_the_key_and_no_other(tree: KvStore) -> None:
    tree.delete(9, "a/b/2")
    assert tree.under("a/b/")[0] == 9
    assert tree.under("a/")[0] == 9
    assert tree.under("a/1")[0] == 1
    tree.put(10, "zz", b"")
    assert tree.under("a/")[0] == 9


def test_a_deleted_tree_moves_every_list_above_and_below_it(tree: KvStore) -> None:
    tree.delete(9, "a/b/1")
    assert tree.delete_tree(10, "a/") == 3
    for prefix in ("", "a", "a/", "a/b/", "a/b/1"):
        assert tree.under(prefix)[0] == 10, prefix
    assert tree.delete_tree(11, "a/") == 0
    assert tree.index == 10


def test_reaping_takes_no_list_back(tree: KvStore) -> None:
    tree.delete(9, "a/b/2")
    tree.put(10, "other", b"")
    before = {prefix: tree.under(prefix)[0] for prefix in ("", "a/", "a/b/", "a/1", "none")}
    tree.graveyard.reap(9)
    after = {prefix: tree.under(prefix)[0] for prefix in before}
    assert all(after[prefix] >= index for prefix, index in before.items())
    assert after["a/b/"] == 9
    assert after["none"] == 10


def test_an_empty_store_answers_with_index_one() -> None:
    store = KvStore(set())
    assert store.get("k") == (1, None)
    assert store.under("") == (1, [])
    assert store.keys_under("a") == (1, [])


# Taking back


def everything(store: KvStore) -> object:
    yard = store.graveyard
    held = {session: store.held_by(session) for session in ("s1", "s2")}
    return (
        list(store.in_order()),
        store.index,
        dict(yard.stones),
        dict(yard.trees),
        held,
        store.keys_under(""),
    )


def test_a_transaction_that_is_rolled_back_leaves_no_trace() -> None:
    touched: set[WatchKey] = set()
    store = KvStore(touched)
    store.acquire(1, "held", b"1", 0, "s1")
    store.put(2, "a/1", b"1")
    store.put(3, "a/2", b"2")
    store.delete(4, "a/2")
    before = everything(store)
    touched.clear()
    with store.transaction():
        store.put(5, "new", b"")
        store.put(5, "a/1", b"changed")
        store.delete(5, "a/1")
        store.put(5, "a/1", b"again")
        store.release(5, "held", b"", 0, "s1")
        store.acquire(5, "held", b"", 0, "s2")
        store.delete_tree(5, "a/")
        store.delete_tree(5, "")
        raise RollbackError
    assert everything(store) == before
    assert not touched


def test_a_transaction_that_ends_well_stays() -> None:
    touched: set[WatchKey] = set()
    store = KvStore(touched)
    with store.transaction():
        store.put(1, "a", b"")
    assert store.get("a")[0] == 1
    assert touched == {("key", "a")}
