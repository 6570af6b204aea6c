"""``Snapshot.Save`` and ``Snapshot.Restore``: the whole state as an archive, and back, through the log."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from typing import Any

from meshnode.acl.authorizer import Access, Resource, require
from meshnode.base.errors import MeshError
from meshnode.control.body import Body, octets
from meshnode.control.command import RestoreChunk, RestoreCommit
from meshnode.control.log import LogError
from meshnode.control.machine import Refusal, StateMachine
from meshnode.control.restoring import CHUNK_BYTES
from meshnode.control.snapshot_archive import SnapshotMeta, parse_archive, serialize_archive
from meshnode.rpc.method import RpcError
from meshnode.runtime.cluster_state import ClusterState, held

__all__ = ["StateSnapshots"]

_log = logging.getLogger("meshnode.state")


class StateSnapshots:
    """``state`` gives this server's copy; asked only where it has one."""

    def __init__(self, state: Callable[[], ClusterState | None]) -> None:
        self._state = state

    async def save(self, body: Body, token: str) -> dict[str, Any]:
        """The archive as ``Archive``, and the index that it shows; needs the right to write ACLs, as in Consul."""
        del body
        state = held(self._state())
        require(state.authorizer(token), Resource.ACL, "", Access.WRITE)
        machine = state.machine
        index, epoch, chunks = machine.last_index, machine.epoch, machine.snapshot()
        archive = await asyncio.to_thread(_pack, chunks, index, epoch)
        return {"Archive": archive, **state.facts(index)}

    async def restore(self, body: Body, token: str) -> dict[str, Any]:
        """Replace the whole state by that of ``Archive``: all of it or nothing."""
        state = held(self._state())
        require(state.authorizer(token), Resource.ACL, "", Access.WRITE)
        try:
            data = await asyncio.to_thread(_unpack, octets(body, "Archive"))
        except MeshError as error:
            raise RpcError(f"failed to read snapshot file: {error}") from None
        epoch, restore_id = state.log.leadership.epoch, str(uuid.uuid4())
        pieces = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
        try:
            for position, piece in enumerate(pieces):
                await state.submit(RestoreChunk(restore_id, position, piece, epoch), epoch=epoch)
            result = await state.submit(RestoreCommit(restore_id, len(pieces), epoch), epoch=epoch)
        except LogError:
            # What has come of it so far may go; a new leader drops it by itself.
            await _drop(state, restore_id, epoch)
            raise
        if isinstance(result, Refusal):
            raise RpcError(f"failed to restore the snapshot: {result.because}")
        _log.info("the state was replaced by that of a snapshot of %d bytes", len(data))
        await state.snapshot()
        return state.facts(state.machine.last_index)


async def _drop(state: ClusterState, restore_id: str, epoch: int) -> None:
    try:
        await state.submit(RestoreCommit(restore_id, 0, epoch), epoch=epoch)
    except LogError as error:
        _log.warning(
            "the pieces of a snapshot that didn't arrive whole stay until the next election: %s", error
        )


def _pack(chunks: Any, index: int, epoch: int) -> bytes:
    data = b"".join(chunks)
    name = f"{epoch}-{index}"
    return serialize_archive(SnapshotMeta(index=index, term=epoch, size=len(data), id=name), data)


def _unpack(archive: bytes) -> bytes:
    """The state of an archive, tried out whole. Raises :class:`RemoteProtocolError`."""
    _, data = parse_archive(archive)
    StateMachine().restore(data)
    return data
