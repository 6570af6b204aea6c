"""Rows become lines that may be shown."""

from __future__ import annotations

import base64

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.meshnode.lab.plugins.filter.day_two import aligned


def test_columns_are_under_each_other() -> None:
    assert aligned([["node", "keys"], ["server1", 12]]) == ["node     keys", "server1  12"]
    assert aligned([]) == []


def test_what_could_be_a_key_is_hidden() -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    assert aligned([["a", key]]) == ["a  (hidden)"]


def test_rows_of_different_lengths_are_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="give each the same columns"):
        aligned([["a"], ["b", "c"]])
