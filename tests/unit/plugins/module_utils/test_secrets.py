from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _secrets
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import (
    AlreadyStoredError,
    SecretStore,
    SecretStoreError,
    read_gossip_keyring,
)

from tests.support.programs import excuse

ROOT = Path(__file__).parents[4]


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    return SecretStore(str(tmp_path / ".secrets"), "dc1")


def modes(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): stat.S_IMODE(p.lstat().st_mode) for p in [folder, *folder.rglob("*")]}


def test_nothing_is_created_by_looking(store: SecretStore, tmp_path: Path) -> None:
    assert not store.exists()
    assert store.read("ca/1/ca.key") is None
    assert list(store.list("ca")) == []
    assert list(tmp_path.iterdir()) == []


def test_everything_written_is_private_whatever_the_umask(store: SecretStore, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with store.lock():
            store.write_once("gossip.json", "{}")
            store.replace("issued/n1.json", "{}")
            store.write_folder_once("ca/1", {"ca.key": "k", "ca.crt": "c"})
    finally:
        os.umask(before)
    found = modes(tmp_path / ".secrets")
    assert len(found) == 10
    for name, mode in found.items():
        assert mode == (0o700 if (tmp_path / ".secrets" / name).is_dir() else 0o600), name


def test_private_even_when_the_umask_would_make_it_less(store: SecretStore, tmp_path: Path) -> None:
    before = os.umask(0o277)
    try:
        with store.lock():
            store.write_once("a", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / ".secrets/dc1/a").stat().st_mode) == 0o600


def test_secret_is_written_once(store: SecretStore) -> None:
    with store.lock():
        store.write_once("a", "first")
        with pytest.raises(AlreadyStoredError, match=r"/dc1/a exists and is never overwritten"):
            store.write_once("a", "second")
        store.write_folder_once("ca/1", {"ca.key": "first"})
        with pytest.raises(AlreadyStoredError, match=r"/dc1/ca/1 exists"):
            store.write_folder_once("ca/1", {"ca.key": "second"})
    assert (store.read("a"), store.read("ca/1/ca.key")) == ("first", "first")
    assert list(store.list()) == ["a", "ca"]


def test_empty_folder_made_by_someone_is_not_taken_over(store: SecretStore) -> None:
    with store.lock():
        os.makedirs(os.path.join(store.path, "ca/1"), mode=0o700)
        os.chmod(os.path.join(store.path, "ca"), 0o700)
        with pytest.raises(AlreadyStoredError):
            store.write_folder_once("ca/1", {"ca.key": "k"})


def test_index_is_replaced(store: SecretStore) -> None:
    with store.lock():
        store.replace("issued/n1.json", "1")
        store.replace("issued/n1.json", "2")
    assert store.read("issued/n1.json") == "2"
    assert list(store.list("issued")) == ["n1.json"]


def test_writing_needs_the_lock(store: SecretStore) -> None:
    for write in (store.write_once, store.replace):
        with pytest.raises(SecretStoreError, match="without the lock"):
            write("a", "text")
    with pytest.raises(SecretStoreError, match="without the lock"):
        store.write_folder_once("a", {})
    assert not store.exists()


def test_second_writer_is_told_who_has_the_lock_and_for_how_long(store: SecretStore) -> None:
    other = SecretStore(store.base, "dc1")
    told = rf"\.lock is held by process {os.getpid()} of \S+ on \S+ for 0 s"
    with store.lock(), pytest.raises(SecretStoreError, match=told), other.lock(timeout=0):
        pytest.fail("two writers at once")
    with other.lock(timeout=0):
        other.write_once("a", "text")


def test_clusters_do_not_wait_for_each_other(store: SecretStore) -> None:
    with store.lock(), SecretStore(store.base, "dc2").lock(timeout=0):
        pass


