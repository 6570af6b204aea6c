"""A snapshot on its way through the log in pieces, before it replaces the state."""

from __future__ import annotations

from typing import Final

__all__ = ["CHUNK_BYTES", "Restoring"]

#: Bytes of one piece: half of the largest command.
CHUNK_BYTES: Final = 512 * 1024


class Restoring:
    """The pieces so far of one restore; another one's first piece drops them."""

    def __init__(self) -> None:
        self._id = ""
        self._pieces: list[bytes] = []

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def clear(self) -> None:
        """Drop what there is."""
        self._id = ""
        self._pieces.clear()

    def add(self, restore_id: str, position: int, data: bytes) -> None:
        """Take a piece; one out of order spoils the restore, which ``take`` then tells."""
        if position == 0:
            self.clear()
            self._id = restore_id
        if restore_id == self._id and position == len(self._pieces):
            self._pieces.append(data)

    def take(self, restore_id: str, pieces: int) -> bytes | None:
        """The snapshot, if these are all of its pieces; nothing is kept either way."""
        whole = restore_id == self._id and pieces > 0 and pieces == len(self._pieces)
        data = b"".join(self._pieces) if whole else None
        if restore_id == self._id:
            self.clear()
        return data
