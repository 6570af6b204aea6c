"""Knock at each door of a running agent, in each way, and see what comes back. Nothing that is sent changes anything.

Every knock is one connection or datagram: a ping of gossip, a ping of the server RPC's yamux session, a request for
the leader over HTTP, a question for a name over DNS. Certificates that come back are not checked: what is asked is who
gets an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from meshnode.base.address import Address
from meshnode.base.errors import MeshError
from meshnode.gossip.memberlist.codec import decode_message, encode_message
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.memberlist.messages import Ack, Ping
from meshnode.gossip.memberlist.packet import open_packet, split_messages
from meshnode.gossip.memberlist.stream import StreamParser, seal_stream
from meshnode.prove.exposure import WAYS, Answer, Door, Knock, Place, Settings, Way
from meshnode.rpc import yamux_frames as frames

__all__ = ["KNOCK_TIMEOUT", "Visitor", "observe"]

#: Seconds that one knock may take; gossip that is refused is silent, and is waited for as long as `SILENCE_TIMEOUT`.
KNOCK_TIMEOUT: Final = 5.0
SILENCE_TIMEOUT: Final = 0.7
#: Knocks at one time.
_AT_ONCE: Final = 16
_MAX_ANSWER_BYTES: Final = 64 * 1024
_YAMUX: Final = 0x04
_TLS: Final = 0x03
_SEQUENCE: Final = 0x6D657368
_REQUEST: Final = b"GET /v1/status/leader HTTP/1.1\r\nHost: exposure\r\nConnection: close\r\n\r\n"
_QUESTION: Final = (
    b"\x6d\x65\x01\x00\x00\x01" + bytes(6) + b"\x06consul\x07service\x06consul\x00\x00\x01\x00\x01"
)
_PING: Final = frames.HEADER.pack(frames.VERSION, frames.PING, frames.SYN, frames.SESSION, _SEQUENCE)
_PONG: Final = frames.HEADER.pack(frames.VERSION, frames.PING, frames.ACK, frames.SESSION, _SEQUENCE)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who knocks: with which gossip key, and certificate of the mesh's CA; ``node`` is whose doors they are."""

    node: str
    keyring: Keyring
    certificate: tuple[str, str] | None = None

    def context(self, way: Way) -> ssl.SSLContext:
        """TLS that takes whoever answers; with the certificate for MUTUAL."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if way is Way.MUTUAL and self.certificate is not None:
            context.load_cert_chain(*self.certificate)
        return context


async def observe(
    settings: Settings,
    places: Mapping[Place, str],
    visitor: Visitor,
    default_ports: Mapping[Door, int] | None = None,
) -> dict[Knock, Answer]:
    """What comes back for each knock that ``visitor`` can make; ``settings`` tell the ports only.

    A door that isn't bound somewhere is knocked at all the same, on the port that it has elsewhere: that is what
    shows that nobody listens there. Doors that are off everywhere are knocked at on ``default_ports``, or left out:
    the usual port may be another program's.
    """
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(knock: Knock, to: Address) -> tuple[Knock, Answer]:
        async with limit:
            return knock, await _knock(knock, to, visitor)

    wanted = []
    for door, ways in WAYS.items():
        bound = settings.listeners.get(door, ())
        port = bound[0].port if bound else (default_ports or {}).get(door, 0)
        for place, host in places.items() if port else ():
            wanted += [
                one(Knock(door, place, way), Address(host, port)) for way in ways if _can(way, visitor)
            ]
    return dict(await asyncio.gather(*wanted))


def _can(way: Way, visitor: Visitor) -> bool:
    if way is Way.SEALED:
        return bool(visitor.keyring)
    return way is not Way.MUTUAL or visitor.certificate is not None


async def _knock(knock: Knock, to: Address, visitor: Visitor) -> Answer:
    try:
        async with asyncio.timeout(KNOCK_TIMEOUT):
            match knock.door:
                case Door.GOSSIP_UDP:
                    return await _gossip_datagram(to, knock.way, visitor)
                case Door.GOSSIP_TCP:
                    return await _gossip_stream(to, knock.way, visitor)
                case Door.DNS:
                    data = await _ask_by_datagram(to, _QUESTION)
                    return Answer.ANSWERS if data[:2] == _QUESTION[:2] else Answer.REFUSES
                case Door.RPC:
                    return await _rpc(to, knock.way, visitor)
                case _:
                    return await _http(to, knock.way, visitor)
    except ConnectionRefusedError:
        return Answer.CLOSED
    except (OSError, TimeoutError, EOFError, MeshError):  # ssl.SSLError is an OSError
        return Answer.REFUSES


@contextlib.asynccontextmanager
async def _connection(to: Address) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(to.host, to.port, limit=_MAX_ANSWER_BYTES)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _rpc(to: Address, way: Way, visitor: Visitor) -> Answer:
    async with _connection(to) as (reader, writer):
        if way is not Way.CLEAR:
            writer.write(bytes((_TLS,)))
            await writer.start_tls(visitor.context(way), ssl_handshake_timeout=KNOCK_TIMEOUT)
        writer.write(bytes((_YAMUX,)) + _PING)
        came = await reader.readexactly(len(_PONG))
        return Answer.ANSWERS if came == _PONG else Answer.REFUSES


async def _http(to: Address, way: Way, visitor: Visitor) -> Answer:
    async with _connection(to) as (reader, writer):
        if way is not Way.CLEAR:
            await writer.start_tls(visitor.context(way), ssl_handshake_timeout=KNOCK_TIMEOUT)
        writer.write(_REQUEST)
        line = await reader.readline()
        # An HTTPS port says 400 to who speaks HTTP.
        return Answer.ANSWERS if line.startswith(b"HTTP/1.1 ") and b" 400 " not in line else Answer.REFUSES


async def _gossip_datagram(to: Address, way: Way, visitor: Visitor) -> Answer:
    message = encode_message(Ping(_SEQUENCE, visitor.node))
    if way is Way.SEALED:
        message = visitor.keyring.seal(message, os.urandom(12), b"")
    data = await _ask_by_datagram(to, message)
    opened = open_packet(data, b"", visitor.keyring or None, verify_incoming=False)
    acks = [one for part in split_messages(opened) if isinstance(one := decode_message(part), Ack)]
    if not any(ack.seq_no == _SEQUENCE for ack in acks):
        return Answer.REFUSES
    return Answer.SEALED if _is_sealed(data, visitor.keyring) else Answer.READABLE


def _is_sealed(data: bytes, keyring: Keyring) -> bool:
    if not keyring:
        return False
    try:
        keyring.open(data, b"")
    except MeshError:
        return False
    return True


async def _gossip_stream(to: Address, way: Way, visitor: Visitor) -> Answer:
    message = encode_message(Ping(_SEQUENCE, visitor.node))
    if way is Way.SEALED:
        message = seal_stream(message, visitor.keyring, os.urandom(12), b"")
    parser = StreamParser(label=b"", answer=True, keyring=visitor.keyring or None, verify_incoming=False)
    async with _connection(to) as (reader, writer):
        writer.write(message)
        first = b""
        while parser.message is None:
            data = await reader.read(_MAX_ANSWER_BYTES)
            if not data:
                return Answer.REFUSES
            first = first or data[:1]
            parser.feed(data)
    if not isinstance(parser.message, Ack) or parser.message.seq_no != _SEQUENCE:
        return Answer.REFUSES
    return Answer.SEALED if first == b"\x0a" else Answer.READABLE


class _Asker(asyncio.DatagramProtocol):
    """Waits for one answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        """The first one counts."""
        if not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens: the machine said so."""
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _ask_by_datagram(to: Address, data: bytes) -> bytes:
    transport, asker = await asyncio.get_running_loop().create_datagram_endpoint(
        _Asker, remote_addr=(to.host, to.port)
    )
    try:
        transport.sendto(data)
        async with asyncio.timeout(SILENCE_TIMEOUT):
            return await asker.answer
    finally:
        transport.close()
