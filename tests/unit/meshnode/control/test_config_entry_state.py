"""Config entries inside the state machine: results of their commands, conditions, and snapshots."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.config_entries.store import CONFIG_ENTRIES
from meshnode.control.command import (
    Command,
    ConfigEntryDelete,
    ConfigEntrySet,
    IntentionSet,
    IntentionsReplace,
    KvPut,
    parse_command,
    serialize_command,
)
from meshnode.control.machine import Refusal, StateMachine
from meshnode.intentions.model import HttpMatch, Intention, Permission, ServiceName

HTTP = {"Kind": "service-defaults", "Name": "web", "Protocol": "http"}
SPLITTER = {"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 100}]}
SHARED = {"Kind": "proxy-defaults", "Name": "global", "Config": {"a": [1, {"b": None}], "protocol": "tcp"}}
ROW = Intention("i1", "api", "web", "allow", created_at=1.5, updated_at=1.5)
LAYERED = Intention("i2", "x", "web", permissions=(Permission("deny", HttpMatch("", "/a")),))
TCP = Refusal(
    'discovery chain "web" uses a protocol "tcp" that does not permit advanced routing or splitting behavior'
)
#: Each command with its result.
HISTORY: list[tuple[Command, Any]] = [
    (ConfigEntrySet(SPLITTER),
     TCP),
    (ConfigEntrySet(HTTP, 1), False),
    (ConfigEntrySet(HTTP, 0), True),
    (ConfigEntrySet(HTTP, 0), False),
    (ConfigEntrySet({**HTTP, "Meta": {"k": "v"}}, 3), True),
    (ConfigEntrySet(SPLITTER), True),
    (ConfigEntrySet({**HTTP, "Protocol": "x"}),
     Refusal("Protocol: 'x' can't be used: write one of tcp, http, http2, grpc")),
    (ConfigEntryDelete("service-defaults", "WEB"),
     TCP),
    (ConfigEntryDelete("service-splitter", "web", 5), False),
    (ConfigEntryDelete("service-splitter", "other", 0), False),
    (ConfigEntryDelete("service-splitter", "other"), True),
    (ConfigEntrySet(SHARED), True),
    (IntentionsReplace("web", "default", (ROW, LAYERED), {"m": "1"}, 0), True),
    (IntentionsReplace("web", "default", (ROW,), {}, 0), False),
    (IntentionsReplace("web", "default", (replace(ROW, action=""),), {}),
     Refusal("Action must be set to 'allow' or 'deny'")),
    (IntentionsReplace("db", "default", (replace(LAYERED, destination_name="db"),), {}),
     Refusal('service "db" has protocol "tcp", which is incompatible with L7 intentions permissions: set Protocol to '
             "http, http2 or grpc in its service-defaults first")),
    (ConfigEntryDelete("service-splitter", "web", 6), True),
    (ConfigEntryDelete("service-defaults", "web"),
     Refusal('service "web" has protocol "tcp", which is incompatible with L7 intentions permissions: set Protocol to '
             "http, http2 or grpc in its service-defaults first")),
    (IntentionsReplace("db", "default", (), {}, 0), False),
    (IntentionsReplace("db", "default", (), {}, 7), False),
    (IntentionsReplace("db", "default", (), {}), True),
]  # fmt: skip


@pytest.fixture
def machine() -> StateMachine:
    machine = StateMachine()
    for index, (command, result) in enumerate(HISTORY, 1):
        assert machine.apply(index, parse_command(serialize_command(command))) == result, command
    return machine


def test_the_commands_leave_what_they_say(machine: StateMachine) -> None:
    rows = machine.config.every()
    assert [(row.kind, row.name, row.create_index, row.modify_index) for row in rows] == [
        ("proxy-defaults", "global", 12, 12),
        ("service-defaults", "web", 3, 5),
    ]
    assert rows[1].meta == {"k": "v"}
    assert machine.config.index == 17
    destination = machine.intentions.destination(ServiceName("web"))
    assert destination is not None
    assert (destination.meta, destination.create_index, destination.modify_index) == ({"m": "1"}, 13, 13)
    assert CONFIG_ENTRIES in machine.take_touched()


@pytest.mark.parametrize(
    "command",
    [ConfigEntrySet(HTTP, 9), ConfigEntryDelete("service-defaults", "web"), ConfigEntrySet(SPLITTER, 1)],
)
def test_what_is_not_done_touches_nothing(machine: StateMachine, command: Command) -> None:
    machine.take_touched()
    assert machine.apply(30, command) is not True
    assert not machine.take_touched()
    assert machine.config.index == 17


def test_a_snapshot_holds_them_with_their_indexes(machine: StateMachine) -> None:
    data = b"".join(machine.snapshot())
    copy = StateMachine()
    copy.apply(1, ConfigEntrySet({"Kind": "service-resolver", "Name": "x"}))
    copy.restore(data)
    assert copy.config.every() == machine.config.every()
    assert copy.config.index == machine.config.index
    assert copy.intentions.destinations() == machine.intentions.destinations()
    assert b"".join(copy.snapshot()) == data


def test_a_snapshot_of_before_there_were_any_is_read() -> None:
    machine = StateMachine()
    machine.apply(1, KvPut("a", b""))
    data = b"".join(machine.snapshot())
    assert b"config" not in data
    assert b"intention-destinations" not in data
    copy = StateMachine()
    copy.restore(data)
    assert copy.config.every() == []


def test_intentions_of_a_snapshot_without_destinations_make_them(machine: StateMachine) -> None:
    plain = StateMachine()
    plain.apply(1, IntentionSet(ROW, create=True))
    plain.apply(2, IntentionSet(Intention("i5", "b", "WEB", "deny"), create=True))
    old = without(b"".join(plain.snapshot()), "intention-destinations")
    copy = StateMachine()
    copy.restore(old)
    assert copy.intentions.destinations() == plain.intentions.destinations()


@pytest.mark.parametrize(
    ("row", "because"),
    [
        ([{"Kind": "service-router"}, 1, 1], "a config entry that can't be read: Name is required"),
        ([HTTP, "1", 1], "StoredEntry.create_index is a str, not a whole number"),
        ([HTTP], "StoredEntry is written as"),
        (["x", 1, 1], "StoredEntry.fields is a str, not a map"),
    ],
)
def test_a_snapshot_with_a_bad_row_is_refused_and_the_state_stays(
    machine: StateMachine, row: list[Any], because: str
) -> None:
    before = b"".join(machine.snapshot())
    bad = without(before, "config-entries", [row, row])
    with pytest.raises(RemoteProtocolError) as refused:
        machine.restore(bad)
    assert because in str(refused.value)
    assert b"".join(machine.snapshot()) == before


def test_a_snapshot_that_has_an_entry_twice_is_refused(machine: StateMachine) -> None:
    bad = without(
        b"".join(machine.snapshot()), "config-entries", [[HTTP, 1, 1], [{**HTTP, "Name": "WEB"}, 1, 1]]
    )
    with pytest.raises(RemoteProtocolError, match="service-defaults/WEB is there twice"):
        machine.restore(bad)


def without(data: bytes, section: str, rows: list[Any] | None = None) -> bytes:
    """A snapshot without a section, or with other rows in it; checksums and counts are right."""
    out, position, count = b"", 0, 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 4])
        name, found = msgpack.unpackb(data[position + 8 : position + 8 + length], strict_map_key=False)
        position += 8 + length
        if name == section:
            found = rows or []
            if rows is None:
                continue
        if name == "end":
            found = [count]
        elif name != "meshnode-state":
            count += len(found)
        body = msgpack.packb([name, found])
        out += len(body).to_bytes(4) + zlib.crc32(body).to_bytes(4) + body
    return out
