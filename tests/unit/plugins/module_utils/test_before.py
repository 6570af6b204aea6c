"""What a node had before a roll: what is kept, when it counts, and what is never in it."""

from __future__ import annotations

import getpass
import grp
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _before
from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import Layout
from ansible_collections.meshnode.lab.plugins.module_utils._before import (
    PARTS,
    RECORD,
    BeforeError,
    Found,
    Places,
    Record,
    judge,
    look,
    next_record,
    parse,
    read,
    secrets_of,
    whole,
    write,
)
from ansible_collections.meshnode.lab.plugins.module_utils._files import Ownership
from ansible_collections.meshnode.lab.plugins.module_utils._redact import placeholder

KEY, TOKEN = "cg8StVXbQJ0gPvMd9o7yrg==", "5cf3a1f2-0000-4b2f-9d7c-1de1f3f2a001"
OLD, NEW = "a" * 16, "b" * 16


def found(level: str = "INFO", release: str = OLD, unit: str = "u", ca: str = "ca", **secret: str) -> Found:
    """A node with that configuration."""
    config = {"log_level": level, "encrypt": KEY, **secret}
    texts: dict[str, str | None] = {
        "configuration": json.dumps(config), "unit": unit, "client environment": None,
    }  # fmt: skip
    digests = {name: _before.digest(text) for name, text in texts.items()}
    digests |= {"package": release, "authorities": _before.digest(ca)}
    return Found(texts, digests, secrets_of(config))


def rolled(before: Found, after: Found, record: Record | None = None, roll: str = "r1") -> Record | None:
    return next_record(record, roll, before, after.digests, after.secrets)


def kept(before: Found, after: Found, record: Record | None = None, roll: str = "r1") -> Record:
    made = rolled(before, after, record, roll)
    assert made is not None
    return made


def test_a_roll_that_changes_something_keeps_what_was_there() -> None:
    before, after = found(), found("DEBUG", NEW)
    record = kept(before, after)
    assert judge(record, before.digests) == ([], [])
    assert judge(record, after.digests) == (["configuration", "package"], [])
    assert whole(record, after) == before.texts


def test_a_roll_that_changes_nothing_keeps_nothing_and_forgets_nothing() -> None:
    record = kept(found(), found("DEBUG"))
    assert rolled(found("DEBUG"), found("DEBUG"), record, "r2") == record
    assert rolled(found(), found()) is None


def test_a_node_on_which_nothing_ran_before_has_no_way_back() -> None:
    fresh = replace(
        found(release=""), texts={"configuration": None, "unit": None, "client environment": None}
    )
    assert rolled(fresh, found()) is None


@pytest.mark.parametrize("half", [found("DEBUG"), found("INFO", NEW), found("DEBUG", NEW)])
def test_the_second_touch_of_the_same_roll_leaves_what_was_before(half: Found) -> None:
    """Broken off with some parts in place; the new configuration may be another one by then."""
    record = kept(found(), found("DEBUG", NEW))
    again = kept(half, found("WARN", "c" * 16), record)
    assert (again.before, again.texts) == (record.before, record.texts)
    for state in (half, found("WARN", "c" * 16), found("WARN", NEW)):
        assert judge(again, state.digests)[1] == []
        assert whole(again, state) == found().texts


def test_another_roll_starts_from_what_it_finds() -> None:
    record = kept(found("DEBUG"), found("WARN"), kept(found(), found("DEBUG")), "r2")
    assert record.roll == "r2"
    assert whole(record, found("WARN")) == found("DEBUG").texts


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (found("DEBUG", NEW, encrypt="pUqJrVyVRj5jsiYEkM/tFQ=="), "configuration"),
        (found("DEBUG", "c" * 16), "package"),
        (found("DEBUG", NEW, unit="other"), "unit"),
        (found("DEBUG", NEW, ca="another generation"), "authorities"),
    ],
)
def test_what_something_else_has_changed_since_makes_the_record_void(change: Found, part: str) -> None:
    record = kept(found(), found("DEBUG", NEW))
    assert judge(record, change.digests)[1] == [part]
    # The same roll, run again, does not make it count again.
    assert kept(change, found("WARN", NEW), record) == record


def test_authorities_are_looked_at_and_never_put_back() -> None:
    record = kept(found(), found("DEBUG", ca="two generations"))
    assert judge(record, found("DEBUG").digests) == (["configuration"], [])
    assert judge(record, found("DEBUG", ca="two generations").digests) == (["configuration"], [])


