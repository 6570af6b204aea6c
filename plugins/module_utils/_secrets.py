# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's store of secrets: ``<store>/<cluster>/``, directories 0700, files 0600. Standard library only.

::

    <store>/<cluster>/
        .lock                     who is writing, and since when
        ca/state.json             which generation signs, which ones are trusted
        ca/<generation>/ca.key    written once, together with ca.crt
        gossip.json               the keyring, the primary key first
        issued/<node>.json        what was issued to whom

A file appears complete or not at all: it is written under another name, synchronised, then linked (or renamed) into
place. Secrets are written once and never overwritten; only indexes are replaced. Writing needs the lock, reading
doesn't. Below the store no symbolic link is followed, whoever made it; what others could read or write is refused.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import getpass
import json
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LOCK_TIMEOUT = 30.0
LOCK_POLL_INTERVAL = 0.05
MAX_FILE_BYTES = 1024 * 1024

_LOCK_FILE = ".lock"
_TEMPORARY = ".tmp-"
_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class SecretStoreError(Exception):
    """The store can't be used; ``str()`` is a sentence with the path and the way out, and holds no secret."""


class AlreadyStoredError(SecretStoreError):
    """Something of that name is in the store, and secrets are never overwritten."""


class SecretStore:
    """The secrets of one cluster. Creates nothing until something is written under :meth:`lock`."""

    def __init__(self, store: str, cluster: str) -> None:
        if not _COMPONENT.fullmatch(cluster):
            raise SecretStoreError(
                f"cluster name {cluster!r} can't be a directory: use letters, digits, '.', '-', '_'"
            )
        self.base = os.path.abspath(os.path.expanduser(store))
        self.cluster = cluster
        self.path = os.path.join(self.base, cluster)
        self._lock_held = False

    def exists(self) -> bool:
        """Whether anything was ever stored."""
        return os.path.lexists(self.path)

    def read(self, name: str) -> str | None:
        """Text of the file ``name`` (``ca/1/ca.crt``), or ``None`` when there is none."""
        *folders, file = _components(name)
        try:
            with self._directory(folders) as directory:
                descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refusal(name, error) from None
        with os.fdopen(descriptor, "rb") as stream:
            self._check_private(name, os.fstat(descriptor), stat.S_ISREG)
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise SecretStoreError(
                f"{self.path}/{name} has more than {MAX_FILE_BYTES} bytes: it is no file of this store"
            )
        return data.decode("utf-8", errors="replace")

    def list(self, folder: str = "") -> list[str]:
        """Sorted names in ``folder``; empty when it doesn't exist. Temporary and hidden files are left out."""
        try:
            with self._directory(_components(folder) if folder else []) as directory:
                return sorted(name for name in os.listdir(directory) if not name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._refusal(folder, error) from None

    def write_once(self, name: str, content: str) -> None:
        """Store ``content`` as ``name``; raises :class:`AlreadyStoredError` when that exists. Needs the lock."""
        *folders, file = _components(name)
        with self._writing(name, folders) as directory:
            temporary = _write_temporary(directory, content)
            try:
                _link_new(directory, temporary, file)
            except FileExistsError:
                raise AlreadyStoredError(f"{self.path}/{name} exists and is never overwritten") from None
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=directory)

    def write_folder_once(self, name: str, files: Mapping[str, str]) -> None:
        """Store a folder with ``files``, all of them or none; raises :class:`AlreadyStoredError`. Needs the lock."""
        *folders, folder = _components(name)
        with self._writing(name, folders) as directory:
            if folder in os.listdir(directory):
                raise AlreadyStoredError(f"{self.path}/{name} exists and is never overwritten")
            temporary = _TEMPORARY + secrets.token_hex(8)
            os.mkdir(temporary, 0o700, dir_fd=directory)
            inner = os.open(temporary, _DIRECTORY_FLAGS, dir_fd=directory)
            try:
                os.fchmod(inner, 0o700)
                for file, content in files.items():
                    os.rename(
                        _write_temporary(inner, content),
                        *_components(file),
                        src_dir_fd=inner,
                        dst_dir_fd=inner,
                    )
                os.fsync(inner)
            finally:
                os.close(inner)
            os.rename(temporary, folder, src_dir_fd=directory, dst_dir_fd=directory)

    def replace(self, name: str, content: str) -> None:
        """Store ``content`` as ``name`` whether or not it exists: for indexes, not for secrets. Needs the lock."""
        *folders, file = _components(name)
        with self._writing(name, folders) as directory:
            os.rename(_write_temporary(directory, content), file, src_dir_fd=directory, dst_dir_fd=directory)

    @contextlib.contextmanager
    def lock(self, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
        """Be the only writer, waiting up to ``timeout`` seconds; creates the store. Ends with its process."""
        with contextlib.ExitStack() as stack:
            try:
                root = stack.enter_context(self._directory([], create=True))
                descriptor = os.open(_LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=root)
                stream = stack.enter_context(os.fdopen(descriptor, "r+"))
                self._check_private(_LOCK_FILE, os.fstat(descriptor), stat.S_ISREG)
                self._acquire(stream, timeout)
                _sweep(root)
            except OSError as error:
                raise self._refusal("", error) from None
            self._lock_held = True
            try:
                yield
            finally:
                self._lock_held = False
                stream.truncate(0)

    def _acquire(self, stream: Any, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise SecretStoreError(self._describe_owner(stream.read(1000), timeout)) from None
                time.sleep(LOCK_POLL_INTERVAL)
        stream.seek(0)
        stream.truncate(0)
        owner = {"pid": os.getpid(), "user": _user(), "host": socket.gethostname(), "since": time.time()}
        stream.write(json.dumps(owner))
        stream.flush()

    def _describe_owner(self, text: str, timeout: float) -> str:
        lock = f"{self.path}/{_LOCK_FILE}"
        try:
            owner = json.loads(text)
            age = max(0.0, time.time() - float(owner["since"]))
            who = f"process {owner['pid']} of {owner['user']} on {owner['host']} for {age:.0f} s"
        except (ValueError, KeyError, TypeError):
            who = "another process"
        return f"{lock} is held by {who} and was waited for {timeout:.0f} s: let that run end, or end that process"

    @contextlib.contextmanager
    def _writing(self, name: str, folders: Sequence[str]) -> Iterator[int]:
        if not self._lock_held:
            raise SecretStoreError(f"{self.path}/{name} is written without the lock: use SecretStore.lock()")
        try:
            with self._directory(folders, create=True) as directory:
                yield directory
                os.fsync(directory)
        except OSError as error:
            raise self._refusal(name, error) from None

    @contextlib.contextmanager
    def _directory(self, folders: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """Descriptor of a folder, reached from the store one component at a time and never through a link."""
        if create:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.base, 0o700)
        descriptor = os.open(self.base, _DIRECTORY_FLAGS)
        try:
            self._check_private("..", os.fstat(descriptor), stat.S_ISDIR)
            for place, component in enumerate([self.cluster, *folders]):
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(component, 0o700, dir_fd=descriptor)
                inner = os.open(component, _DIRECTORY_FLAGS, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
                self._check_private("/".join(folders[:place]), os.fstat(descriptor), stat.S_ISDIR)
            yield descriptor
        finally:
            os.close(descriptor)

    def _check_private(self, name: str, found: os.stat_result, is_kind: Any) -> None:
        path = os.path.normpath(os.path.join(self.path, name))
        if not is_kind(found.st_mode):
            raise SecretStoreError(f"{path} is neither a plain file nor a directory of the store: remove it")
        if found.st_uid != os.geteuid():
            raise SecretStoreError(
                f"{path} belongs to user {found.st_uid} and this process runs as user {os.geteuid()}: "
                "run the playbook as the owner of the store"
            )
        if found.st_mode & 0o077:
            mode = "700" if stat.S_ISDIR(found.st_mode) else "600"
            raise SecretStoreError(
                f"{path} has mode {stat.S_IMODE(found.st_mode):04o}, open to others: "
                f"see who read it, then chmod {mode} {path}"
            )

    def _refusal(self, name: str, error: OSError) -> SecretStoreError:
        path = os.path.normpath(os.path.join(self.path, name))
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return SecretStoreError(
                f"{path} or a directory on the way from {self.base} is a symbolic link or no directory: "
                "the store follows no links; name the real directory as the store"
            )
        if error.errno == errno.ENOENT:
            return SecretStoreError(
                f"{os.path.dirname(self.base)} does not exist: the store can't be created in it"
            )
        return SecretStoreError(f"{path}: {error.strerror}")


@dataclass(frozen=True)
class GossipKeyring:
    """Base64 keys, the primary first, with the day each was made. Secret: ``repr()`` shows none of them."""

    keys: tuple[str, ...] = field(repr=False)
    created: tuple[str, ...]

    @property
    def primary(self) -> str:
        """The key that seals: the value of ``encrypt``."""
        return self.keys[0]


def read_gossip_keyring(store: SecretStore) -> GossipKeyring | None:
    """The keyring in ``store``, or ``None`` when none was made yet.

    For code that runs on the controller and puts the keys into a node's files itself (an action plugin), so that
    they never become the argument of a task, a variable or a fact.
    """
    text = store.read("gossip.json")
    if text is None:
        return None
    try:
        entries = json.loads(text)["keys"]
        keyring = GossipKeyring(
            tuple(str(e["key"]) for e in entries), tuple(str(e["created"]) for e in entries)
        )
    except (ValueError, KeyError, TypeError):
        raise SecretStoreError(f"{store.path}/gossip.json is damaged: restore it from a backup") from None
    if not keyring.keys:
        raise SecretStoreError(f"{store.path}/gossip.json holds no key: restore it from a backup")
    return keyring


def _components(name: str) -> list[str]:
    parts = name.split("/")
    for part in parts:
        if not _COMPONENT.fullmatch(part):
            raise SecretStoreError(f"{name!r} is not a name in the store: use letters, digits, '.', '-', '_'")
    return parts


def _write_temporary(directory: int, content: str) -> str:
    name = _TEMPORARY + secrets.token_hex(8)
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=directory)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        os.fchmod(descriptor, 0o600)
        stream.write(content)
        stream.flush()
        os.fsync(descriptor)
    return name


def _link_new(directory: int, temporary: str, name: str) -> None:
    """Give the file its name unless that is taken, in one step; raises ``FileExistsError``."""
    try:
        os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # A file system without hard links: the lock still keeps other writers away between these two steps.
        if name in os.listdir(directory):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)


def _sweep(root: int) -> None:
    """Remove what writers left that were interrupted; only the holder of the lock may."""
    for _path, folders, files, directory in os.fwalk(".", topdown=False, follow_symlinks=False, dir_fd=root):
        for name in files:
            if name.startswith(_TEMPORARY):
                os.unlink(name, dir_fd=directory)
        for name in folders:
            if name.startswith(_TEMPORARY):
                _remove_folder(directory, name)


def _remove_folder(directory: int, name: str) -> None:
    if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=directory)
        return
    inner = os.open(name, _DIRECTORY_FLAGS, dir_fd=directory)
    try:
        for file in os.listdir(inner):
            os.unlink(file, dir_fd=inner)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=directory)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())
