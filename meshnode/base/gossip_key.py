"""Gossip keys as text: base64 of 16, 24 or 32 bytes (AES-128, AES-192, AES-256), as ``encrypt`` has them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Final

from meshnode.base.errors import ConfigError

__all__ = ["GOSSIP_KEY_SIZES", "generate_gossip_key", "gossip_key_fingerprint", "parse_gossip_key"]

GOSSIP_KEY_SIZES: Final = (16, 24, 32)
FINGERPRINT_DIGITS: Final = 8
#: Base64 of 32 bytes has 44 characters; anything much longer isn't worth decoding.
MAX_TEXT_LENGTH: Final = 64

_SIZES_TEXT: Final = "16, 24 or 32"


def generate_gossip_key(entropy: Callable[[int], bytes], size: int = 16) -> str:
    """Base64 of ``size`` bytes of ``entropy``; raises :class:`ConfigError` for a size that AES doesn't have."""
    if size not in GOSSIP_KEY_SIZES:
        raise ConfigError(f"a gossip key has {_SIZES_TEXT} bytes, not {size}", key="size")
    return base64.b64encode(entropy(size)).decode()


def parse_gossip_key(text: str, where: str = "") -> bytes:
    """The key's bytes; raises :class:`ConfigError` that says what is wrong and never shows ``text``."""
    stripped = text.strip()
    hint = "make one with 'meshnode keygen'"
    if not stripped:
        raise ConfigError(f"the gossip key is empty: {hint}", key="encrypt", where=where)
    try:
        if len(stripped) > MAX_TEXT_LENGTH:
            raise ValueError
        key = base64.b64decode(stripped, validate=True)
    except (ValueError, binascii.Error):
        raise ConfigError(
            f"the gossip key ({len(stripped)} characters) is not base64: {hint}", key="encrypt", where=where
        ) from None
    if len(key) not in GOSSIP_KEY_SIZES:
        raise ConfigError(
            f"the gossip key decodes to {len(key)} bytes, and AES takes {_SIZES_TEXT}: {hint}",
            key="encrypt",
            where=where,
        )
    return key


def gossip_key_fingerprint(key: bytes) -> str:
    """A name for the key that may be shown: ``base64 -d | sha256sum | cut -c1-8`` prints the same."""
    return hashlib.sha256(key).hexdigest()[:FINGERPRINT_DIGITS]
