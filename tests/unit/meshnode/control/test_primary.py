from __future__ import annotations

import pytest

from meshnode.control.primary import PRIMARY_METHODS, place_of


@pytest.mark.parametrize(
    ("method", "wanted", "place"),
    [
        ("KVS.Apply", "", "dc2"),
        ("KVS.Apply", "dc3", "dc3"),
        ("Intention.Apply", "", "dc1"),
        ("Intention.Apply", "dc2", "dc1"),
        # Asked for by name: that one passes it on, if it isn't the primary itself.
        ("Intention.Apply", "dc3", "dc3"),
        ("Intention.List", "", "dc2"),
        ("ConnectCA.Roots", "dc2", "dc2"),
        ("ConnectCA.Sign", "", "dc2"),
    ],
)
def test_where_a_call_of_a_secondary_datacenter_is_carried_out(method: str, wanted: str, place: str) -> None:
    assert place_of(method, wanted, "dc2", "dc1") == place


def test_the_primary_carries_everything_out_itself() -> None:
    assert {place_of(method, "", "dc1", "dc1") for method in PRIMARY_METHODS} == {"dc1"}
