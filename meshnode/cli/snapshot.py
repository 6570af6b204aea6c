"""``snapshot save``, ``restore`` and ``inspect``: the whole state of the servers as one file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from meshnode.base.errors import MeshError
from meshnode.base.goflags import FlagError, FlagSet, Parsed
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.output import FormatFlag, labelled, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshnode.control.snapshot_archive import SnapshotMeta

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Run ``save``, ``restore`` or ``inspect``."""
    commands = {"save": _save, "restore": _restore, "inspect": _inspect}
    commands[args[0]](args[1:])
    return 0


def _save(args: list[str]) -> None:
    flags = FlagSet(
        "snapshot save",
        "Usage: consul snapshot save [options] FILE",
        "Writes the state of the servers at one index to FILE: keys, catalog, sessions, queries and ACLs. Whoever "
        "can read the file can read all of that: it is made for its owner only. FILE is replaced once what was "
        "received is whole.",
    )
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    path = _file_of(parsed)
    client = client_flags.client(parsed, "Error saving snapshot")
    unverified = f"{path}.unverified"
    try:
        _write(unverified, client.stream("/v1/snapshot", client_flags.query(parsed)))
        meta = _meta_of(unverified, "Error verifying snapshot file")
        try:
            os.replace(unverified, path)
        except OSError as error:
            raise MeshError(f"Error renaming {unverified!r} to {path!r}: {error.strerror}") from None
    except BaseException:
        _remove(unverified)
        raise
    print(f"Saved and verified snapshot to index {meta.index}")


def _restore(args: list[str]) -> None:
    flags = FlagSet(
        "snapshot restore",
        "Usage: consul snapshot restore [options] FILE",
        "Replaces the state of the servers with the one in FILE. What was written since is lost. The file is checked "
        "before it is sent.",
    )
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    path = _file_of(parsed)
    data = _read(path, "Error opening snapshot file")
    _meta_in(data, path, "Error restoring snapshot")
    client_flags.client(parsed, "Error restoring snapshot").call(
        "PUT", "/v1/snapshot", client_flags.write_query(parsed), data
    )
    print("Restored snapshot")


def _inspect(args: list[str]) -> None:
    flags = FlagSet(
        "snapshot inspect",
        "Usage: consul snapshot inspect [options] FILE",
        "Checks a snapshot file and prints what it says of itself. Asks no agent.",
    )
    output = FormatFlag(flags)
    parsed = flags.parse(args)
    as_json = output.is_json(parsed)
    meta = _meta_of(_file_of(parsed), "Error reading snapshot")
    values = {
        "ID": meta.id,
        "Size": meta.size,
        "Index": meta.index,
        "Term": meta.term,
        "Version": meta.version,
    }
    if as_json:
        print_json(values)
        return
    # Consul ends its table with an empty line.
    print(labelled([(name, str(value)) for name, value in values.items()]) + "\n")


def _file_of(parsed: Parsed) -> str:
    words = parsed.positionals
    if not words:
        raise FlagError("Missing FILE argument")
    if len(words) > 1:
        hint = f": {parsed.misplaced()[0]} must come before FILE" if parsed.misplaced() else ""
        raise FlagError(f"Too many arguments (expected 1, got {len(words)}){hint}")
    return words[0]


def _write(path: str, pieces: Iterable[bytes]) -> None:
    """Write what comes to a new file of the owner's; an old one that a killed run left must not lend its mode."""
    from meshnode.control.snapshot_archive import MAX_ARCHIVE_BYTES

    total = 0
    try:
        _remove(path)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            for piece in pieces:
                total += len(piece)
                if total > MAX_ARCHIVE_BYTES:
                    raise MeshError(f"Error saving snapshot: it has more than {MAX_ARCHIVE_BYTES} bytes")
                stream.write(piece)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise MeshError(f"Error writing unverified snapshot file: {path}: {error.strerror}") from None


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _read(path: str, failing: str) -> bytes:
    from meshnode.control.snapshot_archive import MAX_ARCHIVE_BYTES

    try:
        with open(path, "rb") as stream:
            return stream.read(MAX_ARCHIVE_BYTES + 1)
    except OSError as error:
        raise MeshError(f"{failing}: {path}: {error.strerror}") from None


def _meta_of(path: str, failing: str) -> SnapshotMeta:
    return _meta_in(_read(path, "Error opening snapshot file"), path, failing)


def _meta_in(data: bytes, path: str, failing: str) -> SnapshotMeta:
    from meshnode.control.snapshot_archive import parse_archive

    try:
        return parse_archive(data)[0]
    except MeshError as error:
        raise MeshError(f"{failing}: {path}: {error}") from None
