"""The state on paper: frames of msgpack, each ``[section, rows]``, in one order whatever the history was.

First ``["meshnode-state", [format, facts]]``, then the sections, last ``["end", [number of rows]]``. A frame is the
length and the CRC-32 of its msgpack, four bytes each, big endian, and the msgpack. Rows are stored values, which never
change, so a capture is cheap and the writing can wait.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import msgpack

from meshnode.acl.model import ANONYMOUS, GLOBAL_MANAGEMENT, Policy, Role, Token
from meshnode.acl.store import AclStore
from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.catalog.coordinates import NodeCoordinate
from meshnode.catalog.model import Check, Node, Service
from meshnode.catalog.store import Catalog
from meshnode.config_entries.model import ConfigEntry
from meshnode.config_entries.parse import entry_fields, parse_entry
from meshnode.config_entries.store import ConfigEntryStore
from meshnode.connect.model import CaState, NodeTrust, Revoked
from meshnode.connect.store import ConnectStore
from meshnode.control.autopilot import AutopilotConfig, AutopilotStore
from meshnode.control.prepared.model import PreparedQuery
from meshnode.control.prepared.store import PreparedQueries
from meshnode.control.shape import Shape
from meshnode.intentions.model import Destination, Intention
from meshnode.intentions.store import IntentionStore
from meshnode.kv.sessions import Session, Sessions
from meshnode.kv.store import Entry, KvStore

__all__ = ["FORMAT", "MAX_ROWS", "Capture", "capture", "chunks", "load"]

MAGIC: Final = "meshnode-state"
#: Grows with each change that an older meshnode couldn't read.
FORMAT: Final = 1
#: Rows of one chunk.
MAX_ROWS: Final = 512
#: Bytes of all entries after which a chunk of entries ends; an entry has at most one command's.
CHUNK_BYTES: Final = 1 << 20
#: Bytes of one frame, when reading: a node with all its services is one row.
MAX_FRAME_BYTES: Final = 1 << 28
_FRAME: Final = struct.Struct(">II")

_NODE: Final = Shape(Node)
_SERVICE: Final = Shape(Service)
_CHECK: Final = Shape(Check)
_COORDINATE: Final = Shape(NodeCoordinate)
_ENTRY: Final = Shape(Entry)
_SESSION: Final = Shape(Session)
_POLICY: Final = Shape(Policy)
_ROLE: Final = Shape(Role)
_TOKEN: Final = Shape(Token)
_QUERY: Final = Shape(PreparedQuery)
_AUTOPILOT: Final = Shape(AutopilotConfig)
_INTENTION: Final = Shape(Intention)
_DESTINATION: Final = Shape(Destination)
_CA: Final = Shape(CaState)
_TRUST: Final = Shape(NodeTrust)
_REVOKED: Final = Shape(Revoked)


@dataclass(frozen=True, slots=True)
class Facts:
    """The single numbers of the state."""

    last_index: int
    epoch: int
    leader: str
    nodes_index: int
    services_index: int
    checks_index: int
    coordinates_index: int
    kv_index: int
    sessions_index: int
    graveyard_floor: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """A config entry: its fields as an object, and its indexes."""

    fields: Mapping[str, Any]
    create_index: int
    modify_index: int


_FACTS: Final = Shape(Facts)
_STORED: Final = Shape(StoredEntry)


#: Name, rows in order, how a row is written.
Section: TypeAlias = tuple[str, list[Any], Callable[[Any], Any]]


@dataclass(frozen=True, slots=True)
class Capture:
    """References to everything in the state at one index."""

    facts: Facts
    sections: tuple[Section, ...]


def capture(
    catalog: Catalog,
    kv: KvStore,
    sessions: Sessions,
    last_index: int,
    epoch: int,
    leader: str,
    *,
    offset: int,
    acl: AclStore,
    queries: PreparedQueries,
    autopilot: AutopilotStore,
    connect: ConnectStore,
    intentions: IntentionStore,
    config: ConfigEntryStore,
) -> Capture:
    """Take hold of the state as it is now; costs a list of references."""
    tables = catalog.tables
    facts = Facts(
        last_index,
        epoch,
        leader,
        tables.nodes_index,
        tables.services_index,
        tables.checks_index,
        tables.coordinates.index,
        kv.index,
        sessions.index,
        kv.graveyard.floor,
        offset,
    )
    rows = [(row.node, [*row.services.values()], [*row.checks.values()]) for row in tables.rows()]
    return Capture(
        facts,
        (
            ("nodes", rows, _pack_node),
            ("service-indexes", sorted(tables.name_index.items()), _as_it_is),
            ("connect-indexes", sorted(tables.connect_index.items()), _as_it_is),
            ("coordinates", list(tables.coordinates), _COORDINATE.pack),
            ("entries", list(kv.in_order()), _ENTRY.pack),
            ("tombstones", sorted(kv.graveyard.stones.items()), _as_it_is),
            ("trees", sorted(kv.graveyard.trees.items()), _as_it_is),
            ("sessions", sessions.every()[1], _SESSION.pack),
            ("lock-delays", list(sessions.delays), _as_it_is),
            ("acl-indexes", _acl_indexes(acl), _as_it_is),
            ("acl-policies", [row for row in acl.policies() if row != GLOBAL_MANAGEMENT], _POLICY.pack),
            ("acl-roles", acl.roles(), _ROLE.pack),
            ("acl-tokens", [row for row in acl.tokens() if row != ANONYMOUS], _TOKEN.pack),
            ("query-indexes", [("last", queries.index)] if queries.index else [], _as_it_is),
            ("queries", queries.every()[1], _QUERY.pack),
            ("autopilot", [autopilot.config] if autopilot.index else [], _AUTOPILOT.pack),
            ("ca-indexes", _connect_indexes(connect), _as_it_is),
            ("connect-ca", [connect.ca] if connect.index else [], _CA.pack),
            ("connect-trust", connect.trust(), _TRUST.pack),
            ("connect-revoked", connect.revoked(), _REVOKED.pack),
            *_rules(intentions, config),
        ),
    )


def _rules(intentions: IntentionStore, config: ConfigEntryStore) -> tuple[Section, ...]:
    return (
        ("intention-indexes", [("last", intentions.index)] if intentions.index else [], _as_it_is),
        ("intentions", intentions.every()[1], _INTENTION.pack),
        ("intention-destinations", intentions.destinations(), _DESTINATION.pack),
        ("config-indexes", [("last", config.index)] if config.index else [], _as_it_is),
        ("config-entries", config.every(), _pack_entry),
    )


def chunks(captured: Capture) -> Iterator[bytes]:
    """The bytes of a capture, in pieces of some hundred rows."""
    count = 0
    yield _frame(MAGIC, [FORMAT, _FACTS.pack(captured.facts)])
    for section, rows, write in captured.sections:
        for some in _split(rows):
            count += len(some)
            yield _frame(section, [write(row) for row in some])
    yield _frame("end", [count])


def _frame(section: str, rows: list[Any]) -> bytes:
    body: bytes = msgpack.packb([section, rows])
    return _FRAME.pack(len(body), zlib.crc32(body)) + body


def _split(rows: list[Any]) -> Iterator[list[Any]]:
    """Pieces of at most ``MAX_ROWS``, and of entries no more than ``CHUNK_BYTES`` plus one entry."""
    piece: list[Any] = []
    size = 0
    for row in rows:
        piece.append(row)
        size += len(row.value) if isinstance(row, Entry) else 0
        if len(piece) == MAX_ROWS or size >= CHUNK_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _pack_node(row: tuple[Node, list[Service], list[Check]]) -> list[Any]:
    node, services, checks = row
    services.sort(key=lambda service: service.id.lower())
    checks.sort(key=lambda check: check.check_id.lower())
    return [_NODE.pack(node), [*map(_SERVICE.pack, services)], [*map(_CHECK.pack, checks)]]


def _pack_entry(entry: ConfigEntry) -> list[Any]:
    fields = entry_fields(replace(entry, create_index=0, modify_index=0))
    return _STORED.pack(StoredEntry(fields, entry.create_index, entry.modify_index))


def _unpack_entry(row: Any) -> ConfigEntry:
    stored = _STORED.unpack(row)
    try:
        entry = parse_entry(stored.fields)
    except ConfigError as error:
        raise RemoteProtocolError(f"the snapshot has a config entry that can't be read: {error}") from None
    return replace(entry, create_index=stored.create_index, modify_index=stored.modify_index)


def _acl_indexes(acl: AclStore) -> list[tuple[str, int]]:
    return [("bootstrap", acl.bootstrap_index), ("last", acl.index)] if acl.index else []


def _connect_indexes(connect: ConnectStore) -> list[tuple[str, int]]:
    if not connect.index:
        return []
    return [("ca", connect.index), ("roots", connect.roots_index), ("trust", connect.trust_index)]


def _as_it_is(row: Any) -> Any:
    return row


def load(
    data: bytes,
    catalog: Catalog,
    kv: KvStore,
    sessions: Sessions,
    *,
    acl: AclStore,
    queries: PreparedQueries,
    autopilot: AutopilotStore,
    connect: ConnectStore,
    intentions: IntentionStore,
    config: ConfigEntryStore,
) -> tuple[int, int, str, int]:
    """Fill empty stores from the bytes of ``chunks``; returns the last index, the epoch, the leader, the offset.

    Raises :class:`RemoteProtocolError`; the stores are then half filled and to be thrown away.
    """
    with _told_as_damage():
        facts, sections = _sections(data)
        _fill_catalog(catalog, sections, facts)
        _fill_kv(kv, sessions, sections, facts)
        _fill_acl(acl, sections)
        _fill_connect(connect, sections)
        for row in sections.pop("queries", ()):
            queries.load(_QUERY.unpack(row))
        queries.index = dict(_pairs(sections.pop("query-indexes", ()), int)).get("last", 0)
        for row in sections.pop("autopilot", ()):
            autopilot.load(_AUTOPILOT.unpack(row))
        for row in sections.pop("intentions", ()):
            intentions.load(_INTENTION.unpack(row))
        for row in sections.pop("intention-destinations", ()):
            intentions.load_destination(_DESTINATION.unpack(row))
        intentions.index = dict(_pairs(sections.pop("intention-indexes", ()), int)).get("last", 0)
        for row in sections.pop("config-entries", ()):
            config.load(_unpack_entry(row))
        config.index = dict(_pairs(sections.pop("config-indexes", ()), int)).get("last", 0)
        if sections:
            raise RemoteProtocolError(
                f"the snapshot has unknown sections {sorted(sections)}: is it of a newer meshnode?"
            )
    return facts.last_index, facts.epoch, facts.leader, facts.offset


@contextmanager
def _told_as_damage() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise RemoteProtocolError(f"the snapshot has an ACL policy that can't be read: {error}") from None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise RemoteProtocolError(f"the snapshot can't be read: {error!r}") from None


def _sections(data: bytes) -> tuple[Facts, dict[str, list[Any]]]:
    frames = _frames(data)
    magic, head = next(frames, ("", ()))
    if magic != MAGIC:
        raise RemoteProtocolError("this is no snapshot of a meshnode state")
    version, written = head
    if version != FORMAT:
        raise RemoteProtocolError(f"the snapshot has format {version!r}: this meshnode reads {FORMAT}")
    facts = _FACTS.unpack(written)
    sections: dict[str, list[Any]] = {}
    for section, rows in frames:
        sections.setdefault(section, []).extend(rows)
    return facts, sections


def _fill_catalog(catalog: Catalog, sections: dict[str, list[Any]], facts: Facts) -> None:
    tables = catalog.tables
    for node, services, checks in sections.pop("nodes", ()):
        tables.load_node(_NODE.unpack(node), map(_SERVICE.unpack, services), map(_CHECK.unpack, checks))
    tables.name_index.update(_pairs(sections.pop("service-indexes", ()), int))
    tables.connect_index.update(_pairs(sections.pop("connect-indexes", ()), int))
    for row in sections.pop("coordinates", ()):
        tables.coordinates.put(_COORDINATE.unpack(row))
    tables.nodes_index, tables.services_index = facts.nodes_index, facts.services_index
    tables.checks_index, tables.coordinates.index = facts.checks_index, facts.coordinates_index


def _fill_kv(kv: KvStore, sessions: Sessions, sections: dict[str, list[Any]], facts: Facts) -> None:
    kv.load(map(_ENTRY.unpack, sections.pop("entries", ())))
    kv.graveyard.load(_pairs(sections.pop("tombstones", ()), int))
    kv.graveyard.trees.update(_pairs(sections.pop("trees", ()), int))
    for row in sections.pop("sessions", ()):
        sessions.load(_SESSION.unpack(row))
    for key, until in _pairs(sections.pop("lock-delays", ()), float):
        sessions.delays.add(key, until)
    kv.index, kv.graveyard.floor = facts.kv_index, facts.graveyard_floor
    sessions.index = facts.sessions_index


def _fill_acl(acl: AclStore, sections: dict[str, list[Any]]) -> None:
    acl.load(
        map(_POLICY.unpack, sections.pop("acl-policies", ())),
        map(_ROLE.unpack, sections.pop("acl-roles", ())),
        map(_TOKEN.unpack, sections.pop("acl-tokens", ())),
    )
    indexes = dict(_pairs(sections.pop("acl-indexes", ()), int))
    acl.index, acl.bootstrap_index = indexes.get("last", 0), indexes.get("bootstrap", 0)


def _fill_connect(connect: ConnectStore, sections: dict[str, list[Any]]) -> None:
    ca = [_CA.unpack(row) for row in sections.pop("connect-ca", ())]
    indexes = dict(_pairs(sections.pop("ca-indexes", ()), int))
    connect.load(
        ca[0] if ca else connect.ca,
        (indexes.get("ca", 0), indexes.get("roots", 0), indexes.get("trust", 0)),
        map(_TRUST.unpack, sections.pop("connect-trust", ())),
        map(_REVOKED.unpack, sections.pop("connect-revoked", ())),
    )


def _pairs(rows: Iterable[Any], of: type) -> Iterator[tuple[str, Any]]:
    for key, value in rows:
        if type(key) is not str or type(value) is not of:
            raise RemoteProtocolError("the snapshot has a pair of the wrong types")
        yield key, value


def _frames(data: bytes) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(section, rows) of each frame but the last, whose number of rows is compared with what was read."""
    view, position, count = memoryview(data), 0, 0
    while position < len(view):
        if len(view) - position < _FRAME.size:
            break
        length, crc = _FRAME.unpack_from(view, position)
        position += _FRAME.size
        body = view[position : position + length]
        position += length
        if length > MAX_FRAME_BYTES or len(body) < length:
            break
        if zlib.crc32(body) != crc:
            raise RemoteProtocolError("the snapshot is damaged: a checksum is wrong")
        section, rows = msgpack.unpackb(body, use_list=False)
        if type(section) is not str or type(rows) is not tuple:
            raise RemoteProtocolError("the snapshot has a frame that isn't [section, rows]")
        if section == "end":
            if rows != (count,) or position != len(view):
                raise RemoteProtocolError(f"the snapshot has {count} rows where {rows} were written")
            return
        count += len(rows) if section != MAGIC else 0
        yield section, rows
    raise RemoteProtocolError("the snapshot is cut short")
