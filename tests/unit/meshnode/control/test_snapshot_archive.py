from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import RemoteProtocolError
from meshnode.control import snapshot_archive
from meshnode.control.snapshot_archive import SnapshotMeta, parse_archive, serialize_archive

STATE = b"what the servers know"
META = SnapshotMeta(index=1234, term=7, size=len(STATE), id="7-1234-1500000000000")
META_TEXT = b'{"Version": 1, "ID": "7-1234-1500000000000", "Index": 1234, "Term": 7, "Size": 21}\n'


def tar_of(*files: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.type = len(data) if kind == tarfile.REGTYPE else 0, kind
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def sums(**files: bytes) -> bytes:
    lines = (
        f"{hashlib.sha256(data).hexdigest()}  {name.replace('_', '.')}\n" for name, data in files.items()
    )
    return "".join(lines).encode()


def archive(meta: bytes = META_TEXT, state: bytes = STATE, listed: bytes | None = None) -> bytes:
    listed = sums(meta_json=meta, state_bin=state) if listed is None else listed
    return gzip.compress(tar_of(("meta.json", meta), ("state.bin", state), ("SHA256SUMS", listed)))


@given(
    index=st.integers(0, 2**64 - 1),
    term=st.integers(0, 2**64 - 1),
    name=st.text(st.characters(exclude_categories=["Cs"])),
    state=st.binary(max_size=4000),
)
def test_what_was_written_is_read_back(index: int, term: int, name: str, state: bytes) -> None:
    meta = SnapshotMeta(index, term, len(state), name)
    assert parse_archive(serialize_archive(meta, state)) == (meta, state)


def test_the_same_state_gives_the_same_bytes() -> None:
    assert serialize_archive(META, STATE) == serialize_archive(META, STATE)


def test_tar_and_sha256sum_agree_with_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "backup.snap").write_bytes(serialize_archive(META, STATE))
    listed = subprocess.run(["tar", "-tzf", "backup.snap"], cwd=tmp_path, capture_output=True, check=True)
    assert listed.stdout == b"meta.json\nstate.bin\nSHA256SUMS\n"
    subprocess.run(["tar", "-xzf", "backup.snap"], cwd=tmp_path, check=True)
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True, check=True)
    assert checked.stdout == b"meta.json: OK\nstate.bin: OK\n"
    assert (tmp_path / "meta.json").read_bytes() == META_TEXT
    assert (tmp_path / "state.bin").read_bytes() == STATE


def test_an_archive_as_consul_writes_it_is_read() -> None:
    meta = b'{"Version":1,"ID":"2-12-1500000000000","Index":12,"Term":2,"Peers":"kQ==","Configuration":{"Servers":[]},"ConfigurationIndex":1,"Size":21}\n'  # noqa: E501
    listed = sums(state_bin=STATE) + sums(meta_json=meta)
    assert parse_archive(archive(meta, listed=listed)) == (
        SnapshotMeta(12, 2, 21, "2-12-1500000000000"),
        STATE,
    )


def test_a_size_that_is_not_the_states_is_refused() -> None:
    with pytest.raises(ValueError, match="meta says 5 bytes, and the state has 21"):
        serialize_archive(SnapshotMeta(1, 1, 5, ""), STATE)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is cut short"),
        (b"plain text", "it is no gzip file"),
        (gzip.compress(b"plain text"), "is no tar archive"),
        (gzip.compress(b""), "is no tar archive"),
        (gzip.compress(tar_of(("meta.json", META_TEXT))), "state.bin is missing"),
        (gzip.compress(tar_of(("state.bin", STATE))), "meta.json is missing"),
        (gzip.compress(tar_of(("meta.json", META_TEXT), ("state.bin", STATE))), "SHA256SUMS is missing"),
        (gzip.compress(tar_of(("../x", b""))), "it holds '../x', which no snapshot has"),
        (gzip.compress(tar_of(("state.bin", b""), kind=tarfile.SYMTYPE)), "it holds 'state.bin', which no"),
        (gzip.compress(tar_of(("meta.json", b"1"), ("meta.json", b"2"))), "it holds meta.json twice"),
        (archive(listed=b""), "SHA256SUMS has no sum of meta.json"),
        (archive(listed=sums(meta_json=META_TEXT)), "SHA256SUMS has no sum of state.bin"),
        (
            archive(listed=sums(meta_json=META_TEXT, state_bin=b"other")),
            "the checksum of state.bin is wrong",
        ),
        (archive(listed=sums(meta_json=b"x", state_bin=STATE)), "the checksum of meta.json is wrong"),
        (archive(listed=b"nonsense\n"), "a line of SHA256SUMS is no sum"),
        (archive(listed=sums(other=b"x")), "a line of SHA256SUMS is no sum"),
        (archive(meta=b"{"), "meta.json is not JSON"),
        (archive(meta=b"[" * 100_000), "meta.json is not JSON"),
        (archive(meta=b"[]"), "meta.json is no object"),
        (archive(meta=META_TEXT.replace(b"1234,", b'"x",')), "meta.json: Index is not a number"),
        (archive(meta=META_TEXT.replace(b'"Term": 7', b'"Term": -1')), "meta.json: Term is not a number"),
        (archive(meta=META_TEXT.replace(b"21", b"20")), "meta.json says 20 bytes, and state.bin has 21"),
        (archive(meta=META_TEXT.replace(b'"7-1234-1500000000000"', b"7")), "meta.json: ID is not a text"),
        (archive()[:-1], "it is cut short"),
        (archive() + b"more", "4 bytes follow its end"),
    ],
)
def test_damage_is_named(data: bytes, words: str) -> None:
    with pytest.raises(RemoteProtocolError, match="the snapshot can't be used") as caught:
        parse_archive(data)
    assert words in str(caught.value)


def test_a_state_may_have_as_many_bytes_as_allowed_and_not_one_more() -> None:
    assert parse_archive(archive(), max_state_bytes=21)[1] == STATE
    with pytest.raises(RemoteProtocolError, match=r"state\.bin has more than 20 bytes"):
        parse_archive(archive(), max_state_bytes=20)


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_archive, "MAX_FRAME_BYTES", 10_000)
    bomb = gzip.compress(b"\0" * 1_000_000)
    with pytest.raises(RemoteProtocolError, match="it unpacks to more than 10100 bytes"):
        parse_archive(bomb, max_state_bytes=100)


def test_an_archive_has_a_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = archive()
    monkeypatch.setattr(snapshot_archive, "MAX_ARCHIVE_BYTES", len(whole))
    parse_archive(whole)
    monkeypatch.setattr(snapshot_archive, "MAX_ARCHIVE_BYTES", len(whole) - 1)
    with pytest.raises(RemoteProtocolError, match="is the most"):
        parse_archive(whole)


@given(data=st.data())
def test_a_changed_byte_never_gives_another_state(data: Any) -> None:
    whole = bytearray(archive())
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(RemoteProtocolError):
        assert parse_archive(bytes(whole)) == (META, STATE)


@given(data=st.data())
def test_a_changed_tar_ends_in_a_result_or_in_an_error_of_ours(data: Any) -> None:
    whole = bytearray(gzip.decompress(archive()))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, 2600))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    with contextlib.suppress(RemoteProtocolError):
        parse_archive(gzip.compress(bytes(whole[:cut] if data.draw(st.booleans()) else whole), 1))
