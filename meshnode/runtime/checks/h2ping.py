"""HTTP/2 pings: a connection, the two sides' settings, and a PING frame that must be acknowledged (RFC 9113 6.7).

Frames are a length, a type, flags and a stream (RFC 9113 4.1); no other part of the protocol is needed here.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.local.check_status import CRITICAL, PASSING, Result
from meshnode.local.check_type import H2PingCheck, effective_timeout, split_host_port
from meshnode.runtime.checks.dial import error_words, open_stream
from meshnode.runtime.checks.http_client import close
from meshnode.runtime.checks.tls_words import CheckContexts, new_context, tls_failure

__all__ = ["MAX_FRAMES", "MAX_FRAME_BYTES", "check_h2ping"]

#: What a peer may send in one frame, since no larger limit is announced to it (RFC 9113 6.5.2).
MAX_FRAME_BYTES: Final = 16384
#: Frames that are read until the answer is there.
MAX_FRAMES: Final = 64
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS, _PING, _GOAWAY, _ACK = 0x4, 0x6, 0x7, 0x1
_HEAD_BYTES: Final = 9
_PAYLOAD: Final = b"meshnode"


async def check_h2ping(check: H2PingCheck, contexts: CheckContexts) -> Result:
    """Run ``check`` once; its definition has no fault. ``contexts`` is asked with ``use_tls`` only."""
    place, timeout = split_host_port(check.address), effective_timeout(check)
    assert place is not None, "a check without a fault has an address"
    name = check.tls_server_name or place[0]
    try:
        async with asyncio.timeout(timeout):
            await _ping(check, contexts, name)
    except TimeoutError:
        words = f"i/o timeout: no answer in {timeout:g} s"
    except ssl.SSLError as error:
        words = tls_failure(error, name)
    except asyncio.IncompleteReadError:
        words = "the connection was closed: does the server speak HTTP/2?"
    except MeshError as error:
        words = str(error)
    except OSError as error:
        words = error_words(error)
    else:
        return Result(PASSING, "HTTP2 ping was successful")
    return Result(CRITICAL, f"HTTP2 ping of {check.address} failed: {words}")


async def _ping(check: H2PingCheck, contexts: CheckContexts, name: str) -> None:
    place = split_host_port(check.address)
    assert place is not None, "checked by the caller"
    context: ssl.SSLContext | None = None
    if check.use_tls:
        context = await new_context(contexts, skip_verify=check.tls_skip_verify)
        context.set_alpn_protocols(["h2"])
    stream, writer = await open_stream(*place, effective_timeout(check) + 1, context, name)
    try:
        writer.write(_PREFACE + _frame(_SETTINGS) + _frame(_PING, payload=_PAYLOAD))
        await _acknowledged(stream, writer)
        writer.write(_frame(_GOAWAY, payload=bytes(8)))
    except BaseException:
        writer.transport.abort()
        raise
    await close(writer)


async def _acknowledged(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Return once the ping was answered; raises :class:`RemoteProtocolError` for what is not HTTP/2."""
    for number in range(MAX_FRAMES):
        head = await stream.readexactly(_HEAD_BYTES)
        length, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
        if length > MAX_FRAME_BYTES or (number == 0 and kind != _SETTINGS):
            raise RemoteProtocolError("the answer is not HTTP/2: does the server speak it?")
        payload = await stream.readexactly(length)
        if kind == _PING and flags & _ACK and payload == _PAYLOAD:
            return
        if kind == _GOAWAY:
            raise RemoteProtocolError("the server closed the connection (GOAWAY)")
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK))
    raise RemoteProtocolError(f"no answer to the ping among {MAX_FRAMES} frames")


def _frame(kind: int, flags: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + bytes(4) + payload
