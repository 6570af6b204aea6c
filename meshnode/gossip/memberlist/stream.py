"""One message on a TCP stream, both ways: label, seal, compression, then a push/pull, user message, ping, ack or error.

label     244, length u8, label       only from the side that dialled
sealed    10, length u32, sealed      authenticated with these five bytes and the label
push/pull 6, {Join, Nodes, UserStateLen}, that many node maps, the user state
user      8, {UserMsgLen}, the message

A stream carries one message per direction. The parser is a generator that waits for bytes where blocking code would
read, and checks every length before it buffers what the length promises.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import lru_cache
from typing import TypeVar

import msgpack

from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.memberlist.codec import (
    Fields,
    node_state_fields,
    pack,
    parse_message,
    parse_node_state,
    read_bool,
    read_number,
)
from meshnode.gossip.memberlist.keyring import Keyring, NoKeyFitsError
from meshnode.gossip.memberlist.messages import (
    Ack,
    ErrorReply,
    MessageType,
    NodeState,
    Ping,
    PushPull,
    UserMessage,
)
from meshnode.gossip.memberlist.packet import PacketRefusedError, Refusal, check_label, decompress

__all__ = [
    "MAX_NODES",
    "MAX_STATE_BYTES",
    "MAX_STREAM_BYTES",
    "MAX_USER_MESSAGE_BYTES",
    "StreamMessage",
    "StreamParser",
    "encode_push_pull",
    "encode_user_stream",
    "seal_stream",
]

MAX_STATE_BYTES = 20 * 1024 * 1024
"""Longest sealed payload and longest user state (memberlist's maxPushStateBytes)."""
MAX_STREAM_BYTES = 2 * MAX_STATE_BYTES
"""Most that one stream may carry, before and after decompression (memberlist's maxDecompressedBytes)."""
MAX_USER_MESSAGE_BYTES = 20 * 1024 * 1024
MAX_NODES = 1024 * 1024
"""Most nodes in one push/pull (memberlist's maxPushStateNodes)."""
MAX_MAP_BYTES = 65_536
"""Longest header or node map."""
MAX_FIELDS = 64
"""Most entries in a header or node map."""

StreamMessage = PushPull | UserMessage | Ping | Ack | ErrorReply
T = TypeVar("T")
Waiting = Generator[None, None, T]
"""A generator that yields while it needs more bytes."""

_SINGLE = frozenset((MessageType.PING, MessageType.ACK, MessageType.ERROR))
#: What an HTTP answer begins with, in the place of a type.
_HTTP = ord("H")


class StreamParser:
    """Reads the one message of a stream from chunks of any size.

    ``label`` is what a stream that the peer dialled must open with; ``None`` reads an answer on a stream that we
    dialled, which has no label header, and then ``sealed_label`` is still authenticated by the seal.
    """

    def __init__(self, *, label: bytes, answer: bool, keyring: Keyring | None, verify_incoming: bool) -> None:
        self._label = label
        self._answer = answer
        self._keyring = keyring
        self._verify_incoming = verify_incoming
        self._buffer = bytearray()
        self._received = 0
        self._reader = self._read_stream()
        self.message: StreamMessage | None = None
        next(self._reader)

    def feed(self, data: bytes) -> StreamMessage | None:
        """Take bytes; the message once it is complete, else ``None``. Raises :class:`RemoteProtocolError`.

        Bytes after the message are ignored. After an error the parser must not be fed again.
        """
        if self.message is not None:
            return None
        self._received += len(data)
        if self._received > MAX_STREAM_BYTES:
            raise RemoteProtocolError(f"the stream holds more than {MAX_STREAM_BYTES} bytes")
        self._buffer += data
        try:
            next(self._reader)
        except StopIteration as done:
            self.message = done.value
            self._buffer.clear()
        return self.message

    def _take(self, count: int) -> Waiting[bytes]:
        while len(self._buffer) < count:
            yield
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _read_stream(self) -> Waiting[StreamMessage]:
        yield
        kind = (yield from self._take(1))[0]
        if not self._answer:
            found = b""
            if kind == MessageType.HAS_LABEL:
                length = (yield from self._take(1))[0]
                if not length:
                    raise PacketRefusedError(Refusal.MALFORMED, "its label header holds no label")
                found = yield from self._take(length)
                kind = (yield from self._take(1))[0]
            check_label(found, self._label)
        if kind == MessageType.ENCRYPT:
            plain = yield from self._open()
            return (yield from self._read_message(plain[0], _Source(plain[1:])))
        if self._keyring and self._verify_incoming:
            raise PacketRefusedError(Refusal.PLAINTEXT, "it is not encrypted and encryption is required here")
        return (yield from self._read_message(kind, _Source(self._buffer, live=True)))

    def _open(self) -> Waiting[bytes]:
        if not self._keyring:
            raise PacketRefusedError(
                Refusal.SEALED, "it is encrypted and this agent has no key: set `encrypt` here"
            )
        size = yield from self._take(4)
        length = int.from_bytes(size, "big")
        if length > MAX_STATE_BYTES:
            raise RemoteProtocolError(
                f"a sealed payload of {length} bytes: at most {MAX_STATE_BYTES} are allowed"
            )
        sealed = yield from self._take(length)
        try:
            plain = self._keyring.open(sealed, bytes((MessageType.ENCRYPT,)) + size + self._label)
        except NoKeyFitsError as error:
            raise PacketRefusedError(Refusal.KEY, str(error)) from None
        if not plain:
            raise RemoteProtocolError("a sealed payload is empty")
        return plain

    def _read_message(self, kind: int, source: _Source) -> Waiting[StreamMessage]:
        if kind == MessageType.COMPRESS:
            wrapped = yield from source.take_map(MAX_STATE_BYTES)
            plain = decompress(wrapped, MAX_STREAM_BYTES)
            kind, source = plain[0], _Source(plain[1:])
        if kind == MessageType.PUSH_PULL:
            return (yield from _read_push_pull(source))
        if kind == MessageType.USER:
            header = yield from source.take_map()
            body = yield from source.take_bytes(read_number(header, b"UserMsgLen", MAX_USER_MESSAGE_BYTES))
            return UserMessage(body)
        if kind in _SINGLE:
            fields = yield from source.take_map()
            message = parse_message(kind, fields)
            assert isinstance(message, Ping | Ack | ErrorReply)
            return message
        if kind == _HTTP:
            raise RemoteProtocolError("it speaks HTTP: name the gossip port, 8301 by default")
        raise RemoteProtocolError(f"message type {kind} does not belong on a stream")


def _read_push_pull(source: _Source) -> Waiting[PushPull]:
    header = yield from source.take_map()
    count = read_number(header, b"Nodes", MAX_NODES)
    length = read_number(header, b"UserStateLen", MAX_STATE_BYTES)
    join = read_bool(header, b"Join")
    nodes: list[NodeState] = []
    for _ in range(count):
        fields = yield from source.take_map()
        nodes.append(parse_node_state(fields))
    state = yield from source.take_bytes(length)
    return PushPull(join, tuple(nodes), state)


class _Source:
    """Where msgpack objects and raw bytes are read from: a payload that is complete, or a buffer that still grows."""

    def __init__(self, data: bytes | bytearray, *, live: bool = False) -> None:
        self._data = data
        self._live = live
        self._fed = 0
        self._unpacker: msgpack.Unpacker | None = None

    def take_map(self, max_bytes: int = MAX_MAP_BYTES) -> Waiting[Fields]:
        """One msgpack map of about ``max_bytes`` at most."""
        if self._unpacker is None:
            self._unpacker = _unpacker(max_bytes)
            self._feed()
        start = self._unpacker.tell()
        while True:
            try:
                value = self._unpacker.unpack()
            except msgpack.OutOfData:
                if self._fed - start > max_bytes:
                    raise RemoteProtocolError(f"a msgpack map of more than {max_bytes} bytes") from None
                yield from self._wait()
                continue
            except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
                raise RemoteProtocolError(f"not msgpack: {error or type(error).__name__}") from None
            if type(value) is not dict:
                raise RemoteProtocolError(f"a msgpack map expected, {type(value).__name__} found")
            return value

    def take_bytes(self, count: int) -> Waiting[bytes]:
        """``count`` bytes after the last map."""
        assert self._unpacker is not None
        taken = bytearray(self._unpacker.read_bytes(count))
        while len(taken) < count:
            yield from self._wait()
            taken += self._unpacker.read_bytes(count - len(taken))
        return bytes(taken)

    def _wait(self) -> Waiting[None]:
        if not self._live:
            raise RemoteProtocolError("the message ends before it is complete")
        yield
        self._feed()

    def _feed(self) -> None:
        assert self._unpacker is not None
        self._unpacker.feed(self._data)
        self._fed += len(self._data)
        if self._live and isinstance(self._data, bytearray):
            self._data.clear()


def _unpacker(max_bytes: int) -> msgpack.Unpacker:
    return msgpack.Unpacker(
        raw=True,
        max_buffer_size=MAX_STREAM_BYTES,
        max_str_len=max_bytes,
        max_bin_len=max_bytes,
        max_map_len=MAX_FIELDS,
        max_array_len=MAX_FIELDS,
        max_ext_len=MAX_FIELDS,
    )


# ---- writing -----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _pack_node(node: NodeState) -> bytes:
    return pack(node_state_fields(node))


def encode_push_pull(join: bool, nodes: Iterable[NodeState], user_state: bytes) -> bytes:
    """A complete push/pull message."""
    packed = [_pack_node(node) for node in nodes]
    header = pack({"Join": join, "Nodes": len(packed), "UserStateLen": len(user_state)})
    return b"\x06" + header + b"".join(packed) + user_state


def encode_user_stream(message: bytes) -> bytes:
    """A user message as it travels by stream."""
    return b"\x08" + pack({"UserMsgLen": len(message)}) + message


def seal_stream(body: bytes, keyring: Keyring, nonce: bytes, label: bytes, version: int = 1) -> bytes:
    """Seal a stream's message, with the frame around it."""
    length = len(body) + (16 - len(body) % 16 if version == 0 else 0) + 29
    frame = bytes((MessageType.ENCRYPT,)) + length.to_bytes(4, "big")
    return frame + keyring.seal(body, nonce, frame + label, version)
