"""The list of a bundle's files can be written in one way only, so each changed byte of it is told."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from meshnode.base.errors import ConfigError
from meshnode.prove.manifest import MAX_FILES, MAX_MANIFEST_BYTES, compare, is_member, parse, serialize

FILES = {"verdict.json": b"{}", "captures/a.pcap": b"abc", "control/b.pcap": b""}
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}


def test_a_list_is_read_as_it_was_written() -> None:
    assert parse(serialize(DIGESTS)) == DIGESTS
    assert compare(DIGESTS, DIGESTS) == []


def test_sha256sum_reads_the_list(tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    command = ["sha256sum", "--check", "--strict", "-"]
    done = subprocess.run(command, input=serialize(DIGESTS), cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_changed_byte_of_the_list_is_an_error_or_a_difference() -> None:
    written = serialize(DIGESTS)
    for at in range(len(written)):
        for change in (1, 0x20, 0x80):
            data = bytearray(written)
            data[at] ^= change
            try:
                listed = parse(bytes(data))
            except ConfigError:
                continue
            assert compare(listed, DIGESTS), (at, change)


def test_each_missing_or_doubled_byte_of_the_list_is_one_too() -> None:
    written = serialize(DIGESTS)
    for at in range(len(written)):
        for data in (written[:at] + written[at + 1 :], written[:at], written[:at] + written[at - 1 :]):
            try:
                listed = parse(data)
            except ConfigError:
                continue
            assert data == written or compare(listed, DIGESTS), at


def test_what_differs_is_named() -> None:
    there = {**DIGESTS, "verdict.json": "0" * 64, "extra": "1" * 64}
    del there["captures/a.pcap"]
    assert compare(DIGESTS, there) == [
        "captures/a.pcap is missing",
        "extra is not in the MANIFEST",
        f"verdict.json was changed: its SHA-256 is 0000000000000000..., not {DIGESTS['verdict.json'][:16]}...",
    ]


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../b", ".hidden", "a//b", "a/b/c/d", "", "a b", "x" * 129]
)
def test_a_name_that_leads_elsewhere_is_none_of_a_bundle(name: str) -> None:
    assert not is_member(name)
    with pytest.raises(ConfigError, match="line 1 was changed"):
        parse(f"{'0' * 64}  {name}\n".encode())


def test_a_list_holds_as_many_files_as_the_limit() -> None:
    digests = {f"captures/{number}": "0" * 64 for number in range(MAX_FILES)}
    assert parse(serialize(digests)) == digests
    with pytest.raises(ConfigError, match=f"{MAX_FILES + 1} files"):
        parse(serialize({**digests, "one-more": "0" * 64}))


def test_the_longest_list_is_read_and_a_longer_one_is_not() -> None:
    part = "x" * 122
    longest = {f"{part}/{part}/{part}{number:06}": "0" * 64 for number in range(MAX_FILES)}
    assert parse(serialize(longest)) == longest
    with pytest.raises(ConfigError, match="longer than"):
        parse(bytes(MAX_MANIFEST_BYTES + 1))
