from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._release import fault_of, names_of, prune


def make_release(folder: Path, digest: str) -> Path:
    release = folder / digest
    (release / "bin").mkdir(parents=True)
    for name in ("meshnode", "consul"):
        (release / "bin" / name).write_text("#!/bin/sh\n")
        (release / "bin" / name).chmod(0o755)
    files = {f"bin/{n}": hashlib.sha256(b"#!/bin/sh\n").hexdigest() for n in ("meshnode", "consul")}
    (release / "package.json").write_text(json.dumps({"digest": digest, "files": files, "compiled": True}))
    return release


def test_an_intact_release_has_no_fault(tmp_path: Path) -> None:
    assert fault_of(str(make_release(tmp_path, "a")), "a") == ""


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda r: (r / "bin/consul").write_text("#!/bin/sh\nrm\n"), "bin/consul was changed"),
        (lambda r: (r / "bin/consul").unlink(), "bin/consul is missing"),
        (lambda r: (r / "bin/consul").chmod(0o644), "not executable"),
        (lambda r: (r / "package.json").unlink(), "package.json is missing"),
        (lambda r: (r / "package.json").write_text("{"), "package.json is missing or damaged"),
        (lambda r: r.rename(r.parent / "elsewhere"), "not installed"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, harm: object, said: str) -> None:
    release = make_release(tmp_path, "a")
    harm(release)  # type: ignore[operator]
    assert said in fault_of(str(release), "a")


def test_a_release_under_another_name_is_a_fault(tmp_path: Path) -> None:
    assert fault_of(str(make_release(tmp_path, "a")), "b")


def test_the_current_release_and_the_one_before_are_kept(tmp_path: Path) -> None:
    for age, name in enumerate(("oldest", "older", "old", "current"), start=1):
        os.utime(make_release(tmp_path, name), (age, age))
    (tmp_path / ".new-left-over").mkdir()
    assert sorted(prune(str(tmp_path), "current")) == [".new-left-over", "older", "oldest"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "old"]


def test_what_a_sidecar_runs_is_kept_however_old_it_is(tmp_path: Path) -> None:
    assert names_of(str(tmp_path / "none")) == ()
    for age, name in enumerate(("used", "older", "old", "current"), start=1):
        os.utime(make_release(tmp_path, name), (age, age))
    (tmp_path / ".new-left-over").mkdir()
    assert sorted(prune(str(tmp_path), "current", ["used", "long gone"])) == [".new-left-over", "older"]
    assert names_of(str(tmp_path)) == ("current", "old", "used")


def test_the_current_release_is_kept_even_when_it_is_the_oldest(tmp_path: Path) -> None:
    for age, name in enumerate(("current", "old", "older"), start=1):
        os.utime(make_release(tmp_path, name), (age, age))
    prune(str(tmp_path), "current")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "older"]
