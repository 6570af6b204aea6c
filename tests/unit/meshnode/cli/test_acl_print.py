from __future__ import annotations

import pytest

from meshnode.cli.acl_print import go_time, policy_text, role_entry, token_entry, token_text


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("2018-10-22T11:21:39Z", "2018-10-22 11:21:39 +0000 UTC"),
        ("2018-10-22T11:21:39.479026000Z", "2018-10-22 11:21:39.479026 +0000 UTC"),
        ("2018-10-22T11:21:39.000Z", "2018-10-22 11:21:39 +0000 UTC"),
        ("2018-10-22T11:21:39.5-04:00", "2018-10-22 11:21:39.5 -0400 -0400"),
        ("0001-01-01T00:00:00Z", "0001-01-01 00:00:00 +0000 UTC"),
        ("soon", "soon"),
        ("", ""),
    ],
)
def test_a_time_is_printed_as_go_prints_it(text: str, printed: str) -> None:
    assert go_time(text) == printed


def test_rows_with_as_little_as_possible_are_printed() -> None:
    assert token_text({"ID": "s"}).splitlines()[:2] == ["AccessorID:   ", "SecretID:     s"]
    assert "SecretID" not in token_entry({"AccessorID": "a", "SecretID": "s"})
    assert policy_text({"ID": "1", "Name": "n"}).endswith("Rules:\n")
    assert role_entry({"ID": "1", "Name": "n"}, meta=True).splitlines()[-3:] == [
        "   Hash:         ",
        "   Create Index: 0",
        "   Modify Index: 0",
    ]
