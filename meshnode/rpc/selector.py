"""The first byte on port 8300 names the protocol of the connection; after TLS a second one names what is inside.

Source: Consul 1.2.3, ``agent/pool``: 0 RPC, 1 raft, 2 multiplex, 3 TLS, 4 multiplex v2 (yamux), 5 snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Refusal", "Selector", "admit"]


class Selector(IntEnum):
    """What a connection carries."""

    RPC = 0
    RAFT = 1
    MULTIPLEX = 2
    TLS = 3
    YAMUX = 4
    SNAPSHOT = 5


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection is not served: a clause for the log, and the name that its counter ends in."""

    because: str
    counter: str


#: First bytes of other protocols that people point at this port by mistake.
_STRANGERS = {
    0x16: "a TLS ClientHello without the byte 0x03 before it: on this port TLS starts with 0x03",
    ord("G"): "an HTTP request: the HTTP API has a port of its own (8500)",
    ord("P"): "an HTTP request: the HTTP API has a port of its own (8500)",
    ord("H"): "an HTTP request: the HTTP API has a port of its own (8500)",
}
_UNSERVED = {
    Selector.RAFT: Refusal("it speaks raft: this cluster's log is not raft", "raft"),
    Selector.MULTIPLEX: Refusal("it asks for multiplex v1 (0x02): use yamux (0x04)", "multiplex"),
    Selector.SNAPSHOT: Refusal(
        "it asks for a snapshot stream (0x05): this server doesn't offer one", "snapshot"
    ),
}


def admit(byte: int, *, encrypted: bool, tls_offered: bool, tls_required: bool) -> Selector | Refusal:
    """Decide on the selector ``byte`` (0-255) of a connection that is, or isn't yet, inside TLS.

    Plaintext is refused before anything else when TLS is required, so that a refusal tells a stranger nothing.
    """
    try:
        selector = Selector(byte)
    except ValueError:
        return Refusal(
            f"its first byte is 0x{byte:02x}: {_STRANGERS.get(byte, 'no protocol of ours')}", "garbage"
        )
    if selector is Selector.TLS:
        if encrypted:
            return Refusal("it asks for TLS inside TLS", "garbage")
        if not tls_offered:
            return Refusal(
                "it asks for TLS: this server has no certificate: set cert_file and key_file", "tls"
            )
        return selector
    if tls_required and not encrypted:
        return Refusal(
            "it speaks plaintext: verify_incoming is set, so use TLS (0x03) and a certificate", "plaintext"
        )
    return _UNSERVED.get(selector, selector)
