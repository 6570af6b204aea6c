"""Snapshots: taken at once, written later, refused when damaged."""

from __future__ import annotations

import os
import random
import struct
import zlib

import msgpack
import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.catalog import queries
from meshnode.catalog.coordinates import NodeCoordinate
from meshnode.catalog.model import Node, Service, serf_check
from meshnode.catalog.store import Registration
from meshnode.control.command import (
    Command,
    KvAcquire,
    KvDelete,
    KvDeleteTree,
    KvPut,
    Lead,
    Register,
    RestoreChunk,
    RestoreCommit,
    SessionCreate,
    SessionDestroy,
    UpdateCoordinates,
)
from meshnode.control.machine import Refusal, StateMachine
from meshnode.control.snapshot import CHUNK_BYTES, MAX_ROWS
from meshnode.control.watch import EVERYTHING
from meshnode.kv.sessions import Session

PROXY = Service(
    "proxy",
    kind="connect-proxy",
    proxy_destination="web",
    port=1,
    managed_proxy={"Config": {"list": [1, {}]}},
)
HISTORY: list[Command] = [
    Lead("server1", 3),
    Register(Registration(Node("N1", "10.0.0.1"), Service("web"), (serf_check("N1", alive=True),)), 1.0),
    Register(Registration(Node("n0", "10.0.0.2"), PROXY), 1.0),
    UpdateCoordinates((NodeCoordinate("n1"),)),
    SessionCreate(Session("s1", "n1")),
    SessionCreate(Session("s2", "n1", checks=())),
    KvPut("dir/a", b"\x00\xff", 7),
    KvPut("dir/b", b""),
    KvPut("tree/x", b""),
    KvDelete("dir/b"),
    KvDeleteTree("tree/"),
    KvAcquire("lock", b"", 0, "s1", 5.0),
    KvAcquire("other", b"", 0, "s2", 5.0),
    SessionDestroy("s1", 6.0),
]


@pytest.fixture
def machine() -> StateMachine:
    machine = StateMachine()
    for index, command in enumerate(HISTORY, 1):
        machine.apply(index, command)
    machine.take_touched()
    return machine


def test_every_part_of_the_state_is_in_it(machine: StateMachine) -> None:
    data = b"".join(machine.snapshot())
    copy = StateMachine()
    copy.restore(data)
    assert b"".join(copy.snapshot()) == data
    assert (copy.last_index, copy.epoch, copy.leader) == (14, 3, "server1")
    assert queries.dump(copy.catalog) == queries.dump(machine.catalog)
    assert queries.connect_instances(copy.catalog, "web") == queries.connect_instances(machine.catalog, "web")
    assert queries.all_coordinates(copy.catalog) == (4, [NodeCoordinate("n1")])
    assert copy.kv.under("") == machine.kv.under("")
    assert copy.kv.under("dir/") == (10, machine.kv.under("dir/")[1])
    assert copy.kv.under("tree/")[0] == 11
    assert copy.sessions.every() == machine.sessions.every()
    assert copy.kv.held_by("s2") == ["other"]
    assert list(copy.sessions.delays) == [("lock", 21.0)]
    assert copy.take_touched() == {EVERYTHING}


def test_it_is_of_the_moment_it_was_asked_for_whatever_happens_while_it_is_written(
    machine: StateMachine,
) -> None:
    at_once = b"".join(machine.snapshot())
    pieces = machine.snapshot()
    first = next(pieces)
    machine.apply(99, KvDeleteTree(""))
    machine.apply(100, Register(Registration(Node("n1", "10.9.9.9"), Service("late")), 1.0))
    assert first + b"".join(pieces) == at_once


