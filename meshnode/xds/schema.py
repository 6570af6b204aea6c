"""Envoy's messages: classes that protobuf makes from the descriptors of the published API (``schema.bin``).

The descriptors are those of the wheel ``xds-protos`` 1.85 (envoyproxy/data-plane-api, Apache License 2.0), written by
``tests/support/xds_schema.py``. They live in a pool of their own, so that other copies of them in a process do no harm.
A field that Envoy doesn't know is an error where the message is made.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

__all__ = [
    "CLUSTER",
    "ENDPOINTS",
    "LISTENER",
    "ROUTES",
    "SECRET",
    "duration",
    "json_document",
    "message",
    "packed",
    "serialize",
    "short_name",
    "type_url",
    "unpacked",
]

_URL: Final = "type.googleapis.com/"
LISTENER: Final = f"{_URL}envoy.config.listener.v3.Listener"
ROUTES: Final = f"{_URL}envoy.config.route.v3.RouteConfiguration"
CLUSTER: Final = f"{_URL}envoy.config.cluster.v3.Cluster"
ENDPOINTS: Final = f"{_URL}envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET: Final = f"{_URL}envoy.extensions.transport_sockets.tls.v3.Secret"
_SHORT: Final[Mapping[str, str]] = {
    LISTENER: "LDS",
    ROUTES: "RDS",
    CLUSTER: "CDS",
    ENDPOINTS: "EDS",
    SECRET: "SDS",
}

_pool: Final = descriptor_pool.DescriptorPool()
_classes: Final[dict[str, Any]] = {}


def _load() -> None:
    data = zlib.decompress(files(__package__).joinpath("schema.bin").read_bytes())
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        _pool.Add(file)


_load()


def message(name: str) -> Any:
    """The class of ``envoy.<name>``, or of a full name that begins with ``google``; ``KeyError`` for none."""
    found = _classes.get(name)
    if found is None:
        full = name if name.startswith("google.") else f"envoy.{name}"
        found = _classes[name] = message_factory.GetMessageClass(_pool.FindMessageTypeByName(full))
    return found


def type_url(one: Any) -> str:
    """``type.googleapis.com/`` and the full name of a message."""
    return f"{_URL}{one.DESCRIPTOR.full_name}"


def short_name(url: str) -> str:
    """``LDS`` and its sisters; the URL itself for a type that isn't served."""
    return _SHORT.get(url, url)


def serialize(one: Any) -> bytes:
    """The same bytes for the same content, whatever the order in which it was put in."""
    data: bytes = one.SerializeToString(deterministic=True)
    return data


def packed(one: Any) -> Any:
    """``one`` inside an ``Any``."""
    return message("google.protobuf.Any")(type_url=type_url(one), value=serialize(one))


def unpacked(one: Any) -> Any:
    """The message inside an ``Any`` of our types; the inverse of :func:`packed`."""
    return message(one.type_url.removeprefix(_URL).removeprefix("envoy.")).FromString(one.value)


def duration(seconds: float) -> Any:
    """A ``Duration``, to the millisecond."""
    whole, rest = divmod(round(seconds * 1000), 1000)
    return message("google.protobuf.Duration")(seconds=whole, nanos=rest * 1_000_000)


def json_document(one: Any) -> dict[str, Any]:
    """As Envoy's documentation writes it, ready for a file."""
    found: dict[str, Any] = json_format.MessageToDict(
        one, preserving_proto_field_name=True, descriptor_pool=_pool
    )
    return found