def test_a_secret_that_stays_in_the_configuration_is_not_in_the_record() -> None:
    record = kept(found(), found("DEBUG"))
    assert record.secrets == {}
    assert KEY not in repr(record.texts)
    assert placeholder(KEY) in repr(record.texts)


def test_a_secret_that_the_roll_takes_away_is_kept_and_comes_back() -> None:
    before, after = found(acl_token=TOKEN), found()
    record = kept(before, after)
    assert record.secrets == {placeholder(TOKEN): TOKEN}
    assert whole(record, after) == before.texts
    assert TOKEN not in repr(record)


def test_a_secret_that_the_second_touch_takes_away_is_kept_then() -> None:
    first = kept(found(acl_token=TOKEN), found("DEBUG", acl_token=TOKEN))
    assert first.secrets == {}
    second = kept(found("DEBUG", acl_token=TOKEN), found("WARN"), first)
    assert whole(second, found("WARN")) == found(acl_token=TOKEN).texts


def test_a_text_that_can_not_be_made_whole_is_refused_without_showing_it() -> None:
    record = replace(kept(found(acl_token=TOKEN), found()), secrets={})
    with pytest.raises(BeforeError, match="a secret of the one of before is on the node no more") as refused:
        whole(record, found())
    assert KEY not in str(refused.value)


def text_of(**changes: Any) -> str:
    record = kept(found(), found("DEBUG"))
    fields = {name: getattr(record, name) for name in ("roll", "before", "after", "texts", "secrets")}
    return json.dumps({"format": 1, **fields, **changes})


def test_a_sound_record_is_read() -> None:
    assert parse(text_of(), RECORD) == kept(found(), found("DEBUG"))


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", "null", text_of(roll="../x"), text_of(roll=5), text_of(before={}),
        text_of(texts={"configuration": 5, "unit": None, "client environment": None}),
        text_of(after=dict.fromkeys(PARTS, 5)), text_of(secrets=[]),
        text_of(before={**dict.fromkeys(PARTS, ""), "package": "../../etc"}),
    ],
)  # fmt: skip
def test_a_damaged_record_is_named_and_not_overlooked(text: str) -> None:
    with pytest.raises(BeforeError, match=r"^/opt/before\.json: is damaged: .*remove it"):
        parse(text, "/opt/before.json")


@pytest.mark.parametrize("changes", [{"format": 2}, {"volumes": {}}])
def test_a_record_of_another_version_is_refused_for_it_may_hold_more(changes: dict[str, Any]) -> None:
    with pytest.raises(BeforeError, match="another version of meshnode"):
        parse(text_of(**changes), RECORD)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the user who runs the tests."""
    group = grp.getgrgid(os.getgid()).gr_name
    monkeypatch.setattr(_before, "PRIVATE", Ownership(getpass.getuser(), group, 0o600))


@pytest.mark.usefixtures("own")
def test_the_record_is_for_its_owner_alone_and_reads_as_it_was_written(tmp_path: Path) -> None:
    assert read(str(tmp_path)) is None
    record = kept(found(unit="not UTF-8: \udcff"), found("DEBUG"))
    write(str(tmp_path), record)
    assert (tmp_path / RECORD).stat().st_mode & 0o777 == 0o600
    assert read(str(tmp_path)) == record


def harm_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def harm_flood(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" " * _before.MAX_RECORD_BYTES)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("harm", [harm_cut, harm_flood])
def test_half_a_record_and_one_without_end_are_damaged(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    write(str(tmp_path), kept(found(), found("DEBUG")))
    harm(tmp_path / RECORD)
    with pytest.raises(BeforeError, match="is damaged"):
        read(str(tmp_path))


def test_the_parts_are_read_from_where_they_are(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path), str(tmp_path), str(tmp_path / "state"), str(tmp_path / "unit"))
    places = Places(str(tmp_path / "c.json"), layout.unit_file, str(tmp_path / "client.env"))
    (tmp_path / "ca").write_text("CA")
    (tmp_path / "c.json").write_text(json.dumps({"encrypt": KEY, "ca_file": str(tmp_path / "ca")}))
    (tmp_path / "current").symlink_to(f"releases/{OLD}")
    seen = look(layout, places)
    assert seen.texts == {
        "configuration": (tmp_path / "c.json").read_text(),
        "unit": None,
        "client environment": None,
    }
    assert seen.digests["package"] == OLD
    assert seen.digests["unit"] == ""
    assert seen.digests["authorities"] == _before.digest("CA")
    assert seen.secrets == {placeholder(KEY): KEY}
