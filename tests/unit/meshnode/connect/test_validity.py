"""A root before its time, in it and after it."""

from __future__ import annotations

import pytest

from meshnode.base.errors import ConfigError
from meshnode.connect.model import CaRoot
from meshnode.connect.validity import check_given, complaint

ROOT = CaRoot("id", "Consul CA 1", 1, "k", 100.0, 200.0, "pem", active=True)


@pytest.mark.parametrize(
    ("at", "said"), [(99.9, "begins at 1970-01-01T00:01:40Z"), (200.0, "ended at 1970-01-01T00:03:20Z")]
)
def test_out_of_its_time_it_is_named_with_when_and_what_to_do(at: float, said: str) -> None:
    assert f"Consul CA 1 {said}" in complaint(ROOT, at)
    with pytest.raises(ConfigError, match=f"^RootCert: Consul CA 1 {said}.*: write "):
        check_given(ROOT, at)


@pytest.mark.parametrize("at", [100.0, 199.9])
def test_in_its_time_there_is_nothing_to_say(at: float) -> None:
    assert complaint(ROOT, at) == ""
    assert complaint(None, at) == ""
    check_given(ROOT, at)
