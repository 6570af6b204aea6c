"""The keyring on disk."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.gossip_key import gossip_key_fingerprint
from meshnode.runtime.keyring_file import MAX_KEYRING_FILE_BYTES, load_keyring, open_keyring, save_keyring

ONE, TWO, THREE = b"1" * 16, b"2" * 24, b"3" * 32


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def written(path: Path, content: str, mode: int = 0o600) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path


def test_keys_are_saved_as_serf_saves_them_and_loaded_in_order(tmp_path: Path) -> None:
    path = tmp_path / "serf" / "local.keyring"
    save_keyring(path, [TWO, ONE])
    assert path.read_text() == f'[\n  "{text(TWO)}",\n  "{text(ONE)}"\n]\n'
    assert load_keyring(path) == [TWO, ONE]


def test_the_file_and_its_directory_are_private_and_no_other_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "serf" / "local.keyring"
    old_mask = os.umask(0)
    try:
        save_keyring(path, [ONE])
        save_keyring(path, [TWO])
    finally:
        os.umask(old_mask)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [item.name for item in path.parent.iterdir()] == ["local.keyring"]


def test_a_file_that_cannot_be_replaced_keeps_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "local.keyring"
    path.mkdir()
    with pytest.raises(MeshError, match="can't be written"):
        save_keyring(path, [ONE])
    assert [item.name for item in tmp_path.iterdir()] == ["local.keyring"]


def test_no_file_means_no_keys(tmp_path: Path) -> None:
    assert load_keyring(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "not JSON"),
        ("{}", "not a JSON list"),
        ("[]", "at least one key"),
        ('["%%%"]', "entry 0 that is not a base64 key"),
        (json.dumps([text(ONE), 5]), "entry 1 that is not a base64 key"),
        (json.dumps([text(ONE), text(b"short")]), "entry 1 a gossip key of 5 bytes: 16, 24 or 32"),
        ("[" + " " * MAX_KEYRING_FILE_BYTES + "]", "larger than"),
    ],
)
def test_a_file_that_is_no_keyring_is_named_with_the_reason(tmp_path: Path, content: str, said: str) -> None:
    path = written(tmp_path / "local.keyring", content)
    with pytest.raises(ConfigError, match=said) as caught:
        load_keyring(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("mode", "fine"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False)])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int, fine: bool) -> None:
    path = written(tmp_path / "local.keyring", json.dumps([text(ONE)]), mode)
    if fine:
        assert load_keyring(path) == [ONE]
    else:
        with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
            load_keyring(path)


def test_the_configured_key_starts_the_ring_and_the_file(tmp_path: Path) -> None:
    path = tmp_path / "local.keyring"
    ring = open_keyring(path, ONE)
    assert ring is not None
    assert ring.keys == (ONE,)
    assert load_keyring(path) == [ONE]


def test_once_it_exists_the_file_counts_even_with_another_primary(tmp_path: Path) -> None:
    path = tmp_path / "local.keyring"
    save_keyring(path, [TWO, ONE])
    for configured in (ONE, TWO, None):
        ring = open_keyring(path, configured)
        assert ring is not None
        assert ring.keys == (TWO, ONE)
    assert load_keyring(path) == [TWO, ONE]


def test_a_configured_key_that_the_file_does_not_hold_is_passed_over_with_all_fingerprints(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "local.keyring"
    save_keyring(path, [TWO, ONE])
    ring = open_keyring(path, THREE)
    assert ring is not None
    assert ring.keys == (TWO, ONE)
    (message,) = caplog.messages
    for key in (ONE, TWO, THREE):
        assert gossip_key_fingerprint(key) in message
        assert text(key) not in message
    assert "encrypt" in message
    assert str(path) in message
    assert "delete the file" in message
    assert load_keyring(path) == [TWO, ONE]


def test_without_key_and_file_gossip_is_in_clear(tmp_path: Path) -> None:
    assert open_keyring(tmp_path / "absent", None) is None
    assert open_keyring(None, None) is None
    assert not (tmp_path / "absent").exists()
