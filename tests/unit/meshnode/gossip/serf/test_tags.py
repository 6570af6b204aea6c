"""Tags in node metadata."""

from __future__ import annotations

import pytest

from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.gossip.memberlist.messages import MAX_META_BYTES
from meshnode.gossip.serf.tags import check_tags, parse_tags, serialize_tags


def test_tags_are_the_bytes_that_serf_0_8_2_sent() -> None:
    captured = bytes.fromhex("ff81a46b696e64a774686569727330")
    assert serialize_tags({"kind": "theirs0"}) == captured
    assert parse_tags(captured) == {"kind": "theirs0"}


@pytest.mark.parametrize("tags", [{}, {"a": ""}, {"role": "web", "dc": "дц1"}, {"long": "x" * 300}])
def test_tags_survive_the_round_trip(tags: dict[str, str]) -> None:
    assert parse_tags(serialize_tags(tags)) == tags


def test_before_protocol_three_only_the_role_travels() -> None:
    assert serialize_tags({"role": "web", "dc": "dc1"}, protocol=2) == b"web"
    assert parse_tags(b"web") == {"role": "web"}
    assert parse_tags(b"") == {"role": ""}


def test_text_of_a_peer_that_is_not_utf8_is_kept_byte_for_byte() -> None:
    assert parse_tags(b"\xff\x81\xa1\xfe\xa1\x80") == {"\udcfe": "\udc80"}


@pytest.mark.parametrize(
    "meta", [b"\xff", b"\xff\x01", b"\xff\x81\xa1k\x05", b"\xff\x81\x01\xa1v", b"\xff\x91\xa1k"]
)
def test_a_magic_byte_without_a_map_of_strings_is_refused(meta: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_tags(meta)


def test_tags_may_fill_one_alive_message_and_not_a_byte_more() -> None:
    overhead = len(serialize_tags({"k": "x" * 300})) - 300
    check_tags({"k": "x" * (MAX_META_BYTES - overhead)})
    with pytest.raises(MeshError, match=r"513 bytes.*512"):
        check_tags({"k": "x" * (MAX_META_BYTES - overhead + 1)})
