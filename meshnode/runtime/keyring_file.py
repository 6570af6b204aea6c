"""The keyring on disk, in Serf's and Consul's format: a JSON list of base64 keys, the primary first.

The file is 0600 in a directory of 0700, is written whole or not at all, and its keys appear in messages as
fingerprints only.
"""

from __future__ import annotations

import base64
import binascii
import json
import stat
from collections.abc import Sequence
from pathlib import Path

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.gossip_key import gossip_key_fingerprint
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.runtime.private_file import write_private

__all__ = ["MAX_KEYRING_FILE_BYTES", "load_keyring", "open_keyring", "save_keyring"]

#: A ring of thousands of keys; anything larger is another file.
MAX_KEYRING_FILE_BYTES = 1 << 20


def open_keyring(
    path: Path | None, encrypt: bytes | None, *, encrypt_from: str = "encrypt"
) -> Keyring | None:
    """The ring to start with: the file's if there is one, else one made of ``encrypt`` (and saved to ``path``).

    ``None`` means gossip in clear: neither is given. Raises :class:`ConfigError` when the file can't be used, or when
    it does not contain ``encrypt``: the two would put this node into different clusters.
    """
    keys = load_keyring(path) if path is not None else []
    if keys and encrypt is not None and encrypt not in keys:
        known = ", ".join(map(gossip_key_fingerprint, keys))
        raise ConfigError(
            f"{encrypt_from} is key {gossip_key_fingerprint(encrypt)} but the keyring file {path} holds {known} "
            f"(primary {gossip_key_fingerprint(keys[0])}): the file counts once it exists. Remove `encrypt` or set it "
            f"to a key of the file; or, to start over with the configured key, delete {path}",
            key="encrypt",
        )
    if keys:
        return Keyring(keys)
    if encrypt is None:
        return None
    ring = Keyring([encrypt])
    if path is not None:
        save_keyring(path, ring.keys)
    return ring


def load_keyring(path: Path) -> list[bytes]:
    """Keys of the file, primary first; the empty list when there is no file."""
    try:
        mode = path.stat().st_mode
        if path.stat().st_size > MAX_KEYRING_FILE_BYTES:
            raise _unusable(path, f"is larger than {MAX_KEYRING_FILE_BYTES} bytes")
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unusable(path, f"can't be read: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _unusable(path, f"is open to others (mode {stat.S_IMODE(mode):04o}): run `chmod 600 {path}`")
    try:
        items = json.loads(text)
    except ValueError as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise _unusable(path, f"is not JSON{where}") from None
    if not isinstance(items, list) or not items:
        raise _unusable(path, "is not a JSON list with at least one key")
    return [_key(path, index, item) for index, item in enumerate(items)]


def _key(path: Path, index: int, item: object) -> bytes:
    try:
        if not isinstance(item, str):
            raise TypeError
        key = base64.b64decode(item, validate=True)
    except (TypeError, binascii.Error, ValueError):
        raise _unusable(path, f"has an entry {index} that is not a base64 key") from None
    try:
        Keyring([key])
    except MeshError as error:
        raise _unusable(path, f"has as entry {index} {error}") from None
    return key


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError(f"keyring file {path} {why}", key="keyring_file", where=str(path))


def save_keyring(path: Path, keys: Sequence[bytes]) -> None:
    """Write ``keys``, primary first; after a crash the file holds the old keys or the new ones.

    Raises :class:`MeshError` when that fails; the old file is then untouched.
    """
    text = json.dumps([base64.b64encode(key).decode() for key in keys], indent=2) + "\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, text.encode())
    except OSError as error:
        raise MeshError(f"keyring file {path} can't be written: {error.strerror}") from error
