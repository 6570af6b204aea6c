"""Keys that seal gossip: AES-GCM, the first key seals, every key opens.

A sealed payload is a version byte (0: PKCS#7 padded, 1: not padded), a 12-byte nonce, ciphertext and a 16-byte tag.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.base.gossip_key import GOSSIP_KEY_SIZES, gossip_key_fingerprint

__all__ = ["NONCE_BYTES", "SEALED_OVERHEAD", "Keyring", "NoKeyFitsError"]

NONCE_BYTES = 12
TAG_BYTES = 16
BLOCK_BYTES = 16
SEALED_OVERHEAD = 1 + NONCE_BYTES + TAG_BYTES
"""Bytes that sealing adds without padding."""
MAX_VERSION = 1


class NoKeyFitsError(RemoteProtocolError):
    """No installed key opens what the peer sent."""


class Keyring:
    """Ordered, mutable set of keys; shared with the layer that installs, uses and removes keys."""

    def __init__(self, keys: Iterable[bytes] = ()) -> None:
        self._ciphers: dict[bytes, AESGCM] = {}
        self._primary: bytes = b""
        for key in keys:
            self.add(key)

    def __bool__(self) -> bool:
        return bool(self._ciphers)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """Installed keys, the primary first."""
        return tuple(self._ciphers)

    @property
    def primary(self) -> bytes:
        """The key that seals; raises :class:`MeshError` on an empty ring."""
        if not self._primary:
            raise MeshError("the keyring is empty: install a key first")
        return self._primary

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Fingerprints of the installed keys, the primary first."""
        return tuple(gossip_key_fingerprint(key) for key in self._ciphers)

    def add(self, key: bytes) -> None:
        """Install ``key``; the first one becomes the primary. Installing a key again changes nothing."""
        if len(key) not in GOSSIP_KEY_SIZES:
            raise MeshError(
                f"a gossip key of {len(key)} bytes: 16, 24 or 32 bytes are needed (`consul keygen`)"
            )
        self._ciphers.setdefault(bytes(key), AESGCM(key))
        self._primary = self._primary or bytes(key)

    def use(self, key: bytes) -> None:
        """Seal with ``key`` from now on; raises :class:`MeshError` when it isn't installed."""
        if key not in self._ciphers:
            raise MeshError(
                f"key {gossip_key_fingerprint(key)} is not in the keyring ({self._listed()}): install it first"
            )
        self._primary = bytes(key)
        self._ciphers = {self._primary: self._ciphers.pop(self._primary), **self._ciphers}

    def remove(self, key: bytes) -> None:
        """Forget ``key``; raises :class:`MeshError` when it is the primary. One that isn't there is gone already."""
        if key == self._primary:
            raise MeshError(
                f"key {gossip_key_fingerprint(key)} is the primary key: use another one before removing it"
            )
        self._ciphers.pop(key, None)

    def seal(self, plain: bytes, nonce: bytes, aad: bytes, version: int = 1) -> bytes:
        """Seal ``plain`` with the primary key; ``nonce`` is 12 bytes never used before with it."""
        if version == 0:
            padding = BLOCK_BYTES - len(plain) % BLOCK_BYTES
            plain += bytes((padding,)) * padding
        return b"%c%b%b" % (version, nonce, self._ciphers[self.primary].encrypt(nonce, plain, aad))

    def open(self, sealed: bytes, aad: bytes) -> bytes:
        """Open what any installed key sealed.

        Raises :class:`NoKeyFitsError` when none does, :class:`RemoteProtocolError` when it can't be a sealed payload.
        """
        if len(sealed) < SEALED_OVERHEAD:
            raise RemoteProtocolError(f"{len(sealed)} bytes are too few for a sealed payload")
        version = sealed[0]
        if version > MAX_VERSION:
            raise RemoteProtocolError(f"sealing version {version} is unknown")
        nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        for cipher in self._ciphers.values():
            try:
                plain = cipher.decrypt(nonce, ciphertext, aad)
            except InvalidTag:
                continue
            return plain if version else _unpad(plain)
        raise NoKeyFitsError(f"no installed key opens it (installed: {self._listed()})")

    def _listed(self) -> str:
        return ", ".join(self.fingerprints) or "none"


def _unpad(plain: bytes) -> bytes:
    """Remove PKCS#7 padding (RFC 5652 6.3).

    The tag was right, so a wrong padding is a peer's bug or a changed version byte (the one byte that the seal does
    not cover), never an oracle.
    """
    padding = plain[-1] if plain else 0
    if not 1 <= padding <= BLOCK_BYTES or not plain.endswith(bytes((padding,)) * padding):
        raise RemoteProtocolError("a sealed payload has wrong padding")
    return plain[:-padding]
