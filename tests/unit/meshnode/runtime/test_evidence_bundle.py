"""A bundle appears whole or not at all, and no byte of an archive can change without being told."""

from __future__ import annotations

import gzip
import hashlib
import io
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from meshnode.base.errors import MeshError
from meshnode.prove.manifest import MANIFEST, parse
from meshnode.runtime.evidence_bundle import BundleWriter, archive_problem, digests, unpacked


def make(target: Path, *captures: Path, secret: bool = False) -> bytes:
    with BundleWriter(target) as writer:
        writer.add_captures("captures", captures)
        writer.write("verdict.json", "{}\n")
        if secret:
            writer.write("SECRET-gossip.json", '["x"]\n')
        return writer.finish()


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "server 1.pcap"
    path.write_bytes(b"frames of it " * 20)
    return path


def test_a_directory_holds_copies_and_their_digests(tmp_path: Path, capture: Path) -> None:
    manifest = make(tmp_path / "bundle", capture)
    copy = tmp_path / "bundle" / "captures" / "server_1.pcap"
    assert copy.read_bytes() == capture.read_bytes()
    assert (tmp_path / "bundle" / MANIFEST).read_bytes() == manifest
    assert parse(manifest) == digests(tmp_path / "bundle") == {
        "captures/server_1.pcap": hashlib.sha256(capture.read_bytes()).hexdigest(),
        "verdict.json": hashlib.sha256(b"{}\n").hexdigest(),
    }  # fmt: skip


def test_an_archive_holds_the_same_and_tar_reads_it(tmp_path: Path, capture: Path) -> None:
    archive = tmp_path / "bundle.tar.gz"
    manifest = make(archive, capture)
    assert archive_problem(archive) == ""
    with unpacked(archive) as folder:
        assert digests(folder) == parse(manifest)
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(tmp_path)], check=True)
    assert digests(tmp_path / "bundle") == parse(manifest)


def test_the_same_files_make_the_same_archive(tmp_path: Path, capture: Path) -> None:
    (tmp_path / "other").mkdir()
    make(tmp_path / "b.tar.gz", capture)
    make(tmp_path / "other" / "b.tar.gz", capture)
    assert (tmp_path / "b.tar.gz").read_bytes() == (tmp_path / "other" / "b.tar.gz").read_bytes()


def test_each_changed_missing_or_added_byte_of_an_archive_is_told(tmp_path: Path, capture: Path) -> None:
    archive = tmp_path / "b.tar.gz"
    make(archive, capture)
    written = archive.read_bytes()
    for at in range(len(written)):
        archive.write_bytes(written[:at] + bytes((written[at] ^ 1,)) + written[at + 1 :])
        assert archive_problem(archive), at
    for data in (written[:-1], written + b"\0", written[1:], b"", written * 2):
        archive.write_bytes(data)
        assert archive_problem(archive)


def test_captures_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "x.pcap" for folder in "ab"]
    for path in paths:
        path.parent.mkdir()
        path.write_text(str(path))
    with BundleWriter(tmp_path / "bundle") as writer:
        assert writer.add_captures("captures", paths) == ["captures/x.pcap", "captures/2-x.pcap"]


@pytest.mark.parametrize("name", ["bundle", "bundle.tar.gz"])
def test_files_with_keys_are_for_their_owner_only(tmp_path: Path, capture: Path, name: str) -> None:
    make(tmp_path / name, capture, secret=True)
    secret = tmp_path / name if name.endswith("gz") else tmp_path / name / "SECRET-gossip.json"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_nothing_is_left_of_a_bundle_that_was_not_finished(tmp_path: Path, capture: Path) -> None:
    with (
        pytest.raises(MeshError, match="can't copy the capture"),
        BundleWriter(tmp_path / "bundle") as writer,
    ):
        writer.add_captures("captures", [capture, tmp_path / "nowhere"])
    assert list(tmp_path.iterdir()) == [capture]


def test_what_is_there_already_is_not_overwritten(tmp_path: Path, capture: Path) -> None:
    with pytest.raises(MeshError, match="exists already: name another place"), BundleWriter(capture):
        pass
    with pytest.raises(MeshError, match=r"can't write .*No such file"), BundleWriter(tmp_path / "no" / "b"):
        pass


def test_a_link_in_a_bundle_is_not_followed(tmp_path: Path, capture: Path) -> None:
    make(tmp_path / "bundle", capture)
    (tmp_path / "bundle" / "link").symlink_to("/etc/passwd")
    with pytest.raises(MeshError, match="link in the bundle is neither a file nor a directory"):
        digests(tmp_path / "bundle")


def archive_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for entry, data in members:
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(packed.getvalue())


def link(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return entry


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no archive", "is no bundle that can be read: not a gzip file"),
        (gzip.compress(b"no archive"), "is no bundle that can be read"),
        (gzip.compress(b"x" * 5000)[:-9], "is no bundle that can be read"),
        (archive_of((tarfile.TarInfo("b/../../x"), b"")), "'b/../../x' is no file of a bundle"),
        (archive_of((tarfile.TarInfo("/etc/x"), b"")), "is no file of a bundle"),
        (archive_of((link("b/x"), b"")), "'b/x' is no file of a bundle"),
        (archive_of((tarfile.TarInfo("b/x"), b"1"), (tarfile.TarInfo("b/x"), b"2")), "File exists"),
    ],
)
def test_an_archive_that_is_no_bundle_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "b.tar.gz"
    path.write_bytes(data)
    with pytest.raises(MeshError, match=message), unpacked(path):
        pass
    with pytest.raises(MeshError, match="there is no bundle"), unpacked(tmp_path / "nowhere"):
        pass


def test_an_archive_that_holds_too_much_is_refused_before_it_is_unpacked(
    tmp_path: Path, capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "b.tar.gz", capture)
    size = len(capture.read_bytes()) + 3
    with unpacked(tmp_path / "b.tar.gz") as folder:
        size += len((folder / MANIFEST).read_bytes())
    for limit, fits in ((size, True), (size - 1, False)):
        monkeypatch.setattr("meshnode.runtime.evidence_bundle.MAX_UNPACKED_BYTES", limit)
        if fits:
            with unpacked(tmp_path / "b.tar.gz"):
                continue
        with pytest.raises(MeshError, match="it holds more than"), unpacked(tmp_path / "b.tar.gz"):
            pass
