"""Settings."""

from __future__ import annotations

import pytest

from meshnode.base.errors import ConfigError
from meshnode.gossip.serf.config import MAX_USER_EVENT_BYTES, SerfConfig


def test_the_defaults_are_serfs_with_consuls_reconnect_timeout() -> None:
    config = SerfConfig()
    assert (config.reconnect_timeout, config.tombstone_timeout) == (72 * 3600, 24 * 3600)
    assert (config.max_user_event_bytes, config.max_query_bytes, config.query_timeout_mult) == (512, 1024, 16)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("protocol_version", 1),
        ("protocol_version", 6),
        ("event_buffer_size", 0),
        ("max_user_event_bytes", MAX_USER_EVENT_BYTES + 1),
        ("reap_interval", 0.0),
        ("broadcast_timeout", -1.0),
    ],
)
def test_a_field_out_of_range_is_named(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=key) as caught:
        SerfConfig(**{key: value})  # type: ignore[arg-type]
    assert caught.value.key == key
