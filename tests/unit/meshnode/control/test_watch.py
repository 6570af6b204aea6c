"""Who is woken by what: the table of keys, prefixes and trees; nobody is left asleep, and few are woken for nothing."""

from __future__ import annotations

import random

import pytest

from meshnode.control import watch
from meshnode.control.watch import EVERYTHING, NODES, WatchKey, WatchTable


def woken(registered: list[WatchKey], touched: WatchKey) -> list[WatchKey]:
    table = WatchTable()
    ids = {table.register([key]): key for key in registered}
    return [ids[waiter] for waiter in sorted(table.touched([touched]))]


PREFIXES = [watch.prefix(text) for text in ("", "a", "a/", "a/b", "a/b/c", "b")]
KEYS = [watch.key(text) for text in ("a", "a/b", "a/b/c", "b")]


@pytest.mark.parametrize(
    ("changed", "prefixes", "keys"),
    [
        ("a/b", ["", "a", "a/", "a/b"], ["a/b"]),
        ("a/b/c", ["", "a", "a/", "a/b", "a/b/c"], ["a/b/c"]),
        ("b", ["", "b"], ["b"]),
        ("zzz", [""], []),
    ],
)
def test_a_key_wakes_its_waiters_and_those_of_every_prefix(
    changed: str, prefixes: list[str], keys: list[str]
) -> None:
    expected = [*map(watch.prefix, prefixes), *map(watch.key, keys)]
    assert woken(PREFIXES + KEYS, ("key", changed)) == expected


@pytest.mark.parametrize(
    ("tree", "prefixes", "keys"),
    [
        ("", ["", "a", "a/", "a/b", "a/b/c", "b"], ["a", "a/b", "a/b/c", "b"]),
        ("a/", ["", "a", "a/", "a/b", "a/b/c"], ["a/b", "a/b/c"]),
        ("a/b/c", ["", "a", "a/", "a/b", "a/b/c"], ["a/b/c"]),
        ("c", [""], []),
    ],
)
def test_a_deleted_tree_wakes_all_below_it_and_the_prefixes_above(
    tree: str, prefixes: list[str], keys: list[str]
) -> None:
    expected = [*map(watch.prefix, prefixes), *map(watch.key, keys)]
    assert woken(PREFIXES + KEYS, ("tree", tree)) == expected


def test_other_keys_wake_only_their_own_waiters() -> None:
    keys = [NODES, watch.node("N"), watch.service("Web"), watch.connect("web"), watch.check_state("any")]
    keys += [watch.session("S"), watch.sessions_of("N"), watch.coordinate("N"), watch.key("nodes")]
    for touched in keys:
        assert woken(keys, touched) == [touched]
    assert watch.service("Web") == ("service", "web"), "names ignore case"


def test_after_a_restore_everybody_looks_again() -> None:
    assert woken([NODES, watch.key("a"), watch.prefix("b")], EVERYTHING) == [
        NODES,
        watch.key("a"),
        watch.prefix("b"),
    ]


def test_a_waiter_may_wait_for_several_keys_and_is_woken_once_and_again() -> None:
    table = WatchTable()
    waiter = table.register([NODES, watch.service("a"), NODES])
    assert table.touched([NODES, watch.service("a")]) == {waiter}
    assert table.touched([watch.service("a")]) == {waiter}
    assert table.touched([watch.service("b")]) == set()


def test_who_is_removed_is_not_woken_and_leaves_nothing_behind() -> None:
    table = WatchTable()
    first = table.register([watch.prefix("a"), NODES])
    second = table.register([watch.prefix("a")])
    table.remove(first)
    assert table.touched([("key", "abc"), NODES]) == {second}
    table.remove(second)
    table.remove(second)
    assert len(table) == 0
    assert (table._waiters, table._prefix_lengths) == ({}, {})


def test_five_thousand_waiters_agree_with_the_plain_definition() -> None:
    rng = random.Random(20261125)
    alphabet = ["a", "b", "/", "é"]

    def text() -> str:
        return "".join(rng.choices(alphabet, k=rng.randrange(7)))

    table = WatchTable()
    waiting = {
        table.register([key]): key
        for key in (rng.choice([watch.prefix, watch.key])(text()) for _ in range(5000))
    }
    for waiter in rng.sample(sorted(waiting), 2000):
        table.remove(waiter)
        del waiting[waiter]
    for _ in range(200):
        kind, touched = rng.choice(["key", "tree"]), text()
        expected = {
            waiter
            for waiter, (sort, name) in waiting.items()
            if (kind == "key" and (touched.startswith(name) if sort == "kv" else touched == name))
            or (kind == "tree" and (name.startswith(touched) or (sort == "kv" and touched.startswith(name))))
        }
        assert table.touched([(kind, touched)]) == expected, (kind, touched)
