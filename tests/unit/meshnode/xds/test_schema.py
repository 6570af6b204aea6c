from __future__ import annotations

import pytest

from meshnode.xds.schema import (
    CLUSTER,
    LISTENER,
    duration,
    json_document,
    message,
    packed,
    serialize,
    short_name,
    unpacked,
)


def test_a_field_that_envoy_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="no_such_field"):
        message("config.cluster.v3.Cluster")(no_such_field=1)
    with pytest.raises(KeyError):
        message("config.cluster.v3.NoSuchMessage")


def test_bytes_on_the_wire_are_those_of_the_published_api() -> None:
    # Field numbers of envoy/config/cluster/v3/cluster.proto: name = 1, connect_timeout = 4, lb_policy = 6.
    cluster = message("config.cluster.v3.Cluster")(
        name="db", connect_timeout=duration(1.5), lb_policy="RANDOM"
    )
    assert serialize(cluster) == b"\x0a\x02db" + b"\x22\x08\x08\x01\x10\x80\xca\xb5\xee\x01" + b"\x30\x03"


def test_a_map_has_one_order() -> None:
    rules = message("config.rbac.v3.RBAC")
    names = [f"policy-{number}" for number in range(40)]
    one = rules(policies={name: {} for name in names})
    other = rules(policies={name: {} for name in reversed(names)})
    assert serialize(one) == serialize(other)


def test_a_message_comes_out_of_an_any_as_it_went_in() -> None:
    listener = message("config.listener.v3.Listener")(name="public")
    wrapped = packed(listener)
    assert wrapped.type_url == LISTENER
    assert unpacked(wrapped) == listener
    assert json_document(message("config.core.v3.TransportSocket")(name="tls", typed_config=wrapped)) == {
        "name": "tls",
        "typed_config": {"@type": LISTENER, "name": "public"},
    }


def test_types_have_short_names() -> None:
    assert (short_name(CLUSTER), short_name("type.googleapis.com/x")) == ("CDS", "type.googleapis.com/x")
