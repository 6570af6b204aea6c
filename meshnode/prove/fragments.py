"""IP fragments put together again (RFC 791 3.2, RFC 8200 4.5), in bounded memory.

A datagram that stays incomplete is counted: what was in it was on the wire and was not judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from meshnode.prove.frame import Datagram

__all__ = ["MAX_PENDING_DATAGRAMS", "Fragments"]

#: Datagrams that may be incomplete at a time; the oldest one is given up for a new one. Each has at most 64 KiB.
MAX_PENDING_DATAGRAMS: Final = 256
MAX_DATAGRAM_BYTES: Final = 65_535
#: Fragments of one datagram; one of 64 KiB over the smallest link of IPv6 has 54.
MAX_FRAGMENTS: Final = 128

_Key = tuple[bytes, bytes, int, int]


@dataclass(slots=True)
class _Pending:
    parts: dict[int, bytes] = field(default_factory=dict)
    total: int | None = None

    def joined(self) -> bytes | None:
        """All bytes once they are there; where fragments overlap, the earlier offset wins."""
        if self.total is None:
            return None
        whole = bytearray()
        for offset in sorted(self.parts):
            if offset > len(whole):
                return None
            whole += self.parts[offset][len(whole) - offset :]
        return bytes(whole[: self.total]) if len(whole) >= self.total else None


@dataclass(slots=True)
class Fragments:
    """Takes fragments, gives whole datagrams. ``lost`` counts datagrams that were given up."""

    lost: int = 0
    _pending: dict[_Key, _Pending] = field(default_factory=dict)

    def add(self, datagram: Datagram) -> Datagram | None:
        """The whole datagram when this fragment completes it, else ``None``."""
        assert datagram.fragment is not None
        identification, offset, more = datagram.fragment
        key = (datagram.source, datagram.destination, datagram.protocol, identification)
        if datagram.missing or offset + len(datagram.payload) > MAX_DATAGRAM_BYTES:
            self.lost += 1
            self._pending.pop(key, None)
            return None
        pending = self._pending.get(key)
        if pending is None:
            if len(self._pending) >= MAX_PENDING_DATAGRAMS:
                del self._pending[next(iter(self._pending))]
                self.lost += 1
            pending = self._pending[key] = _Pending()
        if len(pending.parts) < MAX_FRAGMENTS:
            pending.parts.setdefault(offset, datagram.payload)
        if not more:
            pending.total = offset + len(datagram.payload)
        whole = pending.joined()
        if whole is None:
            return None
        del self._pending[key]
        return datagram._replace(payload=whole, fragment=None)

    def finish(self) -> None:
        """Give up on what is still incomplete."""
        self.lost += len(self._pending)
        self._pending.clear()
