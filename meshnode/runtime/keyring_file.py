"""The keyring on disk, in Serf's and Consul's format: a JSON list of base64 keys, the primary first.

The file is 0600 in a directory of 0700, is written whole or not at all, and its keys appear in messages as
fingerprints only.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import stat
from collections.abc import Sequence
from pathlib import Path

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.gossip_key import gossip_key_fingerprint
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.runtime.private_file import write_private

__all__ = ["MAX_KEYRING_FILE_BYTES", "load_keyring", "open_keyring", "save_keyring"]

_log = logging.getLogger("meshnode.agent")
#: A ring of thousands of keys; anything larger is another file.
MAX_KEYRING_FILE_BYTES = 1 << 20
_RESTORE = "restore it, or delete it to begin with the key in `encrypt`"


def open_keyring(
    path: Path | None, encrypt: bytes | None, *, encrypt_from: str = "encrypt"
) -> Keyring | None:
    """The ring to start with: the file's if there is one, else one made of ``encrypt`` (and saved to ``path``).

    ``None`` means gossip in clear: neither is given. An ``encrypt`` that the file doesn't hold is passed over with a
    warning, as in Consul: after a rotation that is the usual case, and a restart must not fail of it. Raises
    :class:`ConfigError` when the file can't be used.
    """
    keys = load_keyring(path) if path is not None else []
    if keys and encrypt is not None and encrypt not in keys:
        known = ", ".join(map(gossip_key_fingerprint, keys))
        _log.warning(
            "%s is key %s and is not used: the keyring file %s counts once it exists, and holds %s (primary %s). Set "
            "`encrypt` to a key of the file; or, to start over with the configured key, delete the file",
            encrypt_from,
            gossip_key_fingerprint(encrypt),
            path,
            known,
            gossip_key_fingerprint(keys[0]),
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
        raise _unusable(path, f"is not JSON{where}: {_RESTORE}") from None
    if not isinstance(items, list) or not items:
        raise _unusable(path, f"is not a JSON list with at least one key: {_RESTORE}")
    return [_key(path, index, item) for index, item in enumerate(items)]


def _key(path: Path, index: int, item: object) -> bytes:
    try:
        if not isinstance(item, str):
            raise TypeError
        key = base64.b64decode(item, validate=True)
    except (TypeError, binascii.Error, ValueError):
        raise _unusable(path, f"has an entry {index} that is not a base64 key: {_RESTORE}") from None
    try:
        Keyring([key])
    except MeshError as error:
        raise _unusable(path, f"has as entry {index} {error}") from None
    return key


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError(f"keyring file {path} {why}", key="keyring_file")


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
