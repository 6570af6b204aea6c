"""Configurations loaded from files of the tests on a machine of the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.config.load import Loaded, load
from meshnode.base.errors import ConfigError
from tests.unit.meshnode.agent.config.machine import machine

__all__ = ["complaint", "fragment", "read", "write"]


def write(directory: Path, name: str, value: Any) -> Path:
    path = directory / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def read(*args: str, environ: dict[str, str] | None = None, **more: Any) -> Loaded:
    return load(["-data-dir=/none", *args], environ or {}, machine(**more))


def fragment(**settings: Any) -> str:
    return f"-hcl={json.dumps(settings)}"


def complaint(*args: str, **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*args, **more)
    return str(caught.value)
