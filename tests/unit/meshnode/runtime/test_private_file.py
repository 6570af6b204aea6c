"""A private file holds its old content or the new one, for its owner only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshnode.runtime import private_file as module
from meshnode.runtime.private_file import TEMPORARY, write_private


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("durable", [True, False])
def test_it_is_for_its_owner_only_whatever_the_mask_and_nothing_else_stays(
    tmp_path: Path, durable: bool
) -> None:
    path = tmp_path / "secret"
    mask = os.umask(0)
    try:
        for content in (b"first, and longer", b"second"):
            write_private(path, content, durable=durable)
            assert path.read_bytes() == content
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["secret"]


def test_what_is_durable_is_synced_before_it_gets_its_name_and_its_directory_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "secret", []

    def sync(descriptor: int) -> None:
        seen.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")).name, path.exists()))

    monkeypatch.setattr(module.os, "fsync", sync)
    write_private(path, b"x")
    assert seen == [("secret" + TEMPORARY, False), (tmp_path.name, True)]
    write_private(path, b"y", durable=False)
    assert len(seen) == 2


def test_what_was_there_stays_when_it_can_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    write_private(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["secret"]


def test_a_link_in_the_way_is_replaced_and_nothing_is_written_through_it(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"another's")
    for link in ("secret", "secret" + TEMPORARY):
        (tmp_path / link).symlink_to(target)
    write_private(tmp_path / "secret", b"mine")
    assert target.read_bytes() == b"another's"
    assert (tmp_path / "secret").read_bytes() == b"mine"
    assert names(tmp_path) == ["secret", "target"]


def test_no_directory_is_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_private(tmp_path / "gone" / "secret", b"x")
    assert names(tmp_path) == []