def test_it_comes_in_pieces_of_bounded_rows_and_bytes() -> None:
    machine = StateMachine()
    for index in range(1, 2 * MAX_ROWS + 2):
        machine.apply(index, KvPut(f"k{index}", b""))
    assert len(list(machine.snapshot())) == 2 + 3
    for index in range(3):
        machine.apply(machine.last_index + 1, KvPut(f"large/{index}", b"x" * (CHUNK_BYTES // 2)))
    assert max(map(len, machine.snapshot())) < 2 * CHUNK_BYTES
    copy = StateMachine()
    copy.restore(b"".join(machine.snapshot()))
    assert copy.kv.keys_under("") == machine.kv.keys_under("")


def frame(section: object, rows: object) -> bytes:
    body: bytes = msgpack.packb([section, rows])
    return struct.pack(">II", len(body), zlib.crc32(body)) + body


HEAD = frame("meshnode-state", [1, [0, 0, "", 0, 0, 0, 0, 0, 0, 0, 0]])
END = frame("end", [0])


def test_the_golden_bytes_of_an_empty_state() -> None:
    assert b"".join(StateMachine().snapshot()) == HEAD + END


@pytest.mark.parametrize(
    ("data", "because"),
    [
        (b"", "cut short"),
        (HEAD, "cut short"),
        (HEAD[:5], "cut short"),
        (HEAD + END[:-1], "cut short"),
        (HEAD + END + b"x", "0 rows where"),
        (HEAD[:-1] + b"\x01" + END, "checksum"),
        (HEAD + frame("end", [1]), r"0 rows where \(1,\) were written"),
        (HEAD + frame("tombstones", [["k", 1]]) + END, "1 rows where"),
        (END + HEAD, "cut short|no snapshot|rows where"),
        (frame("else", [1, []]) + END, "no snapshot of a meshnode state"),
        (frame("meshnode-state", [2, []]) + END, "format 2: this meshnode reads 1"),
        (frame("meshnode-state", [1, [0]]) + END, "Facts is written as"),
        (frame("meshnode-state", []) + END, "can't be read"),
        (
            HEAD + frame("tomorrow", [1]) + frame("end", [1]),
            "unknown sections .'tomorrow'.: is it of a newer",
        ),
        (HEAD + frame("entries", [[b"k"]]) + frame("end", [1]), "Entry is written as"),
        (HEAD + frame("tombstones", [["k", "1"]]) + frame("end", [1]), "wrong types"),
        (HEAD + frame("tombstones", [7]) + frame("end", [1]), "can't be read"),
        (HEAD + frame("tombstones", {}) + END, "isn't .section, rows."),
        (HEAD + frame(1, []) + END, "isn't .section, rows."),
    ],
)
def test_what_is_no_snapshot_is_refused_and_the_state_stays(
    machine: StateMachine, data: bytes, because: str
) -> None:
    before = b"".join(machine.snapshot())
    with pytest.raises(RemoteProtocolError, match=because):
        machine.restore(data)
    assert b"".join(machine.snapshot()) == before
    assert not machine.take_touched()


def test_mutated_snapshots_end_in_the_same_state_or_a_protocol_error(machine: StateMachine) -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "20261125"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    frames = list(machine.snapshot())
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "2000"))):
        mutated = list(frames)
        at = rng.randrange(len(frames))
        body = bytearray(frames[at][8:])
        for _ in range(rng.randrange(1, 3)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        mutated[at] = (
            struct.pack(">II", len(body), zlib.crc32(body)) + body
        )  # past the checksum, into the reader
        copy = StateMachine()
        try:
            copy.restore(b"".join(mutated))
        except RemoteProtocolError:
            assert copy.last_index == 0
            continue
        again = StateMachine()
        again.restore(b"".join(copy.snapshot()))
        assert again.kv.under("") == copy.kv.under("")


def before(machine: StateMachine) -> bytes:
    """A snapshot as a release without ``offset`` wrote it."""
    data = b"".join(machine.snapshot())
    length, _ = struct.unpack(">II", data[:8])
    facts = msgpack.unpackb(data[8 : 8 + length])[1][1][:-1]
    return frame("meshnode-state", [1, facts]) + data[8 + length :]


def test_a_snapshot_of_a_release_without_the_offset_is_read() -> None:
    machine = StateMachine()
    machine.apply(1, KvPut("a", b"1"))
    other = StateMachine()
    other.restore(before(machine))
    assert (other.offset, other.last_index, other.kv.get("a")) == (0, 1, machine.kv.get("a"))


def restore_commands(data: bytes, size: int) -> list[Command]:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    chunks = [RestoreChunk("r1", position, piece, 1) for position, piece in enumerate(pieces)]
    return [*chunks, RestoreCommit("r1", len(pieces), 1)]


def test_a_state_restored_on_new_machines_goes_on_from_the_indexes_of_the_old_ones() -> None:
    old, new = StateMachine(), StateMachine()
    for index in range(1, 101):
        old.apply(index, KvPut(f"k{index}", b"v"))
    new.apply(1, Lead("new", 1))
    log = restore_commands(b"".join(old.snapshot()), 200)
    results = [new.apply(index, command) for index, command in enumerate(log, 2)]
    assert results == [True] * len(log)
    assert new.kv.get("k100") == old.kv.get("k100")
    assert (new.leader, new.epoch, new.last_index) == ("new", 1, 100)
    index = len(log) + 2
    assert new.apply(index, KvPut("next", b"v")) is True
    assert new.kv.get("next")[0] == 101
    copy = StateMachine()
    copy.restore(b"".join(new.snapshot()))
    assert copy.apply(index + 1, KvPut("later", b"v")) is True
    assert copy.kv.get("later")[0] == 102


def test_an_older_snapshot_takes_the_state_back_but_never_the_index() -> None:
    machine = StateMachine()
    machine.apply(1, Lead("node", 1))
    machine.apply(2, KvPut("kept", b"1"))
    data = b"".join(machine.snapshot())
    machine.apply(3, KvPut("gone", b"1"))
    log = restore_commands(data, 10_000)
    for index, command in enumerate(log, 4):
        assert machine.apply(index, command) is True
    assert (machine.kv.get("gone")[1], machine.last_index) == (None, 3 + len(log))
    assert machine.take_touched() >= {EVERYTHING}


@pytest.mark.parametrize("lost", ["the first", "the middle", "the last", "the right id", "a byte"])
def test_a_restore_that_does_not_arrive_whole_changes_nothing(lost: str) -> None:
    machine, old = StateMachine(), StateMachine()
    for index in range(1, 50):
        old.apply(index, KvPut(f"k{index}", b"v"))
    machine.apply(1, KvPut("mine", b"1"))
    log = restore_commands(b"".join(old.snapshot()), 300)
    if lost == "a byte":
        log[1] = RestoreChunk("r1", 1, b"x", 1)
    elif lost == "the right id":
        log[-1] = RestoreCommit("r2", len(log) - 1, 1)
    else:
        del log[{"the first": 0, "the middle": 1, "the last": -2}[lost]]
    results = [machine.apply(index, command) for index, command in enumerate(log, 2)]
    assert isinstance(results[-1], Refusal)
    assert (machine.kv.get("mine")[1] is not None, machine.kv.get("k1")[1]) == (True, None)


def test_pieces_are_pending_until_their_commit_or_the_next_leader() -> None:
    machine = StateMachine()
    machine.apply(1, RestoreChunk("r1", 0, b"x", 1))
    assert machine.is_restoring
    machine.apply(2, Lead("other", 2))
    assert not machine.is_restoring
    machine.apply(3, RestoreChunk("r2", 0, b"x", 2))
    assert isinstance(machine.apply(4, RestoreCommit("r2", 0, 2)), Refusal)
    assert not machine.is_restoring
