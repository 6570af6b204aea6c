from __future__ import annotations

import pytest

from meshnode.l7.names import is_valid_for

NAMES = [
    ("DNS", "a.example"),
    ("DNS", "*.b.example"),
    ("DNS", "*"),
    ("DNS", "*.com"),
    ("IP Address", "10.0.0.1"),
]


@pytest.mark.parametrize(
    ("wanted", "valid"),
    [
        ("a.example", True),
        ("A.Example.", True),
        ("x.b.example", True),
        ("x.y.b.example", False),
        ("b.example", False),
        (".b.example", False),
        ("a.com", False),
        ("com", False),
        ("10.0.0.1", True),
        ("10.0.0.2", False),
        ("::1", False),
        ("", False),
    ],
)
def test_a_certificate_is_valid_for_its_names_and_a_star_for_one_label(wanted: str, valid: bool) -> None:
    assert is_valid_for(NAMES, wanted) is valid


def test_the_same_address_is_the_same_however_it_is_written() -> None:
    assert is_valid_for([("IP Address", "0:0:0:0:0:0:0:1")], "::1")
