"""Text and bytes of bodies that come off the wire, where one type stands for both."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.control.wire import from_wire

TEXT = st.text(max_size=8)
ROW = st.fixed_dictionaries(
    {
        "Key": TEXT,
        "Value": st.binary(max_size=8),
        "Flags": st.integers(0, 2**64 - 1),
        "Meta": st.dictionaries(TEXT, TEXT, max_size=3),
        "Tags": st.lists(TEXT, max_size=3),
        "Config": st.recursive(TEXT, lambda inner: st.dictionaries(TEXT, inner, max_size=2), max_leaves=4)
        .filter(lambda value: isinstance(value, dict)),
    }
)  # fmt: skip


def travelled(value: Any) -> Any:
    """There and back as Consul's codec does it: old spec, everything raw."""
    data = msgpack.packb(value, use_bin_type=False, unicode_errors="surrogateescape")
    return from_wire(msgpack.unpackb(data, raw=True, strict_map_key=False))


@given(ROW)
def test_a_row_comes_back_as_it_was(row: dict[str, Any]) -> None:
    assert travelled(row) == row
    assert travelled({"Entries": [row], "Index": 7, "None": None}) == {
        "Entries": [row],
        "Index": 7,
        "None": None,
    }


@pytest.mark.parametrize(
    "body",
    [
        {"Value": b"\xff\x00", "Key": "a"},
        {"NodeMeta": {"Value": "text", "Payload": "text"}},
        {"Services": {"Value": ["a"], "web": ["v1"]}},
        {"NodeServices": {"Services": {"Meta": {"Meta": {"Value": "v"}, "Port": 80}}}},
        {"Dump": [{"Services": [{"Meta": {"Value": "v"}, "Config": {"Value": {"Value": "v"}}}]}]},
        {"Ops": [{"KV": {"Value": b"\x80", "Verb": "set"}}]},
    ],
)
def test_names_that_people_chose_are_not_mistaken_for_fields(body: dict[str, Any]) -> None:
    assert travelled(body) == body


def test_what_is_not_utf8_is_kept() -> None:
    assert travelled({"Key": "a\udcff"}) == {"Key": "a\udcff"}
