"""What one stream or one datagram is: TLS, sealed gossip, or something that anybody can read."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.budget import Budget
from meshnode.prove.dns_shape import DnsShape, dns_message, dns_stream
from meshnode.prove.gossip import split_label, view_packet, view_stream
from meshnode.prove.tls import RESYNC_BYTES, TlsWalk, find_records, is_text, looks_like_tls

__all__ = ["MAX_GOSSIP_STREAM_BYTES", "Finding", "StreamRecogniser", "recognise_datagram"]

#: First bytes of a connection to the server port (Consul's pool.RPCType).
_RPC_SELECTORS: Final = {
    0: "RPC",
    1: "raft",
    2: "multiplexed RPC",
    4: "multiplexed RPC (yamux)",
    5: "snapshot",
}
_RPC_TLS: Final = (b"\x03", b"\x07")
_HTTP_WORDS: Final = (
    b"GET ",
    b"PUT ",
    b"POST ",
    b"DELETE ",
    b"HEAD ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"HTTP/1.",
    b"PRI * ",
)
#: Bytes after which an opening shows what it is: selector, record header, hello type; or yamux's header.
_OPENING_BYTES: Final = 16
#: Longest gossip stream that is opened. A push/pull of a thousand nodes has about 300 KiB.
MAX_GOSSIP_STREAM_BYTES: Final = 8 * 1024 * 1024
#: Bytes from the start that are kept to be shown.
SAMPLE_BYTES: Final = 96
_MIN_LINE_BYTES: Final = 4
_SSH: Final = b"SSH-"
_HTTP2: Final = "HTTP/2 in clear"
#: Start of a connection in which the first calls are, and paths of gRPC as HPACK's Huffman code writes them (RFC 7541
#: Appendix B): /etcdserverpb and /envoy. up to the last whole byte.
_CALL_BYTES: Final = 2048
_CALLS: Final = {
    bytes.fromhex("60a924882d9dcb6571"): "etcd",
    b"/etcdserverpb.": "etcd",
    bytes.fromhex("60b5773fa5"): "xDS",
    b"/envoy.": "xDS",
    b"type.googleapis.com/envoy.": "xDS",
}
_HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n"


@dataclass(frozen=True, slots=True)
class Finding:
    """``kind``: tls, sealed, unopened, plaintext or unknown. ``names`` are certificate subjects seen in clear.

    ``content`` is what a reader gets out of it beyond the bytes: opened frames, expanded messages.
    """

    kind: str
    detail: str
    version: str = ""
    cipher: str = ""
    names: tuple[str, ...] = ()
    content: tuple[bytes, ...] = ()


def recognise_datagram(data: bytes, keyring: Keyring) -> Finding:
    """Judge a UDP payload as gossip; other protocols of datagrams are none that could be called encrypted."""
    view = view_packet(data, keyring)
    if view.kind in {"unknown", "unopened"}:
        if is_text(data):
            return Finding("plaintext", "readable text")
        if (message := dns_message(data)) is not None:
            return _dns_finding(message)
    return Finding(view.kind, view.detail, content=view.content)


class StreamRecogniser:
    """Judges one direction of a TCP connection by its bytes, whatever its port, as they pass.

    ``opening`` says that the first byte is the connection's first. Holds what can only be judged as a whole (gossip),
    up to ``MAX_GOSSIP_STREAM_BYTES`` and what ``budget`` has left.
    """

    def __init__(self, *, opening: bool, keyring: Keyring, labels: Collection[bytes], budget: Budget) -> None:
        self._opening = opening
        self._keyring = keyring
        self._labels = labels
        self._budget = budget
        self._held = bytearray()
        self._whole = True
        self._calls = b""
        self._walk: TlsWalk | None = None
        self._finding: Finding | None = None
        self._feed: Callable[[bytes], None] = self._collect
        self.sample = b""
        self.label = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if len(self.sample) < SAMPLE_BYTES:
            self.sample += data[: SAMPLE_BYTES - len(self.sample)]
        self._feed(data)

    def finish(self) -> Finding:
        """What the stream was; called once, when it ended or when the next bytes are missing."""
        if self._walk is None and self._finding is None:
            self._settle(bytes(self._held))
        data = bytes(self._held)
        self._release()
        if self._calls:
            names = [name for path, name in _CALLS.items() if path in self._calls]
            self._finding = Finding("plaintext", ": ".join((_HTTP2, *names[:1])))
        self._feed = _ignore
        if self._walk is not None:
            self._walk.finish()
            return _tls_finding(self._walk)
        return self._finding or self._judge_gossip(data)

    def _collect(self, data: bytes) -> None:
        """Hold bytes until they show what they are, or to the end."""
        room = MAX_GOSSIP_STREAM_BYTES - len(self._held)
        if len(data) > room or not self._budget.take(len(data)):
            self._whole = False
            self._feed = _ignore
            return
        before = len(self._held)
        self._held += data
        enough = _OPENING_BYTES if self._opening else RESYNC_BYTES
        if before < enough <= len(self._held):
            self._settle(bytes(self._held))

    def _collect_calls(self, data: bytes) -> None:
        """Keep the start of HTTP/2, which names what is called."""
        self._calls += data[: _CALL_BYTES - len(self._calls)]

    def _settle(self, data: bytes) -> None:
        """Decide from what is held; what is neither TLS nor readable at once goes on being held as gossip."""
        start = self._tls_start(data)
        if start is not None:
            self._walk = TlsWalk()
            self._walk.feed(data[start:])
            self._feed = self._walk.feed
            self._release()
            return
        self.label = split_label(data)[0]
        self._finding = self._readable(data)
        if self._finding is not None:
            self._feed = _ignore
            if self._finding.detail == _HTTP2:
                self._feed = self._collect_calls
                self._collect_calls(data)
            self._release()

    def _tls_start(self, data: bytes) -> int | None:
        """Where TLS records start, after the selector byte of the server port where there is one."""
        if not self._opening:
            return find_records(data)
        for start in (0, 1):
            record = data[start : start + 6]
            if start and not data.startswith(_RPC_TLS):
                continue
            if len(record) == 6 and looks_like_tls(record) and (record[0], record[5]) in _FIRST_RECORDS:
                return start
            if len(record) > 5 and looks_like_tls(record) and record[0] == _ALERT:
                return start
        return None

    def _readable(self, data: bytes) -> Finding | None:
        if data.startswith(_SSH):
            return Finding("unknown", "SSH, which is no protocol of the mesh")
        if data.startswith(_HTTP2_PREFACE) or _is_http2_settings(data):
            return Finding("plaintext", _HTTP2)
        if data.startswith(_HTTP_WORDS):
            words = data.split(b"\r\n", 1)[0].split(b" ")
            word = words[0] if not data.startswith(b"HTTP/") or len(words) < 2 else b"answer " + words[1][:3]
            return Finding("plaintext", f"HTTP {word.decode('ascii', 'replace')}")
        if _is_yamux(data) or (data[:1] in (b"\x02", b"\x04") and _is_yamux(data[1:])):
            return Finding("plaintext", "server RPC: yamux frames")
        return None

    def _judge_gossip(self, data: bytes) -> Finding:
        view = view_stream(data, self._keyring, tuple(self._labels), whole=self._whole)
        if view.kind != "unknown":
            return Finding(view.kind, view.detail, content=view.content)
        if is_text(data[:512], _MIN_LINE_BYTES):
            return Finding("plaintext", "readable text")
        if self._opening and is_text(_first_line(data), _MIN_LINE_BYTES):
            return Finding("plaintext", "begins with readable text")
        if self._opening and (message := dns_stream(data)) is not None:
            return _dns_finding(message)
        if view.detail.startswith(("no given key", "the start of", "a sealed frame")):
            return Finding("unknown", view.detail)
        if self._opening and len(data) > 1 and data[0] in _RPC_SELECTORS and _has_words(data[1:512]):
            return Finding("plaintext", f"server RPC: {_RPC_SELECTORS[data[0]]}")
        if not self._whole:
            return Finding("unknown", f"no protocol recognised in {len(data)} bytes, and more followed")
        return Finding(
            "unknown", "no protocol recognised" if self._opening else "joined in the middle of a connection"
        )

    @property
    def walk(self) -> TlsWalk | None:
        """The walk over its records, when it is TLS."""
        return self._walk

    def _release(self) -> None:
        self._budget.give_back(len(self._held))
        self._held.clear()


_ALERT: Final = 21
#: Content type and handshake type that open a connection: ClientHello, ServerHello.
_FIRST_RECORDS: Final = frozenset({(22, 1), (22, 2)})


def _ignore(_data: bytes) -> None:
    """What the stream is has been decided."""


def _tls_finding(walk: TlsWalk) -> Finding:
    hello = walk.handshake
    if not hello.encrypts:
        return Finding("plaintext", f"{hello.version} {hello.cipher}", hello.version, hello.cipher)
    if walk.readable_at is not None:
        return Finding("plaintext", "readable text in TLS records")
    if walk.broken_at is not None:
        return Finding("unknown", "TLS records that break off: what follows is no TLS")
    parts = [hello.version or "TLS", hello.cipher]
    parts += [f"{hello.side} hello"] if hello.side == "client" else []
    parts += [f"SNI {hello.server_name}"] if hello.server_name else []
    parts += [f"ALPN {','.join(hello.protocols)}"] if hello.protocols else []
    parts += [] if hello.side else ["records, joined after the handshake"]
    return Finding("tls", " ".join(filter(None, parts)), hello.version, hello.cipher, hello.certificate_names)


def _dns_finding(message: DnsShape) -> Finding:
    return Finding("plaintext", f"DNS {'answer' if message.answer else 'question'}", content=(message.name,))


def _first_line(data: bytes) -> bytes:
    """The bytes before the first line end within 512 bytes; empty when there is none."""
    line, end, _ = data[:512].partition(b"\r\n")
    return line if end else b""


def _is_http2_settings(data: bytes) -> bool:
    """The frame that a server of HTTP/2 begins with (RFC 9113 3.4, 6.5): settings of six bytes each, on stream 0."""
    length = int.from_bytes(data[:3], "big")
    return len(data) >= 12 and data[3:9] == b"\x04" + bytes(5) and length % 6 == 0 and length <= 600


def _is_yamux(data: bytes) -> bool:
    """A yamux header: version 0, type 0-3, flags within the four that exist (yamux spec, "Framing")."""
    return (
        len(data) >= 12
        and data[0] == 0
        and data[1] <= 3
        and int.from_bytes(data[2:4], "big") <= 0xF
        and data[8] <= 1
    )


def _has_words(data: bytes) -> bool:
    """Whether there is a run of ten letters: names of methods and fields, which sealed bytes don't have."""
    run = 0
    for byte in data:
        run = run + 1 if 65 <= byte <= 90 or 97 <= byte <= 122 else 0
        if run == 10:
            return True
    return False
