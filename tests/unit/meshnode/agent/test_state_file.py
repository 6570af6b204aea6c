from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshnode.agent import state_file
from meshnode.agent.state_file import RunningState, remove_state, write_state

STATE = RunningState(7, "1.2.3", "c" * 64, "t" * 64, "p1", 12.5)


def test_the_state_is_written_whole_readable_by_all_and_removed(tmp_path: Path) -> None:
    write_state(str(tmp_path), STATE)
    path = tmp_path / "state.json"
    assert json.loads(path.read_text()) == {
        "pid": 7, "version": "1.2.3", "config_digest": "c" * 64, "tls_digest": "t" * 64,
        "package_digest": "p1", "started_at": 12.5,
    }  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o644
    remove_state(str(tmp_path))
    remove_state(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_state_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_state(str(tmp_path), STATE)
    before = (tmp_path / "state.json").read_text()

    def fail(*_args: object) -> None:
        raise OSError("disk")

    monkeypatch.setattr("meshnode.agent.state_file.os.replace", fail)
    with pytest.raises(OSError, match="disk"):
        write_state(str(tmp_path), RunningState(8, "", "", "", "", 0.0))
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]
    assert (tmp_path / "state.json").read_text() == before


@pytest.mark.parametrize(
    ("where", "digest"),
    [
        ("/opt/meshnode/releases/abc123/lib/meshnode/__init__.py", "abc123"),
        ("/usr/lib/meshnode/__init__.py", ""),
    ],
)
def test_the_release_is_the_directory_that_the_code_runs_from(
    monkeypatch: pytest.MonkeyPatch, where: str, digest: str
) -> None:
    monkeypatch.setattr("meshnode.__file__", where)
    assert state_file.package_digest() == digest
