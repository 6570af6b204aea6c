from __future__ import annotations

import base64

import pytest

from meshnode.base.errors import ConfigError
from meshnode.cli.keygen import run


@pytest.mark.parametrize(
    ("args", "size"), [([], 16), (["-size", "24"], 24), (["-size=32"], 32), (["--size", "16"], 16)]
)
def test_prints_one_key_and_nothing_else(
    args: list[str], size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == 0
    out = capsys.readouterr().out
    assert len(base64.b64decode(out.removesuffix("\n"), validate=True)) == size


def test_two_keys_differ(capsys: pytest.CaptureFixture[str]) -> None:
    run([])
    run([])
    first, second = capsys.readouterr().out.split()
    assert first != second


@pytest.mark.parametrize("args", [["-size", "20"], ["-size", "big"], ["now"]])
def test_what_makes_no_key_prints_none(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError):
        run(args)
    assert capsys.readouterr().out == ""


def test_help_succeeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-h"]) == 0
    assert "-size" in capsys.readouterr().out
