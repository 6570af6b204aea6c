"""DNS messages: bytes to values and back (RFC 1035 4, 6891). Whatever the bytes, reading takes bounded time.

A name may be compressed; its pointers have to lead backwards, and there is a bound on how many one name follows.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from meshnode.base.errors import RemoteProtocolError
from meshnode.dns.records import (
    AAAA,
    CNAME,
    IN,
    MAX_LABEL_BYTES,
    MAX_NAME_BYTES,
    NS,
    OPT,
    PTR,
    SOA,
    SRV,
    TXT,
    A,
    Address4,
    Address6,
    Data,
    Edns,
    Message,
    Name,
    Opaque,
    Pointer,
    Question,
    Record,
    ServiceTarget,
    StartOfAuthority,
    Text,
)

__all__ = [
    "HEADER_BYTES",
    "MAX_MESSAGE_BYTES",
    "MAX_POINTERS",
    "MAX_RECORDS",
    "encode_edns",
    "encode_question",
    "encode_record",
    "parse",
    "serialize",
    "suffix_offsets",
]

HEADER_BYTES: Final = 12
MAX_MESSAGE_BYTES: Final = 0xFFFF
#: Records of one message that are read; a longer one is refused. Answers that a resolver needs are far shorter.
MAX_RECORDS: Final = 1024
#: Compression pointers that one name may follow: a name has at most 127 labels.
MAX_POINTERS: Final = 127
#: Pointers have 14 bits, so a name further back can't be pointed at.
_POINTER_REACH: Final = 0x4000

_HEADER: Final = Struct("!HHHHHH")
_QUESTION: Final = Struct("!HH")
_RECORD: Final = Struct("!HHIH")
_SRV: Final = Struct("!HHH")
_SOA: Final = Struct("!IIIII")
_OPTION: Final = Struct("!HH")


def parse(data: bytes, max_records: int = MAX_RECORDS) -> Message:
    """The message that ``data`` is; bytes after it are ignored.

    Raises :class:`RemoteProtocolError` for anything that is no message, or has over ``max_records`` records.
    """
    if len(data) < HEADER_BYTES:
        raise RemoteProtocolError(f"a DNS message has {HEADER_BYTES} bytes or more, this has {len(data)}")
    ident, flags, *counts = _HEADER.unpack_from(data)
    if sum(counts) > max_records:
        raise RemoteProtocolError(f"a DNS message with {sum(counts)} records: {max_records} are read at most")
    offset = HEADER_BYTES
    questions = []
    for _ in range(counts[0]):
        name, offset = _read_name(data, offset)
        _need(data, offset, _QUESTION.size)
        questions.append(Question(name, *_QUESTION.unpack_from(data, offset)))
        offset += _QUESTION.size
    sections: list[tuple[Record, ...]] = []
    edns: Edns | None = None
    for count in counts[1:]:
        section = []
        for _ in range(count):
            found, offset = _read_record(data, offset)
            if isinstance(found, Record):
                section.append(found)
            elif edns is not None or len(sections) != 2:
                raise RemoteProtocolError(
                    "a DNS message has one OPT record at most, in the additional section"
                )
            else:
                edns = found
        sections.append(tuple(section))
    answers, authority, additional = sections
    return Message(ident, flags, tuple(questions), answers, authority, additional, edns)


def serialize(message: Message, *, compress: bool = True) -> bytes:
    """The bytes of ``message``, names compressed against all that came before unless ``compress`` is off."""
    known: dict[Name, int] | None = {} if compress else None
    counts = [len(message.questions), len(message.answers), len(message.authority), len(message.additional)]
    counts[3] += message.edns is not None
    out = bytearray(_HEADER.pack(message.id, message.flags, *counts))
    for question in message.questions:
        out += _encode_name(question.name, known, len(out), learn=True)
        out += _QUESTION.pack(question.kind, question.klass)
    for section in (message.answers, message.authority, message.additional):
        for record in section:
            out += encode_record(record, known, len(out), learn=True)
    if message.edns is not None:
        out += encode_edns(message.edns)
    return bytes(out)


def encode_question(question: Question) -> bytes:
    """A question as it stands behind the header."""
    return _encode_name(question.name, None, 0) + _QUESTION.pack(question.kind, question.klass)


def suffix_offsets(name: Name) -> dict[Name, int]:
    """Where ``name`` and its parents start when it is the name of the first question."""
    offsets: dict[Name, int] = {}
    _encode_name(name, offsets, HEADER_BYTES, learn=True)
    return offsets


def encode_record(
    record: Record, known: dict[Name, int] | None, at: int = 0, *, learn: bool = False
) -> bytes:
    """One record, its names compressed against ``known``; None compresses nothing.

    With ``learn`` the record stands at ``at`` and its names are added to ``known``; without, its bytes are good
    at any place of the message.
    """
    data = record.data
    owner = _encode_name(record.name, known, at, learn=learn)
    at += len(owner) + _RECORD.size
    klass = IN
    match data:
        case Address4():
            kind, body = A, data.packed
        case Address6():
            kind, body = AAAA, data.packed
        case Pointer():
            kind, body = data.kind, _encode_name(data.target, known, at, learn=learn)
        case ServiceTarget():
            # RFC 2782: the target is never compressed.
            kind = SRV
            body = _SRV.pack(data.priority, data.weight, data.port) + _encode_name(data.target, None, 0)
        case Text():
            kind, body = TXT, b"".join(bytes((len(string),)) + string for string in data.strings)
        case StartOfAuthority():
            kind, body = SOA, _encode_name(data.server, known, at, learn=learn)
            body += _encode_name(data.mailbox, known, at + len(body), learn=learn)
            body += _SOA.pack(data.serial, data.refresh, data.retry, data.expire, data.min_ttl)
        case Opaque():
            kind, body, klass = data.kind, data.data, data.klass
    return owner + _RECORD.pack(kind, klass, record.ttl, len(body)) + body


def encode_edns(edns: Edns) -> bytes:
    """The OPT record (RFC 6891 6.1)."""
    body = b"".join(_OPTION.pack(code, len(data)) + data for code, data in edns.options)
    extended = edns.rcode << 24 | edns.version << 16 | edns.flags
    return b"\0" + _RECORD.pack(OPT, edns.udp_size, extended, len(body)) + body


def _encode_name(name: Name, known: dict[Name, int] | None, at: int, *, learn: bool = False) -> bytes:
    out = bytearray()
    for index, label in enumerate(name):
        if known is not None:
            rest = name[index:]
            pointer = known.get(rest)
            if pointer is not None:
                return bytes(out) + (0xC000 | pointer).to_bytes(2, "big")
            if learn and at + len(out) < _POINTER_REACH:
                known[rest] = at + len(out)
        out.append(len(label))
        out += label
    return bytes(out) + b"\0"


def _need(data: bytes, offset: int, count: int) -> None:
    if offset + count > len(data):
        raise RemoteProtocolError(f"a DNS message ends at byte {len(data)}, inside a record")


def _read_name(data: bytes, offset: int) -> tuple[Name, int]:
    labels: list[bytes] = []
    size, end, pointers, earliest = 1, -1, 0, offset
    while True:
        _need(data, offset, 1)
        length = data[offset]
        if length >= 0xC0:
            _need(data, offset, 2)
            end = end if end >= 0 else offset + 2
            offset = (length & 0x3F) << 8 | data[offset + 1]
            pointers += 1
            if offset >= earliest or pointers > MAX_POINTERS:
                raise RemoteProtocolError(
                    "a compressed name that leads forward, or through too many pointers"
                )
            earliest = offset
            continue
        offset += 1
        if not length:
            return tuple(labels), end if end >= 0 else offset
        if length > MAX_LABEL_BYTES:
            raise RemoteProtocolError(f"a label of an unknown kind, {length:#x}")
        _need(data, offset, length)
        size += length + 1
        if size > MAX_NAME_BYTES:
            raise RemoteProtocolError(f"a name of more than {MAX_NAME_BYTES} bytes")
        labels.append(data[offset : offset + length])
        offset += length


def _read_record(data: bytes, offset: int) -> tuple[Record | Edns, int]:
    name, offset = _read_name(data, offset)
    _need(data, offset, _RECORD.size)
    kind, klass, ttl, length = _RECORD.unpack_from(data, offset)
    offset += _RECORD.size
    end = offset + length
    _need(data, offset, length)
    if kind == OPT:
        if name:
            raise RemoteProtocolError("an OPT record whose name is not the root")
        version = ttl >> 16 & 0xFF
        return Edns(klass, version, ttl >> 24, ttl & 0xFFFF, _read_options(data[offset:end])), end
    if klass != IN:
        return Record(name, ttl, Opaque(kind, data[offset:end], klass)), end
    return Record(name, ttl, _read_data(data, kind, offset, end)), end


def _read_data(data: bytes, kind: int, offset: int, end: int) -> Data:
    after = end
    found: Data
    if kind == A and end - offset == 4:
        found = Address4(data[offset:end])
    elif kind == AAAA and end - offset == 16:
        found = Address6(data[offset:end])
    elif kind in {NS, CNAME, PTR}:
        target, after = _read_name(data, offset)
        found = Pointer(kind, target)
    elif kind == SRV and end - offset > _SRV.size:
        target, after = _read_name(data, offset + _SRV.size)
        priority, weight, port = _SRV.unpack_from(data, offset)
        found = ServiceTarget(priority, weight, port, target)
    elif kind == TXT:
        found = Text(_read_strings(data[offset:end]))
    elif kind == SOA:
        server, after = _read_name(data, offset)
        mailbox, after = _read_name(data, after)
        _need(data, after, _SOA.size)
        found = StartOfAuthority(server, mailbox, *_SOA.unpack_from(data, after))
        after += _SOA.size
    elif kind in {A, AAAA, SRV}:
        raise RemoteProtocolError(f"a record of type {kind} with {end - offset} bytes")
    else:
        found = Opaque(kind, data[offset:end])
    if after != end:
        raise RemoteProtocolError(f"a record of type {kind} whose length is not that of its data")
    return found


def _read_strings(body: bytes) -> tuple[bytes, ...]:
    strings = []
    offset = 0
    while offset < len(body):
        _need(body, offset + 1, body[offset])
        strings.append(body[offset + 1 : offset + 1 + body[offset]])
        offset += 1 + body[offset]
    return tuple(strings)


def _read_options(body: bytes) -> tuple[tuple[int, bytes], ...]:
    options = []
    offset = 0
    while offset < len(body):
        _need(body, offset, _OPTION.size)
        code, length = _OPTION.unpack_from(body, offset)
        offset += _OPTION.size
        _need(body, offset, length)
        options.append((code, body[offset : offset + length]))
        offset += length
    return tuple(options)
