from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshnode.control import snapshot_archive
from meshnode.control.snapshot_archive import SnapshotMeta, serialize_archive
from tests.support.http_stub import StubAgent

STATE = b"state" * 1000
ARCHIVE = serialize_archive(SnapshotMeta(index=42, term=3, size=5000, id="3-42-1500000000000"), STATE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backup.snap"


def test_a_snapshot_is_saved_for_its_owner_only_once_it_is_verified(
    agent: StubAgent, run: Any, path: Path
) -> None:
    agent.answer("GET /v1/snapshot", [ARCHIVE[:20], ARCHIVE[20:]])
    path.write_bytes(b"the one before")
    path.with_name("backup.snap.unverified").write_bytes(b"of a run that was killed")
    done = run("snapshot", "save", "-stale", "-datacenter=dc2", str(path))
    assert (done.code, done.out, done.err) == (0, "Saved and verified snapshot to index 42\n", "")
    assert agent.last.query == {"stale": "", "dc": "dc2"}
    assert path.read_bytes() == ARCHIVE
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["backup.snap"]


@pytest.mark.parametrize("received", [b"", ARCHIVE[:-9], b"<html>", ARCHIVE.replace(ARCHIVE[99:101], b"??")])
def test_a_damaged_snapshot_leaves_the_file_as_it_was(
    agent: StubAgent, run: Any, path: Path, received: bytes
) -> None:
    agent.answer("GET /v1/snapshot", received)
    path.write_bytes(b"the one before")
    done = run("snapshot", "save", str(path))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(
        f"Error verifying snapshot file: {path}.unverified: the snapshot can't be used: "
    )
    assert [(file.name, file.read_bytes()) for file in path.parent.iterdir()] == [
        ("backup.snap", b"the one before")
    ]


def test_a_refusal_leaves_nothing_behind(agent: StubAgent, run: Any, path: Path) -> None:
    agent.answer("GET /v1/snapshot", b"Permission denied", status=403)
    done = run("snapshot", "save", str(path))
    assert done.err == "Error saving snapshot: Unexpected response code: 403 (Permission denied)\n"
    assert list(path.parent.iterdir()) == []


def test_a_snapshot_without_end_is_cut_off(
    agent: StubAgent, run: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_archive, "MAX_ARCHIVE_BYTES", len(ARCHIVE))
    agent.answer("GET /v1/snapshot", ARCHIVE)
    assert run("snapshot", "save", str(path)).code == 0
    agent.answer("GET /v1/snapshot", ARCHIVE + b"x")
    done = run("snapshot", "save", str(path))
    assert done.err == f"Error saving snapshot: it has more than {len(ARCHIVE)} bytes\n"


def test_a_place_that_cannot_be_written_is_named_before_the_agent_is_asked(
    agent: StubAgent, run: Any
) -> None:
    done = run("snapshot", "save", "/no/such/backup.snap")
    assert (done.code, agent.asked) == (1, [])
    assert done.err == (
        "Error writing unverified snapshot file: /no/such/backup.snap.unverified: No such file or directory\n"
    )


def test_a_snapshot_is_restored(agent: StubAgent, run: Any, path: Path) -> None:
    path.write_bytes(ARCHIVE)
    agent.answer("PUT /v1/snapshot")
    done = run("snapshot", "restore", "-datacenter=dc2", str(path))
    assert (done.code, done.out, done.err) == (0, "Restored snapshot\n", "")
    assert (agent.last.body, agent.last.query) == (ARCHIVE, {"dc": "dc2"})


def test_a_damaged_file_is_not_sent(agent: StubAgent, run: Any, path: Path) -> None:
    path.write_bytes(ARCHIVE[:-1])
    done = run("snapshot", "restore", str(path))
    assert (done.code, agent.asked) == (1, [])
    assert done.err == (f"Error restoring snapshot: {path}: the snapshot can't be used: it is cut short\n")
    assert run("snapshot", "restore", "/no/such").err == (
        "Error opening snapshot file: /no/such: No such file or directory\n"
    )


def test_inspect_prints_what_the_file_says_of_itself(run: Any, path: Path) -> None:
    path.write_bytes(ARCHIVE)
    done = run("snapshot", "inspect", str(path))
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "ID           3-42-1500000000000\nSize         5000\nIndex        42\nTerm         3\nVersion      1\n\n"
    )
    assert json.loads(run("snapshot", "inspect", "-format=json", str(path)).out) == {
        "ID": "3-42-1500000000000", "Size": 5000, "Index": 42, "Term": 3, "Version": 1,
    }  # fmt: skip


def test_inspect_names_the_damage(run: Any, path: Path) -> None:
    path.write_bytes(b"PK")
    done = run("snapshot", "inspect", str(path))
    assert done.code == 1
    assert done.err.startswith(
        f"Error reading snapshot: {path}: the snapshot can't be used: it is no gzip file"
    )


@pytest.mark.parametrize("command", ["save", "restore", "inspect"])
def test_exactly_one_file_is_taken(agent: StubAgent, run: Any, command: str) -> None:
    assert run("snapshot", command).err == "Missing FILE argument\n"
    assert run("snapshot", command, "a", "b").err == "Too many arguments (expected 1, got 2)\n"
    assert agent.asked == []
