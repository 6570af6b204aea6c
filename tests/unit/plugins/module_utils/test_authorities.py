from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _authorities
from ansible_collections.meshnode.lab.plugins.module_utils._authorities import Generations, Wish, decide
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStore, SecretStoreError

from meshnode.pki.authority import Authority, authority_name
from meshnode.pki.bundle import split_bundle

AT = datetime(2026, 11, 21, tzinfo=UTC)
ONE, TWO = Generations((1,), 1, (1,)), Generations((1, 2), 1, (1, 2))

TABLE = [
    ("nothing yet", None, Wish(), ONE),
    ("nothing yet, signing one named", None, Wish(current=1), ONE),
    ("as it is", ONE, Wish(), ONE),
    ("new one", ONE, Wish(new_generation=True), TWO),
    ("new one, again", TWO, Wish(new_generation=True), TWO),
    ("new one that a broken run made but did not trust", Generations((1, 2), 1, (1,)), Wish(new_generation=True), TWO),
    ("newest + 1", Generations((1, 2), 2, (2,)), Wish(new_generation=True), Generations((1, 2, 3), 2, (2, 3))),
    ("switch", TWO, Wish(current=2), Generations((1, 2), 2, (1, 2))),
    ("switch, again", Generations((1, 2), 2, (1, 2)), Wish(current=2), Generations((1, 2), 2, (1, 2))),
    ("switch back", Generations((1, 2), 2, (1, 2)), Wish(current=1), TWO),
    ("retire", Generations((1, 2), 2, (1, 2)), Wish(trusted=(2,)), Generations((1, 2), 2, (2,))),
    ("switch and retire at once", TWO, Wish(current=2, trusted=(2, 2)), Generations((1, 2), 2, (2,))),
    ("trust again", Generations((1, 2), 2, (2,)), Wish(trusted=(2, 1)), Generations((1, 2), 2, (1, 2))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "wish", "wanted"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_decision_and_its_repetition(found: Generations | None, wish: Wish, wanted: Generations) -> None:
    assert decide(found, wish) == wanted
    if wish.new_generation is False or wanted.current < max(wanted.known):
        assert decide(wanted, wish) == wanted


@pytest.mark.parametrize(
    ("found", "wish", "message"),
    [
        (None, Wish(new_generation=True), "no CA to follow yet"),
        (None, Wish(current=2), "generation 2 does not exist: there is 1"),
        (TWO, Wish(current=3), "generation 3 does not exist: there is 1, 2"),
        (TWO, Wish(trusted=(1, 7)), "generation 7 does not exist"),
        (TWO, Wish(trusted=(2,)), r"generation 1 signs but is not among the trusted \(2\)"),
        (Generations((1, 2), 1, (1,)), Wish(current=2), "signs but is not among the trusted"),
        (TWO, Wish(trusted=()), "not among the trusted"),
    ],
)
def test_wish_that_would_break_the_cluster_is_refused(
    found: Generations | None, wish: Wish, message: str
) -> None:
    with pytest.raises(SecretStoreError, match=message):
        decide(found, wish)


def test_bundle_has_the_signing_one_first_and_then_the_newest() -> None:
    assert Generations((1, 2, 3, 4), 2, (1, 2, 4)).bundle_order() == (2, 4, 1)


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    return SecretStore(str(tmp_path / ".secrets"), "dc1")


@pytest.fixture
def create() -> Callable[[int], Authority]:
    return lambda generation: Authority.create(authority_name("dc1", generation), at=AT, entropy=os.urandom)


def test_rotation_from_the_first_generation_to_the_second(
    store: SecretStore, create: Callable[[int], Authority]
) -> None:
    _authorities.ensure_generations(store, Wish(), create, check_mode=False)
    first = _authorities.read_certificate(store, 1)
    _authorities.ensure_generations(store, Wish(new_generation=True), create, check_mode=False)
    assert (
        split_bundle(_authorities.read_bundle(store, _authorities.read_generations(store) or ONE))[0] == first
    )
    _authorities.ensure_generations(store, Wish(current=2), create, check_mode=False)
    _authorities.ensure_generations(store, Wish(trusted=(2,)), create, check_mode=False)
    last = _authorities.read_generations(store)
    assert last == Generations((1, 2), 2, (2,))
    assert split_bundle(_authorities.read_bundle(store, last)) == [_authorities.read_certificate(store, 2)]
    assert _authorities.read_certificate(store, 1) == first, "a retired generation stays in the store"
    assert _authorities.load_authority(store, 2).certificate_pem == _authorities.read_certificate(store, 2)


def test_store_whose_state_was_not_written_yet_signs_with_the_newest(
    store: SecretStore, create: Callable[[int], Authority]
) -> None:
    _authorities.ensure_generations(store, Wish(), create, check_mode=False)
    Path(store.path, "ca/state.json").unlink()
    assert _authorities.ensure_generations(store, Wish(), create, check_mode=False) == (ONE, ONE)
    assert store.read("ca/state.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("?", "damaged"),
        ("{}", "damaged"),
        ('{"current": 5, "trusted": [1]}', "names a generation that is not in"),
    ],
)
def test_damaged_state_is_refused(
    store: SecretStore, create: Callable[[int], Authority], text: str, message: str
) -> None:
    _authorities.ensure_generations(store, Wish(), create, check_mode=False)
    Path(store.path, "ca/state.json").write_text(text)
    with pytest.raises(SecretStoreError, match=message):
        _authorities.read_generations(store)


def test_missing_key_is_named_with_the_ways_out(
    store: SecretStore, create: Callable[[int], Authority]
) -> None:
    _authorities.ensure_generations(store, Wish(), create, check_mode=False)
    Path(store.path, "ca/1/ca.key").unlink()
    with pytest.raises(
        SecretStoreError, match=r"ca/1/ca\.key is missing: restore it from a backup, or make a new"
    ):
        _authorities.load_authority(store, 1)


def test_root_warns_in_its_last_tenth(create: Callable[[int], Authority]) -> None:
    root = create(1).certificate_pem
    assert _authorities.expiry_warning(root, AT + timedelta(days=3284)) is None
    assert "ends at 2036-11-18" in (_authorities.expiry_warning(root, AT + timedelta(days=3286)) or "")