def test_lock_whose_text_is_damaged_still_says_what_it_can(store: SecretStore) -> None:
    with store.lock():
        Path(store.path, ".lock").write_text("?")
        other = SecretStore(store.base, "dc1")
        with pytest.raises(SecretStoreError, match="held by another process"), other.lock(timeout=0):
            pytest.fail("two writers at once")


WRITER = """
import sys
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStore
store = SecretStore(sys.argv[1], "dc1")
for _ in range(20):
    with store.lock():
        store.replace("counter", str(int(store.read("counter") or 0) + 1))
"""

KILLED = """
import os, sys
from ansible_collections.meshnode.lab.plugins.module_utils import _secrets
store = _secrets.SecretStore(sys.argv[1], "dc1")
os.rename = os.link = lambda *args, **kwargs: os._exit(9)
with store.lock():
    getattr(store, sys.argv[2])(sys.argv[3], eval(sys.argv[4]))
"""


def process(script: str, *args: str) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
    return subprocess.Popen([sys.executable, "-c", script, *args], env=environ)


def test_writers_in_several_processes_lose_nothing(store: SecretStore) -> None:
    writers = [process(WRITER, store.base) for _ in range(4)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    assert store.read("counter") == "80"


@pytest.mark.parametrize(
    ("verb", "name", "content"),
    [
        ("write_once", "a", "'half'"),
        ("replace", "a", "'half'"),
        ("write_folder_once", "ca/1", "{'ca.key': 'half'}"),
    ],
)
def test_killed_writer_leaves_nothing_behind_and_no_lock(
    store: SecretStore, verb: str, name: str, content: str
) -> None:
    assert process(KILLED, store.base, verb, name, content).wait(60) == 9
    left = [path for path in Path(store.path).rglob("*") if path.name.startswith(".tmp-")]
    assert left, "the writer was to be killed after it wrote its temporary file"
    assert store.read("a") is None
    assert "1" not in store.list("ca")
    with store.lock(timeout=5):
        store.write_once("b", "text")
    assert not [path for path in Path(store.path).rglob("*") if path.name.startswith(".tmp-")]


def test_error_of_the_caller_passes_through_and_frees_the_lock(store: SecretStore) -> None:
    with pytest.raises(FileNotFoundError, match="own"), store.lock():
        raise FileNotFoundError("own")
    with store.lock(timeout=0):
        pass


def test_store_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / ".secrets").symlink_to("real")
    store = SecretStore(str(tmp_path / ".secrets"), "dc1")
    with pytest.raises(SecretStoreError, match="follows no links; name the real directory"), store.lock():
        pass
    assert list((tmp_path / "real").iterdir()) == []


@pytest.mark.parametrize("link", ["dc1", "dc1/ca", "dc1/ca/1"])
def test_folder_that_is_a_link_is_refused(store: SecretStore, tmp_path: Path, link: str) -> None:
    trap = tmp_path / "trap"
    trap.mkdir(mode=0o700)
    place = Path(store.base, link)
    place.parent.mkdir(mode=0o700, parents=True)
    for folder in (Path(store.base), place.parent):
        folder.chmod(0o700)
    place.symlink_to(trap)
    with pytest.raises(SecretStoreError, match="link"), store.lock():
        store.write_once("ca/1/ca.key", "secret")
    with pytest.raises(SecretStoreError, match="link"):
        store.read("ca/1/ca.key")
    assert list(trap.iterdir()) == []


