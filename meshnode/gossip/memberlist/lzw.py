"""LZW as Go's ``compress/lzw`` writes it: least significant bit first, 8-bit literals, codes of 9 to 12 bits.

The GIF flavour (GIF89a appendix F): code 256 clears the table, 257 ends the data.
"""

from __future__ import annotations

from meshnode.base.errors import RemoteProtocolError

__all__ = ["compress", "decompress"]

CLEAR, END = 256, 257
FIRST_WIDTH, MAX_WIDTH = 9, 12
LAST_CODE = (1 << MAX_WIDTH) - 1
_LITERALS = [bytes((value,)) for value in range(256)] + [b"", b""]


def decompress(data: bytes, limit: int) -> bytes:
    """Expand ``data`` to at most ``limit`` bytes.

    Raises :class:`RemoteProtocolError` on an impossible code, a missing end code or a result over ``limit``.
    """
    table = _LITERALS.copy()
    add = table.append
    out: list[bytes] = []
    emit = out.append
    previous = b""
    size = bits = held = 0
    width, mask, threshold = FIRST_WIDTH, (1 << FIRST_WIDTH) - 1, 1 << FIRST_WIDTH
    for byte in data:
        bits |= byte << held
        held += 8
        if held < width:
            continue
        code = bits & mask
        bits >>= width
        held -= width
        if code == CLEAR:
            del table[END + 1 :]
            previous = b""
            width, mask, threshold = FIRST_WIDTH, (1 << FIRST_WIDTH) - 1, 1 << FIRST_WIDTH
            continue
        if code == END:
            return b"".join(out)
        known = len(table)
        if code < known:
            entry = table[code]
        elif code == known and previous and known <= LAST_CODE:
            entry = previous + previous[:1]
        else:
            raise RemoteProtocolError("compressed data holds an impossible code")
        if previous and known <= LAST_CODE:
            add(previous + entry[:1])
            known += 1
        emit(entry)
        size += len(entry)
        if size > limit:
            raise RemoteProtocolError(f"compressed data expands to more than {limit} bytes")
        previous = entry
        if known >= threshold and width < MAX_WIDTH:
            width += 1
            threshold <<= 1
            mask = (1 << width) - 1
    raise RemoteProtocolError("compressed data ends without its end code")


def compress(data: bytes) -> bytes:
    """Compress ``data``."""
    codes: dict[bytes, int] = {literal: value for value, literal in enumerate(_LITERALS[:256])}
    out = bytearray()
    bits, held, width, top = CLEAR, FIRST_WIDTH, FIRST_WIDTH, END
    current = b""

    for value in data:
        longer = current + _LITERALS[value]
        if longer in codes:
            current = longer
            continue
        bits |= codes[current] << held
        held += width
        current = _LITERALS[value]
        top += 1
        if top == 1 << width:
            width += 1
        if top == LAST_CODE:
            bits |= CLEAR << held
            held += width
            codes = {literal: value for value, literal in enumerate(_LITERALS[:256])}
            width, top = FIRST_WIDTH, END
        else:
            codes[longer] = top
        while held >= 8:
            out.append(bits & 0xFF)
            bits >>= 8
            held -= 8
    if current:
        bits |= codes[current] << held
        held += width
        top += 1
        if top == 1 << width:
            width += 1
        if top == LAST_CODE:
            bits |= CLEAR << held
            held += width
            width = FIRST_WIDTH
    bits |= END << held
    held += width
    return bytes(out) + bits.to_bytes((held + 7) // 8, "little")
