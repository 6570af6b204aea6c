"""``overhead``: targets in turns, a report of what was measured before, and wrong input named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshnode.cli.main import main

Output = pytest.CaptureFixture[str]
URL = "http://127.0.0.1:1/"


def kept(path: Path, mode: str, value: float) -> str:
    sample = {"p50_ms": value}
    content = {"schema": "meshnode.cost/1", "bases": {"tls": "plain"}, "conditions": [f"{mode} it was"]}
    path.write_text(json.dumps(content | {"samples": {mode: [sample] * 3}}))
    return str(path)


def test_what_several_runs_kept_is_one_report(tmp_path: Path, capsys: Output) -> None:
    files = [kept(tmp_path / "a.json", "plain", 2.0), kept(tmp_path / "b.json", "tls", 3.0)]
    page, text = tmp_path / "page.html", tmp_path / "text.md"
    given = [flag for file in files for flag in ("-samples", file)]
    assert main(["overhead", *given, "-html", str(page), "-markdown", str(text)]) == 0
    output = capsys.readouterr().out
    assert output == text.read_text()
    assert "tls beside plain: 50% more (50% to 50%) latency (median)." in output
    assert "- plain it was\n- tls it was" in output
    assert "<svg" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "overhead: name at least one -target, or -samples"),
        (["-target", "plain"], "-target: 'plain' is not a name, = and a value"),
        (["-target", "a=ftp://x/"], "-target: 'ftp://x/' is not an http:// or https:// address"),
        (["-target", f"a={URL}", "-base", "a=b"], "-base: a=b: 'b' is not another target"),
        (["-target", f"a={URL}", "-base", "a=a"], "-base: a=a: 'a' is not another target"),
        (["-target", f"a={URL}", "-bulk", "b=/x"], "-bulk: 'b' is not the name of a -target"),
        (
            ["-target", f"a={URL}", "-process", "a=x"],
            "-process: 'a=x' is not a target's name with a process ID",
        ),
        (["-target", f"a={URL}", "-seconds", "0"], "-seconds: '0' is not a number from 0.1 to 600"),
        (["-target", f"a={URL}", "-seconds", "nan"], "-seconds: 'nan' is not a number from 0.1 to 600"),
        (["-target", f"a={URL}", "-ca-file", "/nowhere"], "can't use /nowhere"),
        (["-target", f"a={URL}", "-seconds", "0.1"], "a at 127.0.0.1:1: "),
        (["-target", f"a={URL}", "-wire", "a=x"], "address 'x'"),
        (["-samples", "/nowhere"], "-samples: can't read /nowhere"),
        (["-samples", "FILE"], "is not what -json-file writes"),
    ],
)
def test_wrong_input_is_named(tmp_path: Path, capsys: Output, arguments: list[str], message: str) -> None:
    (tmp_path / "file").write_text('{"schema": "meshnode.cost/1", "samples": []}')
    given = [str(tmp_path / "file") if one == "FILE" else one for one in arguments]
    assert main(["overhead", *given]) == 1
    assert message in capsys.readouterr().err