def test_file_that_is_a_link_is_neither_read_nor_written_through(store: SecretStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("not a secret")
    with store.lock():
        os.symlink(outside, os.path.join(store.path, "a"))
        with pytest.raises(SecretStoreError, match="link"):
            store.read("a")
        with pytest.raises(AlreadyStoredError):
            store.write_once("a", "secret")
        store.replace("a", "index")
    assert outside.read_text() == "not a secret"
    assert store.read("a") == "index"


def test_lock_that_is_a_link_is_refused(store: SecretStore, tmp_path: Path) -> None:
    Path(store.path).mkdir(mode=0o700, parents=True)
    Path(store.base).chmod(0o700)
    Path(store.path, ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SecretStoreError, match="link"), store.lock():
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/etc/passwd", "a//b", ".lock", "a\0b", "-x"])
def test_name_can_not_leave_the_store(store: SecretStore, name: str) -> None:
    with pytest.raises(SecretStoreError, match="is not a name in the store"):
        store.read(name)


@pytest.mark.parametrize("cluster", ["", "..", "a/b", ".x"])
def test_cluster_can_not_leave_the_store(tmp_path: Path, cluster: str) -> None:
    with pytest.raises(SecretStoreError, match="can't be a directory"):
        SecretStore(str(tmp_path), cluster)


@pytest.mark.parametrize(("path", "advice"), [("a", "chmod 600"), (".", "chmod 700"), ("..", "chmod 700")])
def test_what_others_can_read_is_refused_with_the_remedy(store: SecretStore, path: str, advice: str) -> None:
    with store.lock():
        store.write_once("a", "secret")
    opened = Path(store.path, path).resolve()
    opened.chmod(opened.stat().st_mode | 0o040)
    with pytest.raises(SecretStoreError, match=f"open to others: see who read it, then {advice} {opened}"):
        store.read("a")


@excuse("root", unless=os.geteuid() == 0)
def test_what_belongs_to_another_user_is_refused(store: SecretStore) -> None:
    with store.lock():
        store.write_once("a", "secret")
    os.chown(Path(store.path, "a"), 12345, -1)
    with pytest.raises(SecretStoreError, match="belongs to user 12345 and this process runs as user 0"):
        store.read("a")


def test_pipe_in_the_place_of_a_file_does_not_block(store: SecretStore) -> None:
    with store.lock():
        pass
    os.mkfifo(os.path.join(store.path, "a"), 0o600)
    with pytest.raises(SecretStoreError, match="neither a plain file"):
        store.read("a")


def test_size_of_a_file_is_bounded(store: SecretStore) -> None:
    with store.lock():
        store.write_once("full", "x" * _secrets.MAX_FILE_BYTES)
        store.write_once("over", "x" * (_secrets.MAX_FILE_BYTES + 1))
    assert len(store.read("full") or "") == _secrets.MAX_FILE_BYTES
    with pytest.raises(SecretStoreError, match="more than"):
        store.read("over")


def test_missing_parent_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(SecretStoreError, match=r"nowhere does not exist"),
        SecretStore(str(tmp_path / "nowhere/.secrets"), "dc1").lock(),
    ):
        pass


def test_file_systems_without_hard_links_write_once_too(
    store: SecretStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.EPERM, "no hard links")

    monkeypatch.setattr(os, "link", no_links)
    with store.lock():
        store.write_once("a", "first")
        with pytest.raises(AlreadyStoredError):
            store.write_once("a", "second")
    assert store.read("a") == "first"
    assert list(store.list()) == ["a"]


def test_keyring_is_read_in_order_and_hides_its_keys(store: SecretStore) -> None:
    assert read_gossip_keyring(store) is None
    keys = [{"key": "new", "created": "2026"}, {"key": "old", "created": "2025"}]
    with store.lock():
        store.write_once("gossip.json", json.dumps({"keys": keys}))
    keyring = read_gossip_keyring(store)
    assert keyring
    assert (keyring.primary, keyring.keys, keyring.created) == ("new", ("new", "old"), ("2026", "2025"))
    assert "new" not in repr(keyring)


@pytest.mark.parametrize("text", ["", "[]", '{"keys": [1]}', '{"keys": []}', '{"keys": [{"key": "secret"}]}'])
def test_damaged_keyring_is_refused_without_being_shown(store: SecretStore, text: str) -> None:
    with store.lock():
        store.write_once("gossip.json", text)
    with pytest.raises(SecretStoreError, match="restore it from a backup") as refused:
        read_gossip_keyring(store)
    assert "secret" not in str(refused.value).replace(".secrets", "")
