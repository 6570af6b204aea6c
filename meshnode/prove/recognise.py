"""What one stream or one datagram is: TLS, sealed gossip, or something that anybody can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from meshnode.prove.gossip import view_packet, view_stream
from meshnode.prove.streams import Stream
from meshnode.prove.tls import TlsView, looks_like_tls, view_tls

__all__ = ["Finding", "recognise_datagram", "recognise_stream"]

#: First bytes of a connection to the server port (Consul's pool.RPCType).
_RPC_SELECTORS: Final = {
    0: "RPC",
    1: "raft",
    2: "multiplexed RPC",
    4: "multiplexed RPC (yamux)",
    5: "snapshot",
}
_RPC_TLS: Final = 3
_HTTP_WORDS: Final = (
    b"GET ",
    b"PUT ",
    b"POST ",
    b"DELETE ",
    b"HEAD ",
    b"OPTIONS ",
    b"PATCH ",
    b"HTTP/1.",
    b"PRI * ",
)
#: How far into a stream whose start was not captured the next record header is looked for.
_MAX_RESYNC_BYTES: Final = 2 * ((1 << 14) + 2048)


@dataclass(frozen=True, slots=True)
class Finding:
    """``kind``: tls, sealed, plaintext or unknown. ``names`` are certificate subjects seen in clear."""

    kind: str
    detail: str
    version: str = ""
    cipher: str = ""
    names: tuple[str, ...] = ()
    authenticated: bool | None = None


def recognise_datagram(data: bytes, keys: Sequence[bytes]) -> Finding:
    """Judge a UDP payload as gossip."""
    view = view_packet(data, keys)
    return Finding(view.kind, view.detail, authenticated=view.authenticated)


def recognise_stream(stream: Stream, keys: Sequence[bytes]) -> Finding:
    """Judge one direction of a TCP connection by its bytes, whatever its port."""
    data = bytes(stream.head)
    tls = _find_tls(data, opening=stream.opening)
    if tls is not None:
        return _tls_finding(tls)
    if data.startswith(_HTTP_WORDS):
        line = data.split(b"\r\n", 1)[0][:60]
        return Finding("plaintext", f"HTTP: {line.decode('ascii', 'replace')}")
    if _is_yamux(data) or (_is_yamux(data[1:]) and data[0] in _RPC_SELECTORS):
        return Finding("plaintext", "server RPC: yamux frames")
    gossip = view_stream(data, keys)
    if gossip.kind != "unknown" or gossip.authenticated is False:
        return Finding(gossip.kind, gossip.detail, authenticated=gossip.authenticated)
    if stream.opening and data and data[0] in _RPC_SELECTORS and len(data) > 1:
        return Finding("plaintext", f"server RPC: {_RPC_SELECTORS[data[0]]}")
    if _is_text(data):
        return Finding("plaintext", "readable text")
    return Finding(
        "unknown", "no protocol recognised" if stream.opening else "joined in the middle of a connection"
    )


def _find_tls(data: bytes, *, opening: bool) -> TlsView | None:
    """The TLS view of a stream, after the selector byte of the server port where there is one."""
    for start in (0, 1):
        if looks_like_tls(data[start:]) and (start == 0 or data[0] == _RPC_TLS):
            return view_tls(data[start:])
    if opening:
        return None
    for start in range(min(len(data), _MAX_RESYNC_BYTES)):
        if looks_like_tls(data[start : start + 5]) and data[start] == 23:
            following = start + 5 + int.from_bytes(data[start + 3 : start + 5], "big")
            if following == len(data) or looks_like_tls(data[following : following + 5]):
                return view_tls(data[start:])
    return None


def _tls_finding(view: TlsView) -> Finding:
    if view.broken_at is not None:
        return Finding("unknown", f"TLS records that break off after {view.broken_at} bytes")
    parts = [view.version or "TLS", view.cipher]
    parts += [f"SNI {view.server_name}"] if view.server_name else []
    parts += [f"ALPN {','.join(view.protocols)}"] if view.protocols else []
    detail = " ".join(filter(None, parts))
    return Finding("tls", detail, view.version, view.cipher, view.certificate_names)


def _is_yamux(data: bytes) -> bool:
    """A yamux header: version 0, type 0-3, flags within the four that exist (yamux spec, "Framing")."""
    return (
        len(data) >= 12
        and data[0] == 0
        and data[1] <= 3
        and int.from_bytes(data[2:4], "big") <= 0xF
        and data[8] <= 1
    )


def _is_text(data: bytes) -> bool:
    sample = data[:512]
    printable = sum(32 <= byte < 127 or byte in (9, 10, 13) for byte in sample)
    return len(sample) >= 4 and printable / len(sample) > 0.95
