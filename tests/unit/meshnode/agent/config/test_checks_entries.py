"""``config_entries {}`` in the configuration: read from every source, checked before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.meshnode.agent.config.loading import complaint, fragment, read, write

WEB = {"kind": "service-defaults", "name": "web", "protocol": "http"}
ROUTER = {"Kind": "service-router", "Name": "web"}


def test_there_are_none_unless_they_are_written() -> None:
    assert read("-server").config.connect.bootstrap_entries == ()


def test_entries_of_all_sources_are_joined_in_order(tmp_path: Path) -> None:
    write(tmp_path, "a.hcl", 'config_entries { bootstrap { kind = "service-defaults" name = "a" } }')
    write(tmp_path, "b.json", {"config_entries": {"bootstrap": [WEB, ROUTER]}})
    write(tmp_path, "c.hcl", 'config_entries { bootstrap { kind = "service-resolver" name = "x" } }\n'
                             'config_entries { bootstrap { kind = "service-resolver" name = "y" } '
                             'bootstrap { kind = "service-resolver" name = "z" } }')  # fmt: skip
    found = read("-server", "-config-dir", str(tmp_path)).config.connect.bootstrap_entries
    assert [entry.get("name") or entry.get("Name") for entry in found] == ["a", "web", "web", "x", "y", "z"]


@pytest.mark.parametrize(
    ("entries", "because"),
    [
        ([{**WEB, "protcol": "x"}], 'config_entries.bootstrap[0]: invalid config key "protcol": did you mean Pro'),
        ([WEB, {"name": "x"}], "config_entries.bootstrap[1]: Kind is required"),
        ([WEB, {**WEB, "name": "WEB"}], "config_entries.bootstrap[1]: service-defaults/WEB is there twice"),
        ([{"kind": "service-resolver", "name": "a", "subsets": {"v1": {"filter": "x"}}}],
         "config_entries.bootstrap[0]: Subsets[v1].Filter: "),
        (["x"], "config_entries.bootstrap[0]: expected an object"),
        ("x", "config_entries.bootstrap[0]: expected an object"),
        ([{**WEB, "max_inbound_connections": 2**64}], "has more than 64 bits"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_before_anything_starts(entries: object, because: str) -> None:
    assert because in complaint("-server", fragment(config_entries={"bootstrap": entries}))


def test_the_place_of_a_mistake_is_the_entrys(tmp_path: Path) -> None:
    text = json.dumps({"config_entries": {"bootstrap": [WEB, {"kind": "x"}]}}, indent=1)
    write(tmp_path, "a.json", text)
    line = text[: text.index('"kind": "x"')].count("\n")
    assert f"a.json:{line}:" in complaint("-server", "-config-dir", str(tmp_path))


def test_another_key_beside_them_is_refused_with_a_suggestion() -> None:
    assert "did you mean config_entries.bootstrap?" in complaint(fragment(config_entries={"boostrap": []}))


def test_on_a_client_they_are_a_warning() -> None:
    warning = "config_entries.bootstrap has no effect: this agent is no server"
    assert warning in read(fragment(config_entries={"bootstrap": [WEB]})).warnings
    assert warning not in read("-server", fragment(config_entries={"bootstrap": [WEB]})).warnings
