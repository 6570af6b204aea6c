"""What a DNS message is made of, as frozen values. Names are tuples of labels, in the case they were written in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from meshnode.base.errors import MeshError

__all__ = [
    "AAAA",
    "AXFR",
    "BADVERS",
    "CLIENT_SUBNET",
    "CNAME",
    "FLAG_AA",
    "FLAG_CD",
    "FLAG_QR",
    "FLAG_RA",
    "FLAG_RD",
    "FLAG_TC",
    "FORMERR",
    "IN",
    "IXFR",
    "MAX_LABEL_BYTES",
    "MAX_NAME_BYTES",
    "NOERROR",
    "NOTIMP",
    "NS",
    "NXDOMAIN",
    "OPCODE_MASK",
    "OPT",
    "PTR",
    "REFUSED",
    "SERVFAIL",
    "SOA",
    "SRV",
    "TXT",
    "TYPE_ANY",
    "A",
    "Address4",
    "Address6",
    "Data",
    "Edns",
    "Message",
    "Name",
    "Opaque",
    "Pointer",
    "Question",
    "Record",
    "ServiceTarget",
    "StartOfAuthority",
    "Text",
    "name_from_text",
    "name_to_text",
]

#: Labels without the empty one of the root; ``()`` is the root.
Name = tuple[bytes, ...]

A: Final = 1
NS: Final = 2
CNAME: Final = 5
SOA: Final = 6
PTR: Final = 12
TXT: Final = 16
AAAA: Final = 28
SRV: Final = 33
OPT: Final = 41
IXFR: Final = 251
AXFR: Final = 252
TYPE_ANY: Final = 255

#: The one class that is answered for.
IN: Final = 1

NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
BADVERS: Final = 16

FLAG_QR: Final = 0x8000
OPCODE_MASK: Final = 0x7800
FLAG_AA: Final = 0x0400
FLAG_TC: Final = 0x0200
FLAG_RD: Final = 0x0100
FLAG_RA: Final = 0x0080
FLAG_CD: Final = 0x0010

#: EDNS option code of the client subnet (RFC 7871).
CLIENT_SUBNET: Final = 8

MAX_LABEL_BYTES: Final = 63
#: A whole name with its length bytes and the root (RFC 1035 3.1).
MAX_NAME_BYTES: Final = 255


@dataclass(frozen=True, slots=True)
class Question:
    """One question; ``kind`` and ``klass`` are QTYPE and QCLASS."""

    name: Name
    kind: int
    klass: int = IN


@dataclass(frozen=True, slots=True)
class Address4:
    """An A record's 4 bytes."""

    packed: bytes


@dataclass(frozen=True, slots=True)
class Address6:
    """An AAAA record's 16 bytes."""

    packed: bytes


@dataclass(frozen=True, slots=True)
class Pointer:
    """A record that is a name: ``kind`` is NS, CNAME or PTR."""

    kind: int
    target: Name


@dataclass(frozen=True, slots=True)
class ServiceTarget:
    """SRV (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: Name


@dataclass(frozen=True, slots=True)
class Text:
    """TXT: strings of at most 255 bytes."""

    strings: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StartOfAuthority:
    """SOA; times in seconds."""

    server: Name
    mailbox: Name
    serial: int
    refresh: int
    retry: int
    expire: int
    min_ttl: int


@dataclass(frozen=True, slots=True)
class Opaque:
    """A record of a type that means nothing here, or of another class."""

    kind: int
    data: bytes
    klass: int = IN


Data = Address4 | Address6 | Pointer | ServiceTarget | Text | StartOfAuthority | Opaque


@dataclass(frozen=True, slots=True)
class Record:
    """Something that is said of ``name``, for ``ttl`` seconds."""

    name: Name
    ttl: int
    data: Data


@dataclass(frozen=True, slots=True)
class Edns:
    """The OPT pseudo-record (RFC 6891); ``options`` are (code, data), ``rcode`` is the upper 8 bits of the code."""

    udp_size: int
    version: int = 0
    rcode: int = 0
    flags: int = 0
    options: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message; ``flags`` is the second word of the header, with opcode and rcode."""

    id: int
    flags: int
    questions: tuple[Question, ...] = ()
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    edns: Edns | None = None

    @property
    def rcode(self) -> int:
        """The response code, with the bits that EDNS adds."""
        return self.flags & 0xF | (self.edns.rcode << 4 if self.edns is not None else 0)


def name_from_text(text: str) -> Name:
    """``web.service.consul`` as labels; a dot at the end changes nothing, ``.`` is the root.

    Raises :class:`MeshError` for a label that is empty or longer than 63 bytes, or more than 255 bytes in all.
    """
    text = text.removesuffix(".")
    if not text:
        return ()
    labels = tuple(label.encode("utf-8", "surrogatepass") for label in text.split("."))
    if any(not 0 < len(label) <= MAX_LABEL_BYTES for label in labels):
        raise MeshError(f"name {text!r} has a part that is empty or longer than {MAX_LABEL_BYTES} bytes")
    if sum(map(len, labels)) + len(labels) + 1 > MAX_NAME_BYTES:
        raise MeshError(f"name {text!r} is longer than {MAX_NAME_BYTES} bytes")
    return labels


def name_to_text(name: Name) -> str:
    """Labels as text with a dot at the end; bytes that are no plain text are written as ``\\DDD``."""
    return ".".join(map(_label_text, name)) + "."


def _label_text(label: bytes) -> str:
    return "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte not in b'.\\"' else f"\\{byte:03d}" for byte in label
    )
