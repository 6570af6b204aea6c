from __future__ import annotations

import grp
import json
import os
import pwd
import stat
from pathlib import Path

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._files import (
    Absent,
    ConflictError,
    Directory,
    File,
    KeyringFile,
    Link,
    Ownership,
)

ME = pwd.getpwuid(os.geteuid()).pw_name
MINE = grp.getgrgid(os.getegid()).gr_name


def owned(mode: int) -> Ownership:
    return Ownership(ME, MINE, mode)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o755])
def test_a_new_file_has_its_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    file = File(str(tmp_path / "f"), b"x", owned(mode))
    before = os.umask(0)
    try:
        file.put()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == mode
    assert file.differences() == []
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda p: p.write_bytes(b"y"), ["content"]),
        (lambda p: p.chmod(0o666), ["mode 0666 -> 0640"]),
        (lambda p: p.unlink(), ["create"]),
        (lambda p: (p.unlink(), p.symlink_to("/etc/passwd")), ["replace a link"]),
    ],
)
def test_what_was_tampered_with_is_named_and_repaired(tmp_path: Path, harm: object, words: list[str]) -> None:
    file = File(str(tmp_path / "f"), b"x", owned(0o640))
    file.put()
    harm(tmp_path / "f")  # type: ignore[operator]
    assert file.differences() == words
    file.put()
    assert file.differences() == []
    assert not (tmp_path / "f").is_symlink()


def test_a_file_without_content_is_looked_after_but_not_written(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"made on the node")
    key.chmod(0o644)
    file = File(str(key), None, owned(0o600), "digest")
    assert file.differences() == ["mode 0644 -> 0600"]
    file.put()
    assert (file.differences(), key.read_bytes()) == ([], b"made on the node")


def test_a_user_that_does_not_exist_yet_is_a_difference(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "f").chmod(0o644)
    words = File(str(tmp_path / "f"), b"x", Ownership("nobody-has-this-name", MINE)).differences()
    assert words == [f"owner {ME} -> nobody-has-this-name"]


def test_the_diff_of_a_configuration_shows_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    old, new = ("b2xkLWtleS1vbGQta2V5LQ==", "bmV3LWtleS1uZXcta2V5LQ==")
    path.write_text(json.dumps({"encrypt": old, "log_level": "INFO"}))
    diff = File(
        str(path), json.dumps({"encrypt": new, "log_level": "DEBUG"}).encode(), owned(0o640), "json"
    ).diff()
    text = json.dumps(diff)
    assert old not in text
    assert new not in text
    assert "(secret " in diff["before"]
    assert diff["before"].count("(secret ") == diff["after"].count("(secret ") == 1
    assert '"log_level": "DEBUG"' in diff["after"]


def test_the_diff_of_what_should_be_json_and_is_not_shows_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text('encrypt = "c2VjcmV0c2VjcmV0c2VjcmV0"')
    assert "c2VjcmV0" not in json.dumps(File(str(path), b"{}", owned(0o640), "json").diff())


def test_certificates_are_shown_as_digests(tmp_path: Path) -> None:
    diff = File(str(tmp_path / "c"), b"-----BEGIN CERTIFICATE-----", owned(0o644), "digest").diff()
    assert "BEGIN" not in diff["after"]
    assert "SHA-256" in diff["after"]


def test_a_directory_in_the_place_of_a_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(ConflictError, match="move it away"):
        File(str(tmp_path / "d"), b"x", owned(0o644)).differences()
    with pytest.raises(ConflictError, match="move its files there"):
        Link(str(tmp_path / "d"), "/elsewhere").differences()


def test_a_directory_is_made_with_its_parents_and_repaired(tmp_path: Path) -> None:
    directory = Directory(str(tmp_path / "a" / "b"), owned(0o750))
    assert directory.differences() == ["create"]
    directory.put()
    assert directory.differences() == []
    (tmp_path / "a" / "b").chmod(0o777)
    assert directory.differences() == ["mode 0777 -> 0750"]
    directory.put()
    assert directory.differences() == []


def test_a_link_is_switched_over_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "current"
    for target in ("releases/a", "releases/b"):
        link = Link(str(path), target)
        assert link.differences()
        link.put()
        assert link.differences() == []
    assert os.readlink(path) == "releases/b"
    assert [entry.name for entry in tmp_path.iterdir()] == ["current"]


def test_what_must_not_be_there_is_removed(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    gone = Absent(str(tmp_path / "f"))
    assert gone.differences() == ["remove"]
    gone.put()
    assert gone.differences() == []


def keyring(tmp_path: Path, *keys: str) -> KeyringFile:
    return KeyringFile(str(tmp_path / "ring"), json.dumps(keys).encode(), owned(0o600), "digest")


def test_a_keyring_is_written_for_its_owner_only_and_shown_as_a_digest(tmp_path: Path) -> None:
    ring = keyring(tmp_path, "first", "second")
    assert ring.differences() == ["create"]
    assert "first" not in json.dumps(ring.diff())
    ring.put()
    assert ring.differences() == []
    assert json.loads((tmp_path / "ring").read_bytes()) == ["first", "second"]
    assert stat.S_IMODE((tmp_path / "ring").stat().st_mode) == 0o600


def test_keys_that_the_agent_took_up_since_are_left_in_the_ring_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    path.write_text('["newer", "first"]')
    path.chmod(0o644)
    ring = keyring(tmp_path, "first")
    assert ring.differences() == ["mode 0644 -> 0600"]
    assert ring.diff()["before"] in ring.diff()["after"]
    ring.put()
    assert (ring.differences(), path.read_text()) == ([], '["newer", "first"]')


@pytest.mark.parametrize("damaged", ['["other"]', "[]", "not JSON", "7", '[["first"]]', '{"first": 1'])
def test_a_ring_that_lacks_a_key_is_written_anew(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "ring").write_text(damaged)
    (tmp_path / "ring").chmod(0o600)
    ring = keyring(tmp_path, "first")
    assert ring.differences() == ["content"]
    ring.put()
    assert (tmp_path / "ring").read_text() == '["first"]'
