from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.config import AgentConfig, Loaded, load


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Loaded]:
    """A configuration as the loader makes it, of keys given as keyword arguments."""

    def make(**keys: Any) -> Loaded:
        path = tmp_path / "agent.json"
        base = {"bind_addr": "127.0.0.1", "node_name": "node1", "data_dir": str(tmp_path / "data")}
        path.write_text(json.dumps({k: v for k, v in (base | keys).items() if v is not None}))
        return load(["-config-file", str(path)], {})

    return make


@pytest.fixture
def config(loaded: Callable[..., Loaded]) -> Callable[..., AgentConfig]:
    return lambda **keys: loaded(**keys).config
