"""What tests of the runner share."""

from __future__ import annotations

import pytest

from tests.unit.meshnode.runtime.checks.runner_lab import Probes


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Probes:
    """In the place of TCP checks."""
    return Probes(monkeypatch)
