"""Bundles of evidence on disk: a directory, or a .tar.gz of it. What is in one is said in ``cli/prove_bundle``.

A bundle appears whole or not at all. An archive ends in an empty gzip member whose comment is the SHA-256 of all that
is before it (RFC 1952 2.2, 2.3.1): gzip's own checksum is over the content and would miss a changed header.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

from meshnode.base.errors import MeshError
from meshnode.prove.manifest import MANIFEST, MAX_FILES, is_member, serialize

__all__ = ["ARCHIVE_SUFFIXES", "MAX_UNPACKED_BYTES", "BundleWriter", "archive_problem", "digests", "unpacked"]

ARCHIVE_SUFFIXES: Final = (".tar.gz", ".tgz")
#: Bytes that an archive may hold: more is refused before it fills the disk.
MAX_UNPACKED_BYTES: Final = 64 * 1024**3
#: Files with this in front of their name are for their owner only.
SECRET: Final = "SECRET-"
_PIECE_BYTES: Final = 1 << 20
_SEAL_HEAD: Final = b"\x1f\x8b\x08\x10" + bytes(5) + b"\xff"
_SEAL_TAIL: Final = b"\0\x03\0" + bytes(8)
_SEAL_BYTES: Final = len(_SEAL_HEAD) + 64 + len(_SEAL_TAIL)


class BundleWriter:
    """Collects the files of a bundle in ``folder``, beside where it will be; a context, which leaves nothing behind.

    Raises :class:`MeshError` when ``target`` exists already, or can't be written.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self._archive = target.name.endswith(ARCHIVE_SUFFIXES)

    def __enter__(self) -> BundleWriter:
        if self.target.exists() or self.target.is_symlink():
            raise MeshError(f"-bundle: {self.target} exists already: name another place, or remove it first")
        try:
            self.folder = Path(tempfile.mkdtemp(prefix=".prove-", dir=self.target.parent))
        except OSError as error:
            raise _not_written(self.target, error) from None
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_captures(self, place: str, paths: Iterable[Path]) -> list[str]:
        """Copy files byte for byte into the directory ``place``; returns their names in the bundle."""
        names: list[str] = []
        for path in paths:
            plain = re.sub(r"[^A-Za-z0-9._-]", "_", path.name).lstrip(".")[-100:] or "capture"
            name = f"{place}/{plain}"
            if name in names:
                name = f"{place}/{len(names) + 1}-{plain}"
            try:
                (self.folder / place).mkdir(exist_ok=True)
                with path.open("rb") as source, (self.folder / name).open("wb") as copy:
                    shutil.copyfileobj(source, copy, _PIECE_BYTES)
            except OSError as error:
                raise MeshError(f"can't copy the capture {path}: {error.strerror}") from None
            names.append(name)
        return names

    def write(self, name: str, text: str) -> None:
        """Add one file of text."""
        try:
            with _created(self.folder / name, secret=name.startswith(SECRET)) as file:
                file.write(text.encode())
        except OSError as error:
            raise _not_written(self.target, error) from None

    def finish(self) -> bytes:
        """Write the list of files, and put the bundle where it belongs; returns the list."""
        manifest = serialize(digests(self.folder))
        try:
            (self.folder / MANIFEST).write_bytes(manifest)
            if self._archive:
                packed = self.folder / ".packed"
                _pack(self.folder, packed, self.target.name.removesuffix(".tgz").removesuffix(".tar.gz"))
                packed.rename(self.target)
            else:
                self.folder.chmod(0o755)
                self.folder.rename(self.target)
        except OSError as error:
            raise _not_written(self.target, error) from None
        return manifest


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below ``folder`` but its list, by name; raises :class:`MeshError` on what is no file."""
    found = {}
    try:
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise MeshError(f"{name} in the bundle is neither a file nor a directory")
            if path.is_file() and name != MANIFEST:
                found[name] = digest(path)
            if len(found) > MAX_FILES:
                raise MeshError(f"the bundle has more than {MAX_FILES} files")
    except OSError as error:
        raise MeshError(f"can't read the bundle {folder}: {error.strerror}") from None
    return found


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def archive_problem(path: Path) -> str:
    """What of an archive's bytes is not as it was written, in a sentence; empty when all are."""
    size = path.stat().st_size
    found = hashlib.sha256()
    with path.open("rb") as file:
        left = max(0, size - _SEAL_BYTES)
        while left and (piece := file.read(min(left, _PIECE_BYTES))):
            found.update(piece)
            left -= len(piece)
        if file.read() == _seal(found.hexdigest()):
            return ""
    return f"{path.name} was changed: its bytes are not those that its seal was made for"


@contextlib.contextmanager
def unpacked(bundle: Path) -> Iterator[Path]:
    """The directory of a bundle; an archive is taken apart into a temporary one. Raises :class:`MeshError`."""
    if bundle.is_dir():
        yield bundle
        return
    with tempfile.TemporaryDirectory(prefix="prove-") as folder:
        try:
            with bundle.open("rb") as file, tarfile.open(fileobj=file, mode="r:gz") as archive:
                _take_apart(archive, Path(folder))
        except FileNotFoundError:
            raise MeshError(f"-verify: there is no bundle {bundle}") from None
        except (tarfile.TarError, zlib.error, EOFError, ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise MeshError(f"{bundle.name} is no bundle that can be read: {reason}") from None
        yield Path(folder)


def _take_apart(archive: tarfile.TarFile, folder: Path) -> None:
    left, count = MAX_UNPACKED_BYTES, 0
    for member in archive:
        top, _, name = member.name.partition("/")
        content = archive.extractfile(member) if member.isreg() else None
        if content is None or not top or not is_member(name):
            raise ValueError(f"{member.name[:200]!r} is no file of a bundle")
        left, count = left - member.size, count + 1
        if left < 0 or count > MAX_FILES + 1:
            raise ValueError(f"it holds more than {MAX_UNPACKED_BYTES} bytes or {MAX_FILES} files")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as copy:
            shutil.copyfileobj(content, copy, _PIECE_BYTES)


class _SealedGzip:
    """A file to write an archive into: compresses, and ends with the seal."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._deflate = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16)
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._put(self._deflate.compress(data))
        return len(data)

    def end(self) -> None:
        self._put(self._deflate.flush())
        self._file.write(_seal(self._digest.hexdigest()))

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


def _pack(folder: Path, target: Path, prefix: str) -> None:
    with _created(target, secret=any(folder.glob(f"{SECRET}*"))) as file:
        sealed = _SealedGzip(file)
        with tarfile.open(fileobj=sealed, mode="w|") as archive:  # type: ignore[call-overload]
            for path in sorted(folder.rglob("*")):
                if not path.is_file() or path == target:
                    continue
                name = str(path.relative_to(folder))
                entry = tarfile.TarInfo(f"{prefix}/{name}")
                entry.size = path.stat().st_size
                entry.mode = 0o600 if name.startswith(SECRET) else 0o644
                with path.open("rb") as content:
                    archive.addfile(entry, content)
        sealed.end()


def _seal(hexadecimal: str) -> bytes:
    return _SEAL_HEAD + hexadecimal.encode() + _SEAL_TAIL


def _created(path: Path, *, secret: bool) -> IO[bytes]:
    """A new file to write; one with keys is for its owner only from the start."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644), "wb")


def _not_written(target: Path, error: OSError) -> MeshError:
    return MeshError(f"-bundle: can't write {target}: {error.strerror}")
