"""``connect ca get-config`` and ``set-config`` against a canned agent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

PATH = "/v1/connect/ca/configuration"
CONFIG = {"Provider": "consul", "Config": {"LeafCertTTL": "72h"}, "CreateIndex": 4, "ModifyIndex": 9}


def test_the_settings_are_json_indented_by_tabs(agent: StubAgent, run: Any) -> None:
    agent.answer(f"GET {PATH}", CONFIG)
    done = run("connect", "ca", "get-config", "-stale")
    assert (done.code, done.err) == (0, "")
    assert done.out == json.dumps(CONFIG, indent="\t") + "\n"
    assert agent.last.query == {"stale": ""}


def test_a_file_is_sent_as_it_is(agent: StubAgent, run: Any, tmp_path: Path) -> None:
    agent.answer(f"PUT {PATH}", "")
    file = tmp_path / "ca.json"
    file.write_text(json.dumps({"Provider": "consul", "Config": {"LeafCertTTL": "1h"}}))
    done = run("connect", "ca", "set-config", "-config-file", str(file))
    assert (done.code, done.out, done.err) == (0, "Configuration updated!\n", "")
    assert json.loads(agent.last.body) == {"Provider": "consul", "Config": {"LeafCertTTL": "1h"}}


@pytest.mark.parametrize(
    ("steps", "shown"), [(["a: b", "c: d"], "a: b\nc: d\n"), ([], "The root stays as it is.\n")]
)
def test_a_dry_run_prints_the_steps(
    agent: StubAgent, run: Any, tmp_path: Path, steps: list[str], shown: str
) -> None:
    agent.answer(f"PUT {PATH}", {"Plan": steps})
    file = tmp_path / "ca.json"
    file.write_text("{}")
    done = run("connect", "ca", "set-config", "-dry-run", "-config-file", str(file))
    assert (done.code, done.out) == (0, shown)
    assert agent.last.query == {"dry-run": ""}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SECRET {", "it is not JSON"),
        ("[]", "write an object"),
        ("\xff", "not UTF-8"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_configuration_is_named_and_not_quoted(
    run: Any, tmp_path: Path, text: str | None, reason: str
) -> None:
    file = tmp_path / "ca.json"
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    done = run("connect", "ca", "set-config", "-config-file", str(file))
    assert done.code == 1
    assert reason in done.err
    assert "ca.json" in done.err
    assert "SECRET" not in done.err


def test_the_file_is_required(run: Any) -> None:
    done = run("connect", "ca", "set-config")
    assert (done.code, "The -config-file flag is required" in done.err) == (1, True)
