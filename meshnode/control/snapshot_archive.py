"""A snapshot as a file: a gzipped tar of ``meta.json``, ``state.bin`` and ``SHA256SUMS``, Consul's layout.

The same meta and state give the same bytes: no clock goes in. What is read is bounded before it is unpacked, every sum
is checked, and damage of any kind ends in :class:`RemoteProtocolError`. An archive that Consul wrote can be read too;
its ``state.bin`` is then Consul's and not ours. (Consul 1.2.3, snapshot/archive.go.)
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
import zlib
from dataclasses import dataclass
from typing import Final

from meshnode.base.errors import RemoteProtocolError

__all__ = [
    "MAX_ARCHIVE_BYTES",
    "MAX_STATE_BYTES",
    "SnapshotMeta",
    "parse_archive",
    "serialize_archive",
]

#: Bytes of a whole archive, compressed.
MAX_ARCHIVE_BYTES: Final = 1 << 29
#: Bytes of ``state.bin``.
MAX_STATE_BYTES: Final = 1 << 30
#: Bytes of all the rest: two small files, four headers and the tar's padding, which is 10 KiB at most.
MAX_FRAME_BYTES: Final = 1 << 20
#: Version of the layout, Raft's ``SnapshotVersion`` in Consul.
VERSION: Final = 1
_META: Final = "meta.json"
_STATE: Final = "state.bin"
_SUMS: Final = "SHA256SUMS"
_SUM_LINE: Final = re.compile(r"([0-9a-fA-F]{64})  (\S+)")
_GZIP: Final = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """What ``meta.json`` says: ``index`` of the last command in the state, ``term`` (here the epoch), size in bytes."""

    index: int
    term: int
    size: int
    id: str
    version: int = VERSION


def serialize_archive(meta: SnapshotMeta, state: bytes) -> bytes:
    """The archive of ``state``; ``meta.size`` must be its length (:class:`ValueError`)."""
    if meta.size != len(state):
        raise ValueError(f"meta says {meta.size} bytes, and the state has {len(state)}")
    described = {
        "Version": meta.version,
        "ID": meta.id,
        "Index": meta.index,
        "Term": meta.term,
        "Size": meta.size,
    }
    files = {_META: json.dumps(described).encode() + b"\n", _STATE: state}
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in (files | {_SUMS: sums.encode()}).items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(out.getvalue(), compresslevel=6, mtime=0)


def parse_archive(data: bytes, max_state_bytes: int = MAX_STATE_BYTES) -> tuple[SnapshotMeta, bytes]:
    """The meta and the state of an archive, checked; raises :class:`RemoteProtocolError`."""
    if len(data) > MAX_ARCHIVE_BYTES:
        raise _damaged(f"it has {len(data)} bytes, and {MAX_ARCHIVE_BYTES} is the most")
    files = _untar(_unzip(data, max_state_bytes + MAX_FRAME_BYTES))
    for name in (_META, _STATE, _SUMS):
        if name not in files:
            raise _damaged(f"{name} is missing from it")
    if len(files[_STATE]) > max_state_bytes:
        raise _damaged(f"{_STATE} has more than {max_state_bytes} bytes")
    _check_sums(files)
    meta = _parse_meta(files[_META])
    if meta.size != len(files[_STATE]):
        raise _damaged(f"{_META} says {meta.size} bytes, and {_STATE} has {len(files[_STATE])}")
    return meta, files[_STATE]


def _unzip(data: bytes, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(_GZIP)
    try:
        unpacked = inflater.decompress(data, max_bytes + 1)
    except zlib.error:
        raise _damaged("it is no gzip file, or a part of it was changed") from None
    if len(unpacked) > max_bytes:
        raise _damaged(f"it unpacks to more than {max_bytes} bytes")
    if not inflater.eof:
        raise _damaged("it is cut short")
    if inflater.unused_data:
        raise _damaged(f"{len(inflater.unused_data)} bytes follow its end")
    return unpacked


def _untar(data: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for entry in tar:
                stream = tar.extractfile(entry) if entry.isreg() and not entry.issparse() else None
                if stream is None or entry.name not in {_META, _STATE, _SUMS}:
                    raise _damaged(f"it holds {entry.name[:80]!r}, which no snapshot has")
                if entry.name in files:
                    raise _damaged(f"it holds {entry.name} twice")
                files[entry.name] = stream.read()
    except (tarfile.TarError, ValueError, EOFError, OverflowError, OSError):
        raise _damaged("what is in the gzip file is no tar archive, or it is cut short") from None
    return files


def _check_sums(files: dict[str, bytes]) -> None:
    seen = set()
    for line in files[_SUMS].decode("ascii", "replace").splitlines():
        match = _SUM_LINE.fullmatch(line)
        if match is None or match[2] not in {_META, _STATE}:
            raise _damaged(f"a line of {_SUMS} is no sum of {_META} or {_STATE}")
        if hashlib.sha256(files[match[2]]).hexdigest() != match[1].lower():
            raise _damaged(f"the checksum of {match[2]} is wrong")
        seen.add(match[2])
    for name in (_META, _STATE):
        if name not in seen:
            raise _damaged(f"{_SUMS} has no sum of {name}")


def _parse_meta(text: bytes) -> SnapshotMeta:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        raise _damaged(f"{_META} is not JSON") from None
    if not isinstance(row, dict):
        raise _damaged(f"{_META} is no object")
    numbers: dict[str, int] = {}
    for name in ("Index", "Term", "Size", "Version"):
        value = row.get(name)
        if type(value) is not int or not 0 <= value < 1 << 64:
            raise _damaged(f"{_META}: {name} is not a number from 0 to 2^64-1")
        numbers[name] = value
    if not isinstance(row.get("ID"), str):
        raise _damaged(f"{_META}: ID is not a text")
    return SnapshotMeta(
        numbers["Index"], numbers["Term"], numbers["Size"], row["ID"], version=numbers["Version"]
    )


def _damaged(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"the snapshot can't be used: {reason}")
