"""The gossip keys that open sealed frames, read from a file or from standard input; never shown."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from pathlib import Path

from meshnode.base.errors import ConfigError, MeshError
from meshnode.gossip.memberlist.keyring import Keyring

__all__ = ["read_keys"]


def read_keys(path: str, flag: str = "-gossip-keyring") -> tuple[Keyring, list[str]]:
    """Keys of a keyring file (a JSON list) or of the controller's ``gossip.json``, and their base64 words."""
    shown = "standard input" if path == "-" else path
    try:
        content = json.loads(sys.stdin.read() if path == "-" else Path(path).read_text())
        listed = content["keys"] if isinstance(content, dict) else content
        words = [entry["key"] if isinstance(entry, dict) else entry for entry in listed]
        keys = [base64.b64decode(word, validate=True) for word in words]
    except OSError as error:
        raise MeshError(f"{flag}: can't read {shown}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        raise ConfigError(f"{flag}: {shown} is not a JSON list of base64 keys") from None
    if not keys:
        raise ConfigError(f"{flag}: {shown} holds no key")
    try:
        return Keyring(keys), words
    except MeshError as error:
        raise ConfigError(f"{flag}: {shown}: {error}") from None
