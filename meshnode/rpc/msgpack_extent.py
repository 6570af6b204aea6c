"""Where a msgpack value ends, found byte by byte and within bounds, before anything is built from it.

``msgpack.Unpacker`` checks a declared length only once that many bytes have come, and nested containers of one-byte
values grow seventyfold in memory. So the extent is measured first; what is within bounds goes to ``unpackb`` whole.
"""

from __future__ import annotations

from typing import Final

from meshnode.base.errors import RemoteProtocolError

__all__ = ["Extent"]

#: First byte -> bytes of the value without its children; 0 where a length field has to be read.
_SIZE: Final = bytes(
    [1] * 0xA0  # fixint, fixmap, fixarray
    + [1 + n for n in range(32)]  # fixraw
    + [1, 0, 1, 1]  # nil, never used, false, true
    + [0, 0, 0, 0, 0, 0]  # bin 8-32, ext 8-32
    + [5, 9, 2, 3, 5, 9, 2, 3, 5, 9]  # floats, uints, ints
    + [3, 4, 6, 10, 18]  # fixext 1-16
    + [0, 0, 0, 0, 0, 0, 0]  # str 8-32, array 16-32, map 16-32
    + [1] * 32  # negative fixint
)
#: First byte -> values that follow as children.
_CHILDREN: Final = bytes([0] * 0x80 + [2 * n for n in range(16)] + list(range(16)) + [0] * 0x60)
#: First byte -> (bytes of its length field, bytes between it and the payload, children per unit or 0 for bytes).
_LENGTH: Final[dict[int, tuple[int, int, int]]] = {
    0xC4: (1, 0, 0), 0xC5: (2, 0, 0), 0xC6: (4, 0, 0),
    0xC7: (1, 1, 0), 0xC8: (2, 1, 0), 0xC9: (4, 1, 0),
    0xD9: (1, 0, 0), 0xDA: (2, 0, 0), 0xDB: (4, 0, 0),
    0xDC: (2, 0, 1), 0xDD: (4, 0, 1), 0xDE: (2, 0, 2), 0xDF: (4, 0, 2),
}  # fmt: skip


class Extent:
    """Measures one value that starts at ``start`` of a growing buffer; each byte is looked at once."""

    __slots__ = ("_declared", "_max_bytes", "_max_values", "_pending", "_start", "end")

    def __init__(self, start: int, max_bytes: int, max_values: int) -> None:
        self._start = start
        self._max_bytes = max_bytes
        self._max_values = max_values
        self._declared = self._pending = 1
        #: After ``advance`` returned true: the position behind the value.
        self.end = start

    def advance(self, buffer: bytearray) -> bool:
        """Go on with what ``buffer`` holds by now; true once the whole value is in it.

        Raises ``RemoteProtocolError`` as soon as what was *declared* passes a bound, however little of it has come.
        """
        position, pending, declared, available = self.end, self._pending, self._declared, len(buffer)
        while pending and position < available:
            first = buffer[position]
            if size := _SIZE[first]:
                children = _CHILDREN[first]
                position += size
            else:
                if first == 0xC1:
                    raise RemoteProtocolError("msgpack: the byte 0xc1 starts no value")
                width, gap, per_unit = _LENGTH[first]
                if position + 1 + width > available:
                    break
                length = int.from_bytes(buffer[position + 1 : position + 1 + width])
                children = length * per_unit
                position += 1 + width + gap + (0 if per_unit else length)
            pending += children - 1
            declared += children
            if position + pending - self._start > self._max_bytes:
                raise RemoteProtocolError(f"msgpack: a value is longer than {self._max_bytes} bytes")
            if declared > self._max_values:
                raise RemoteProtocolError(f"msgpack: a value holds more than {self._max_values} values")
        self.end, self._pending, self._declared = position, pending, declared
        return not pending and position <= available

    def rebase(self, dropped: int) -> None:
        """The buffer lost ``dropped`` bytes at its head, none of them of this value."""
        self._start -= dropped
        self.end -= dropped
