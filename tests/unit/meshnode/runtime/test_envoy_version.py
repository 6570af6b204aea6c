from __future__ import annotations

from pathlib import Path

import pytest

from meshnode.base.errors import MeshError
from meshnode.runtime.envoy_version import LEAST_VERSION, envoy_version
from tests.support.asynchronous import asynchronous

SAYS = "echo 'envoy  version: 0123abcd/{}.{}.2/Clean/RELEASE/BoringSSL'"


def program(folder: Path, text: str) -> str:
    file = folder / "envoy"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


@asynchronous
async def test_the_oldest_version_that_is_tested_is_taken_and_the_one_before_is_not(tmp_path: Path) -> None:
    major, minor = LEAST_VERSION
    assert await envoy_version(program(tmp_path, SAYS.format(major, minor))) == f"{major}.{minor}.2"
    with pytest.raises(MeshError, match=rf"{major}\.{minor} or later is needed"):
        await envoy_version(program(tmp_path, SAYS.format(major, minor - 1)))


@asynchronous
async def test_a_program_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    silent = program(tmp_path, "exec sleep 600")
    with pytest.raises(MeshError, match=r"has not said within 0\.5 s that it is Envoy: name another"):
        await envoy_version(silent, timeout=0.5)


@asynchronous
async def test_a_program_that_can_t_be_started_is_named(tmp_path: Path) -> None:
    file = tmp_path / "envoy"
    file.write_text("neither a script nor a program")
    file.chmod(0o755)
    with pytest.raises(MeshError, match="envoy"):
        await envoy_version(str(file))
