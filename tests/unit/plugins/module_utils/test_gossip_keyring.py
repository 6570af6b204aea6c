from __future__ import annotations

from itertools import count

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _gossip_keyring
from ansible_collections.meshnode.lab.plugins.module_utils._gossip_keyring import Key, Wish, decide
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStoreError

A, B, NEW = Key("aa", "2025", 16, "a"), Key("bb", "2026", 32, "b"), Key("new", "now", 32, "n")

TABLE = [
    ("nothing yet", (), Wish(), (NEW,)),
    ("as it is", (A, B), Wish(), (A, B)),
    ("new key", (A,), Wish(new_key=True), (A, NEW)),
    ("new key while one is waiting", (A, B), Wish(new_key=True), (A, B)),
    ("use the second", (A, B), Wish(primary="bb"), (B, A)),
    ("use the first", (A, B), Wish(primary="aa"), (A, B)),
    ("remove the old one", (B, A), Wish(remove=("aa",)), (B,)),
    ("remove what is gone", (B,), Wish(remove=("aa",)), (B,)),
    ("use and remove at once", (A, B), Wish(primary="bb", remove=("aa",)), (B,)),
]


@pytest.mark.parametrize(
    ("found", "wish", "wanted"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_decision_and_its_repetition(found: tuple[Key, ...], wish: Wish, wanted: tuple[Key, ...]) -> None:
    assert decide(found, wish, lambda: NEW) == wanted
    assert decide(wanted, wish, lambda: pytest.fail("made a second key")) == wanted


@pytest.mark.parametrize(
    ("found", "wish", "message"),
    [
        ((), Wish(new_key=True), "no gossip key yet"),
        ((), Wish(primary="aa"), "no gossip key yet"),
        ((A, B), Wish(primary="cc"), "no gossip key has the fingerprint cc: there is aa, bb"),
        ((A, B), Wish(remove=("aa",)), "aa is the primary key: use another one first"),
    ],
)
def test_wish_that_would_break_the_cluster_is_refused(
    found: tuple[Key, ...], wish: Wish, message: str
) -> None:
    with pytest.raises(SecretStoreError, match=message):
        decide(found, wish, lambda: NEW)


def test_keyring_is_bounded() -> None:
    numbers = count()
    keys = tuple(Key(f"k{next(numbers)}", "", 16, "x") for _ in range(_gossip_keyring.MAX_KEYS))
    assert decide(keys, Wish(), lambda: NEW) == keys
    with pytest.raises(SecretStoreError, match="too long"):
        decide((*keys, A), Wish(), lambda: NEW)
