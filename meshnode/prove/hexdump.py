"""Bytes as ``tcpdump -X`` shows them: offset, hex in pairs, and what a reader of the wire can read."""

from __future__ import annotations

__all__ = ["hexdump"]


def hexdump(data: bytes, offset: int = 0) -> str:
    """Sixteen bytes a line, each behind a tab: ``0x0010:  6865 6c6c 6f0a ...  hello.``; a space is a dot, too."""
    lines = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        pairs = " ".join(row[i : i + 2].hex() for i in range(0, len(row), 2))
        text = "".join(chr(byte) if 32 < byte < 127 else "." for byte in row)
        lines.append(f"\t0x{offset + start:04x}:  {pairs:<39}  {text}")
    return "\n".join(lines)
