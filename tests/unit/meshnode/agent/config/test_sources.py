"""Files and variables that a configuration is read from."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshnode.agent.config.sources import config_files, environment_sources
from meshnode.base.errors import ConfigError


def test_a_directory_is_read_in_the_order_of_its_names_without_its_subdirectories(tmp_path: Path) -> None:
    names = ("b.json", "a.hcl", "skipped.txt")
    for name in names:
        (tmp_path / name).write_text(name)
    (tmp_path / "sub.json").mkdir()
    alone = tmp_path / "sub.json" / "x.json"
    alone.write_text("{}")
    assert config_files([str(tmp_path), str(alone)])[0] == [tmp_path / "a.hcl", tmp_path / "b.json", alone]
    assert config_files([str(tmp_path)], "hcl")[0] == [tmp_path / name for name in sorted(names)]


def test_a_path_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match="/no/such does not exist"):
        config_files(["/no/such"])


def test_empty_variables_are_no_source() -> None:
    assert environment_sources({"CONSUL_LOCAL_CONFIG": "  ", "OTHER": "{}"}) == []
    assert [
        s.where for s in environment_sources({"MESHNODE_LOCAL_CONFIG": "{}", "CONSUL_LOCAL_CONFIG": "a=1"})
    ] == [
        "environment variable CONSUL_LOCAL_CONFIG",
        "environment variable MESHNODE_LOCAL_CONFIG",
    ]
