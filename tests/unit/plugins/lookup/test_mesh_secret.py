from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.meshnode.lab.plugins.lookup import mesh_secret
from ansible_collections.meshnode.lab.plugins.module_utils import _authorities, _controller, _gossip_keyring
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStore

from meshnode.pki.authority import Authority


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    made = SecretStore(str(tmp_path / ".secrets"), "dc1")

    def authority(generation: int) -> Authority:
        return Authority.create(f"g{generation}", at=_controller.now(), entropy=os.urandom)

    def key() -> _gossip_keyring.Key:
        return _gossip_keyring.make_key(32, _controller.now(), os.urandom)

    _authorities.ensure_generations(made, _authorities.Wish(), authority, check_mode=False)
    _authorities.ensure_generations(made, _authorities.Wish(new_generation=True), authority, check_mode=False)
    _gossip_keyring.ensure_keyring(made, _gossip_keyring.Wish(), key, check_mode=False)
    _gossip_keyring.ensure_keyring(made, _gossip_keyring.Wish(new_key=True), key, check_mode=False)
    return made


def test_each_term_reads_its_part_of_the_store(store: SecretStore) -> None:
    keys = _gossip_keyring.read_keys(store)
    assert mesh_secret.read(store, "gossip_key") == [keys[0].text]
    assert mesh_secret.read(store, "gossip_keyring") == [key.text for key in keys]
    assert mesh_secret.read(store, "gossip_fingerprints") == [key.fingerprint for key in keys]
    assert mesh_secret.read(store, "ca_certificate") == [store.read("ca/1/ca.crt")]
    assert mesh_secret.read(store, "ca_bundle")[0].count("BEGIN CERTIFICATE") == 2
    assert set(mesh_secret.TERMS) == {
        "gossip_key",
        "gossip_keyring",
        "gossip_fingerprints",
        "ca_certificate",
        "ca_bundle",
    }


@pytest.mark.parametrize("term", ["ca_key", "ca/1/ca.key", "", "../x"])
def test_nothing_else_can_be_looked_up(store: SecretStore, term: str) -> None:
    with pytest.raises(mesh_secret.SecretStoreError, match="can't be looked up: write one of gossip_key"):
        mesh_secret.read(store, term)


def test_empty_store_says_what_to_run(tmp_path: Path) -> None:
    empty = SecretStore(str(tmp_path), "dc1")
    with pytest.raises(mesh_secret.SecretStoreError, match="mesh_gossip_key first"):
        mesh_secret.read(empty, "gossip_key")
    with pytest.raises(mesh_secret.SecretStoreError, match="mesh_ca first"):
        mesh_secret.read(empty, "ca_bundle")
