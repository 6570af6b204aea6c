"""``validate`` says whether an agent would start, and why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshnode.base.goflags import FlagError, HelpRequested
from meshnode.cli.validate import run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data_dir": str(tmp_path), "bind_addr": "127.0.0.1", "node_name": "x"}))
    return path


def test_a_configuration_that_starts_is_valid(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(file)]) == 0
    assert capsys.readouterr() == ("Configuration is valid!\n", "")
    assert run([str(file.parent)]) == 0


def test_quiet_says_nothing_when_it_is_valid(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-quiet", str(file)]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_mistake_is_named_on_standard_error(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text('{"sever": true}')
    assert run(["-quiet", str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert (
        err == f"Config validation failed: invalid config key sever (in {file}:1:2): did you mean server?\n"
    )


def test_tls_files_are_checked(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = file.parent / "tls.json"
    more.write_text('{"ca_file": "/no/ca.pem", "verify_outgoing": true}')
    assert run([str(file), str(more)]) == 1
    assert f"{more}:1:13: ca_file: /no/ca.pem does not exist" in capsys.readouterr().err


def test_warnings_do_not_make_it_invalid(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file.parent / "b.hcl").write_text("disable_update_check = false")
    assert run([str(file.parent)]) == 0
    assert "disable_update_check = false has no effect" in capsys.readouterr().err


def test_the_format_can_be_forced(file: Path) -> None:
    other = file.parent / "settings"
    other.write_text('node_name = "y"')
    assert run(["-config-format=hcl", str(other), str(file)]) == 0


def test_a_path_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["/no/such.json"]) == 1
    assert "Config validation failed: /no/such.json does not exist" in capsys.readouterr().err


def test_arguments_that_make_no_sense_are_refused() -> None:
    with pytest.raises(FlagError, match="Must specify at least one config file or directory"):
        run([])
    with pytest.raises(FlagError, match='"yaml" is not a format'):
        run(["-config-format=yaml", "x"])
    with pytest.raises(HelpRequested, match="Usage: meshnode validate"):
        run(["-h"])


def test_a_file_that_was_left_out_is_told_with_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "agent.yml"
    path.write_text("data_dir: /x")
    assert run([str(path)]) == 1
    err = capsys.readouterr().err
    assert f"* skipping file {path}, extension must be .hcl or .json" in err
    assert "* data_dir cannot be empty" in err
