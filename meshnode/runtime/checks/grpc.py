"""gRPC checks: ``grpc.health.v1.Health/Check``, through grpclib, which is an optional dependency.

The two messages have one field each, so they are written and read here (``health.proto`` of the gRPC health checking
protocol).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import ssl
from typing import TYPE_CHECKING, Any, Final

from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.local.check_status import CRITICAL, PASSING, Result, grpc_output
from meshnode.local.check_type import GrpcCheck, effective_timeout, split_host_port
from meshnode.runtime.checks.dial import DialError, dial, error_words
from meshnode.runtime.checks.tls_words import CheckContexts, new_context, tls_failure
from meshnode.runtime.tasks import apart

if TYPE_CHECKING:
    from grpclib.client import Channel

__all__ = ["MISSING_GRPCLIB", "check_grpc", "grpc_available", "parse_serving_status"]

#: What a gRPC check says where grpclib isn't installed.
MISSING_GRPCLIB: Final = (
    "gRPC checks need the package grpclib, which is not installed: "
    'install meshnode with its extra "etcd", as in pip install "meshnode[etcd]"'
)
_SERVING: Final = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
#: Bytes of the answer; it has two.
MAX_MESSAGE_BYTES: Final = 64 * 1024


def grpc_available() -> bool:
    """Whether grpclib can be imported."""
    return importlib.util.find_spec("grpclib") is not None


async def check_grpc(check: GrpcCheck, contexts: CheckContexts) -> Result:
    """Run ``check`` once; its definition has no fault. ``contexts`` is asked with ``use_tls`` only."""
    if not grpc_available():
        return Result(CRITICAL, MISSING_GRPCLIB)
    from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

    address = check.target.partition("/")[0]
    try:
        serving = await apart(_ask_in_time(check, contexts), name=f"gRPC check of {check.target}")
    except GRPCError as error:
        code = "".join(part.capitalize() for part in error.status.name.split("_"))
        return _failed(code, str(error.message or ""))
    except TimeoutError:
        return _failed("DeadlineExceeded", "context deadline exceeded")
    except DialError as error:
        return _failed("Unavailable", f'connection error: desc = "transport: Error while dialing {error}"')
    except ssl.SSLError as error:
        words = tls_failure(error, check.tls_server_name or address)
        return _failed(
            "Unavailable", f'connection error: desc = "transport: authentication handshake failed: {words}"'
        )
    except (ProtocolError, StreamTerminatedError, MeshError, ValueError) as error:
        return _failed(
            "Unavailable", f"{str(error) or 'the connection was closed'}: does the server speak gRPC?"
        )
    except OSError as error:
        return _failed("Unavailable", f"transport is closing: {error_words(error)}")
    if not serving:
        return Result(CRITICAL, "gRPC application didn't report service healthy")
    return Result(PASSING, grpc_output(check.target))


def _failed(code: str, description: str) -> Result:
    return Result(CRITICAL, f"rpc error: code = {code} desc = {description}")


async def _ask_in_time(check: GrpcCheck, contexts: CheckContexts) -> bool:
    async with asyncio.timeout(effective_timeout(check)):
        return await _ask(check, contexts)


async def _ask(check: GrpcCheck, contexts: CheckContexts) -> bool:
    from grpclib.client import UnaryUnaryMethod

    context: ssl.SSLContext | None = None
    if check.use_tls:
        context = await new_context(contexts, skip_verify=check.tls_skip_verify)
        context.set_alpn_protocols(["h2"])
    channel = _channel(check, context)
    service = check.target.partition("/")[2].encode()
    request = b"\x0a" + _varint(len(service)) + service if service else b""
    try:
        method: UnaryUnaryMethod[bytes, bytes] = UnaryUnaryMethod(
            channel, "/grpc.health.v1.Health/Check", bytes, bytes
        )
        return parse_serving_status(await method(request)) == _SERVING
    finally:
        channel.close()


def _channel(check: GrpcCheck, context: ssl.SSLContext | None) -> Channel:
    """A channel that is connected by our own dialer, for the sake of its errors. grpclib is imported by now."""
    from grpclib.client import Channel
    from grpclib.encoding.base import CodecBase
    from grpclib.protocol import H2Protocol

    place = split_host_port(check.target.partition("/")[0])
    assert place is not None, "a check without a fault has an address"
    host, port = place

    class Bytes(CodecBase):
        __content_subtype__ = "proto"

        def encode(self, message: Any, message_type: Any) -> bytes:
            del message_type
            return bytes(message)

        def decode(self, data: bytes, message_type: Any) -> bytes:
            del message_type
            if len(data) > MAX_MESSAGE_BYTES:
                raise RemoteProtocolError(f"the answer has more than {MAX_MESSAGE_BYTES} bytes")
            return data

    class Dialed(Channel):
        async def _create_connection(self) -> H2Protocol:
            sock = await dial(host, port, effective_timeout(check) + 1)
            try:
                _, protocol = await asyncio.get_running_loop().create_connection(
                    self._protocol_factory,
                    sock=sock,
                    ssl=context,
                    server_hostname=(check.tls_server_name or host) if context else None,
                )
            except BaseException:
                with contextlib.suppress(OSError):
                    sock.close()
                raise
            return protocol

    return Dialed(host, port, ssl=context, codec=Bytes())


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))


def parse_serving_status(message: bytes) -> int:
    """Field 1 of a ``HealthCheckResponse`` (0 when absent, the last one when repeated); other fields are passed over.

    Raises :class:`RemoteProtocolError` for what is no protobuf message.
    """
    position, status = 0, 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _read_varint(message, position)
            status = value if tag >> 3 == 1 else status
        elif kind == _BYTES:
            length, position = _read_varint(message, position)
            position += length
        elif kind in (_FIXED32, _FIXED64):
            position += 4 if kind == _FIXED32 else 8
        else:
            raise RemoteProtocolError("the answer is no protobuf message")
    if position > len(message):
        raise RemoteProtocolError("the answer is cut short")
    return status


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise RemoteProtocolError("the answer is cut short")
