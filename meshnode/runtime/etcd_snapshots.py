"""Snapshots kept in etcd, in pieces: any server can start from etcd alone, and none has to ask another.

``snapshots/<token>/<n>``  a piece, 1 MiB at most; the token is new for each snapshot
``snapshot``               the manifest: index, size, SHA-256 and the directory of the pieces

The manifest is put last, in one transaction with the removal of all other pieces: it is the whole snapshot or nothing.
What this costs is a snapshot's bytes through etcd's log each time, so save one every few thousand entries, not often.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Iterator
from typing import Any, Final, NamedTuple, Protocol

import msgpack
from grpclib.const import Status

from meshnode.control.log import LogCorruptError, Snapshot
from meshnode.runtime.etcd_client import EtcdRefusedError
from meshnode.runtime.etcd_election import delete, first_after, put
from meshnode.runtime.etcd_messages import RANGE, Method, message

__all__ = ["MAX_SNAPSHOT_BYTES", "PIECE_BYTES", "EtcdSnapshots"]

#: Bytes of one piece; a request to etcd is at most 1.5 MiB.
PIECE_BYTES: Final = 1 << 20
#: Bytes of a snapshot: etcd's whole database is 2 GiB by default, and holds two of them while one replaces the other.
MAX_SNAPSHOT_BYTES: Final = 512 << 20


class Read(Protocol):
    """A call that is repeated until a member answers."""

    def __call__(self, method: Method, request: Any) -> Awaitable[Any]:
        """The answer."""


class _Manifest(NamedTuple):
    last: int
    size: int
    sha256: bytes
    directory: bytes


class EtcdSnapshots:
    """The snapshots under one prefix."""

    def __init__(self, prefix: bytes) -> None:
        self._manifest_key, self._pieces = prefix + b"snapshot", prefix + b"snapshots/"

    def to_save(self, snapshot: Snapshot) -> Iterator[list[Any]]:
        """The transactions to make, in this order: the pieces, then the manifest. Raises ``ValueError``."""
        data = snapshot.data
        if len(data) > MAX_SNAPSHOT_BYTES:
            raise ValueError(f"a snapshot in etcd has at most {MAX_SNAPSHOT_BYTES} bytes, not {len(data)}")
        directory = self._pieces + secrets.token_hex(8).encode() + b"/"
        for number, start in enumerate(range(0, len(data), PIECE_BYTES)):
            yield [put(directory + b"%08x" % number, data[start : start + PIECE_BYTES])]
        manifest = _Manifest(snapshot.index, len(data), hashlib.sha256(data).digest(), directory)
        yield [
            put(self._manifest_key, msgpack.packb(manifest)),
            delete(self._pieces, directory),
            delete(first_after(directory), first_after(self._pieces)),
        ]

    async def covered(self, read: Read) -> int:
        """The index of the snapshot that holds; 0: there is none."""
        manifest, _ = await self._manifest(read)
        return manifest.last if manifest is not None else 0

    async def load(self, read: Read) -> Snapshot | None:
        """The snapshot that holds, read at one revision of etcd, so that a newer one doesn't get mixed in."""
        while True:
            manifest, revision = await self._manifest(read)
            if manifest is None:
                return None
            try:
                return await self._load(manifest, revision, read)
            except EtcdRefusedError as error:
                if error.status is not Status.OUT_OF_RANGE:  # that revision was compacted meanwhile
                    raise

    async def _manifest(self, read: Read) -> tuple[_Manifest | None, int]:
        reply = await read(RANGE, message("RangeRequest", key=self._manifest_key))
        if not reply.kvs:
            return None, reply.header.revision
        try:
            manifest = _Manifest(*msgpack.unpackb(reply.kvs[0].value))
        except (ValueError, TypeError) as error:
            raise LogCorruptError(f"the snapshot's manifest in etcd can't be read: {error}") from error
        return manifest, reply.header.revision

    async def _load(self, manifest: _Manifest, revision: int, read: Read) -> Snapshot:
        data = bytearray()
        for number in range(-(-manifest.size // PIECE_BYTES)):
            key = manifest.directory + b"%08x" % number
            reply = await read(RANGE, message("RangeRequest", key=key, revision=revision))
            data += reply.kvs[0].value if reply.kvs else b""
        if len(data) != manifest.size or hashlib.sha256(data).digest() != manifest.sha256:
            raise LogCorruptError(f"the snapshot at index {manifest.last} in etcd isn't what was saved")
        return Snapshot(manifest.last, bytes(data))
