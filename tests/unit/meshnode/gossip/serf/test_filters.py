"""Who a query is for."""

from __future__ import annotations

import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.serf.filters import passes, serialize_filters

TAGS = {"role": "web", "dc": "dc1"}


def test_filters_are_the_bytes_that_serf_0_8_2_sent() -> None:
    assert serialize_filters(["ours0", "serf0"], {"kind": ".*s0"}) == (
        bytes.fromhex("0092a56f75727330a57365726630"),
        bytes.fromhex("0182a445787072a42e2a7330a3546167a46b696e64"),
    )
    assert serialize_filters([], {}) == ()


@pytest.mark.parametrize(
    ("nodes", "tags", "expected"),
    [
        ([], {}, True),
        (["a", "me"], {}, True),
        (["a", "b"], {}, False),
        ([], {"role": "^w"}, True),
        ([], {"role": "^w", "dc": "2$"}, False),
        ([], {"absent": "^$"}, True),
        ([], {"absent": "."}, False),
        (["me"], {"role": "db"}, False),
    ],
)
def test_a_node_answers_when_it_passes_every_filter(
    nodes: list[str], tags: dict[str, str], expected: bool
) -> None:
    assert passes(serialize_filters(nodes, tags), "me", TAGS) is expected


@pytest.mark.parametrize(
    "item", [b"", b"\x02\x90", b"\x00\x81", b"\x00\xa1a", b"\x01\x90", b"\x01\x81\xa4Expr\xa1("]
)
def test_a_filter_that_cannot_be_read_is_an_error(item: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        passes([item], "me", TAGS)
