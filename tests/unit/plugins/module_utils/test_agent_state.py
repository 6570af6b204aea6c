from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import (
    Layout,
    Running,
    config_files,
    digest_on_disk,
    drift,
    running,
    tls_files,
)


@pytest.fixture
def node(tmp_path: Path) -> Layout:
    for name in ("etc/ssl", "opt/releases/aaaa", "run"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/b.json").write_text('{"ca_file": "%s"}' % (tmp_path / "etc/ssl/ca"))
    (tmp_path / "etc/a.hcl").write_text('log_level = "INFO"')
    (tmp_path / "etc/README").write_text("not loaded")
    (tmp_path / "etc/ssl/ca").write_text("CA")
    (tmp_path / "opt/current").symlink_to("releases/aaaa")
    (tmp_path / "unit").write_text("[Service]\nEnvironment=MESHNODE_UNIT_DIGEST=uuuu\n")
    return Layout(*(str(tmp_path / name) for name in ("etc", "opt", "run/state.json", "unit")))


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], env={"MESHNODE_UNIT_DIGEST": "uuuu"}) as child:
        yield child
        child.kill()


def agent_of(node: Layout, **changes: object) -> Running:
    reported: dict[str, object] = {
        "pid": 1,
        "config_digest": digest_on_disk(config_files(node.config_dir)),
        "package_digest": "aaaa",
        "tls_digest": digest_on_disk(tls_files(node.config_dir)),
        "loaded_at": 2e9,
        "unit_digest": "uuuu",
    }
    return Running(**{**reported, **changes})  # type: ignore[arg-type]


def test_the_digest_is_of_paths_and_contents_in_the_order_of_names(node: Layout) -> None:
    expected = hashlib.sha256()
    for name in ("a.hcl", "b.json"):
        path = Path(node.config_dir, name)
        expected.update(os.fsencode(path) + b"\0" + path.read_bytes() + b"\0")
    assert digest_on_disk(config_files(node.config_dir)) == expected.hexdigest()


def test_an_agent_that_runs_with_what_is_on_disk_does_not_drift(node: Layout) -> None:
    found = drift(node, agent_of(node))
    assert (found.restart, found.reload) == ([], [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pid": 0}, "not running"),
        ({"config_digest": "x"}, "configuration"),
        ({"package_digest": "x"}, "package"),
        ({"unit_digest": "x"}, "unit"),
    ],
)
def test_what_makes_a_restart_due_is_named(node: Layout, change: dict[str, object], said: str) -> None:
    found = drift(node, agent_of(node, **change))
    assert len(found.restart) == 1
    assert said in found.restart[0]


def test_without_a_digest_of_them_certificates_are_compared_by_time(node: Layout) -> None:
    newest = os.stat(tls_files(node.config_dir)[0]).st_mtime
    assert drift(node, agent_of(node, tls_digest="", loaded_at=newest)).reload == []
    assert len(drift(node, agent_of(node, tls_digest="", loaded_at=newest - 1)).reload) == 1


def test_certificates_alone_make_a_reload_due(node: Layout) -> None:
    agent = agent_of(node)
    Path(node.config_dir, "ssl/ca").write_text("another CA")
    found = drift(node, agent)
    assert (found.restart, len(found.reload)) == ([], 1)


def test_the_state_of_a_living_process_is_believed(node: Layout, process: subprocess.Popen[bytes]) -> None:
    state = {"pid": process.pid, "config_digest": "c", "package_digest": "p"}
    Path(node.state_file).write_text(json.dumps(state))
    expected = Running(process.pid, "c", "p", "", Path(node.state_file).stat().st_mtime, "uuuu")
    assert running(node) == expected


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pid": "1"}', '{"pid": -1}', '{"pid": 4194304999}', "{}" + " " * 70_000]
)
def test_a_state_that_cannot_be_true_counts_as_none(node: Layout, text: str) -> None:
    Path(node.state_file).write_text(text)
    assert running(node) == Running()


def test_no_state_and_no_directories_are_an_agent_that_does_not_run(tmp_path: Path) -> None:
    nowhere = Layout(*(str(tmp_path / name) for name in ("a", "b", "c", "d")))
    assert drift(nowhere).restart == ["the agent is not running"]
