"""Fields of bodies as values; what can't be read is the caller's mistake."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.control.body import duration
from meshnode.rpc.method import RpcError


@pytest.mark.parametrize(
    ("written", "seconds"), [(None, 0.0), ("", 0.0), (b"1m", 60.0), ("10s", 10.0), (1_500_000_000, 1.5)]
)
def test_a_duration_is_nanoseconds_or_a_text(written: Any, seconds: float) -> None:
    assert duration({"Interval": written}, "Interval") == seconds


@pytest.mark.parametrize("wrong", ["soon", True, [], 1.5])
def test_a_duration_that_is_none_names_its_field(wrong: Any) -> None:
    with pytest.raises(RpcError, match=r"^Interval"):
        duration({"Interval": wrong}, "Interval")
