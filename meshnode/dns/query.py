"""A query as it is answered: its bytes, who asks, and what EDNS says; and the frame that every answer has."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from meshnode.base.errors import RemoteProtocolError
from meshnode.dns.message import HEADER_BYTES, encode_edns, encode_question, parse
from meshnode.dns.records import (
    AXFR,
    BADVERS,
    CLIENT_SUBNET,
    FLAG_AA,
    FLAG_CD,
    FLAG_QR,
    FLAG_RA,
    FLAG_RD,
    FORMERR,
    IN,
    IXFR,
    NOERROR,
    NOTIMP,
    OPCODE_MASK,
    Edns,
    Question,
)

__all__ = [
    "MAX_QUERY_RECORDS",
    "MAX_TCP_ANSWER_BYTES",
    "MAX_UDP_ANSWER_BYTES",
    "Asked",
    "ClientSubnet",
    "read_query",
]

#: A query has a question and an OPT record; a few more are allowed for (TSIG, SIG(0)).
MAX_QUERY_RECORDS: Final = 16
#: Without EDNS (RFC 1035 2.3.4).
PLAIN_UDP_BYTES: Final = 512
#: What goes into one datagram, with IP and UDP headers, whatever size a client offers.
MAX_UDP_ANSWER_BYTES: Final = 0xFFFF - 68
MAX_TCP_ANSWER_BYTES: Final = 0xFFFF
#: The family numbers of RFC 7871 6, with the bytes of an address.
_FAMILIES: Final = {1: 4, 2: 16}


@dataclass(frozen=True, slots=True)
class ClientSubnet:
    """On whose behalf a resolver asks (RFC 7871): ``prefix`` bits of ``address``, the rest of which is zero."""

    family: int
    prefix: int
    address: str

    @classmethod
    def parse(cls, data: bytes) -> ClientSubnet:
        """Read the option. Raises :class:`RemoteProtocolError`."""
        family, prefix = int.from_bytes(data[:2], "big"), data[2] if len(data) > 2 else 0
        size = _FAMILIES.get(family, 0)
        if len(data) < 4 or prefix > 8 * size or len(data) - 4 != (prefix + 7) // 8:
            raise RemoteProtocolError("a client subnet option that is none (RFC 7871 6)")
        packed = data[4:].ljust(size, b"\0")
        return cls(family, prefix, str(ipaddress.ip_address(packed)) if size else "")

    def serialize(self, scope: int) -> bytes:
        """The option of an answer that is good for ``scope`` bits."""
        packed = ipaddress.ip_address(self.address).packed if self.address else b""
        head = self.family.to_bytes(2, "big") + bytes((self.prefix, scope))
        return head + packed[: (self.prefix + 7) // 8]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of one client; ``error`` is what the frame alone answers (NOERROR: nothing yet)."""

    data: bytes
    flags: int
    question: Question | None
    edns: Edns | None
    subnet: ClientSubnet | None
    source: str
    tcp: bool
    error: int = NOERROR

    @property
    def max_bytes(self) -> int:
        """How long an answer may be."""
        if self.tcp:
            return MAX_TCP_ANSWER_BYTES
        offered = self.edns.udp_size if self.edns is not None else 0
        return min(MAX_UDP_ANSWER_BYTES, max(PLAIN_UDP_BYTES, offered))

    @property
    def is_plain_udp(self) -> bool:
        """UDP with 512 bytes at most, where ``udp_answer_limit`` is in force."""
        return self.max_bytes == PLAIN_UDP_BYTES

    def answer_flags(self, rcode: int, *, authoritative: bool, recursion: bool) -> int:
        """The flags of an answer, what the client set included."""
        flags = FLAG_QR | self.flags & (OPCODE_MASK | FLAG_RD | FLAG_CD) | rcode & 0xF
        return flags | (FLAG_AA if authoritative else 0) | (FLAG_RA if recursion else 0)

    def answer_question(self) -> bytes:
        """The question as it was asked, bytes for bytes."""
        return encode_question(self.question) if self.question is not None else b""

    def answer_edns(self, rcode: int, *, by_source: bool = False) -> bytes:
        """The OPT record of the answer: the size the client offered, its subnet; nothing without EDNS."""
        if self.edns is None:
            return b""
        options: tuple[tuple[int, bytes], ...] = ()
        if self.subnet is not None:
            scope = self.subnet.prefix if by_source and rcode == NOERROR else 0
            options = ((CLIENT_SUBNET, self.subnet.serialize(scope)),)
        return encode_edns(Edns(max(PLAIN_UDP_BYTES, self.edns.udp_size), 0, rcode >> 4, 0, options))


def read_query(data: bytes, source: str, *, tcp: bool) -> Asked | None:
    """The query that ``data`` is; None for what deserves no answer: an answer, or no message at all."""
    if len(data) < HEADER_BYTES:
        return None
    flags = int.from_bytes(data[2:4], "big")
    if flags & FLAG_QR:
        return None
    subnet = None
    try:
        message = parse(data, MAX_QUERY_RECORDS)
        for code, option in message.edns.options if message.edns is not None else ():
            if code == CLIENT_SUBNET:
                subnet = ClientSubnet.parse(option)
    except RemoteProtocolError:
        error = NOTIMP if flags & OPCODE_MASK else FORMERR
        return Asked(data, flags, None, None, None, source, tcp, error)
    question = message.questions[0] if len(message.questions) == 1 else None
    error = NOERROR
    if message.edns is not None and message.edns.version:
        error = BADVERS
    elif flags & OPCODE_MASK:
        error = NOTIMP
    elif question is None:
        error = FORMERR
    elif question.klass != IN or question.kind in {AXFR, IXFR}:
        error = NOTIMP
    return Asked(data, flags, question, message.edns, subnet, source, tcp, error)
