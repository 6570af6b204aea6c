"""Random commands over few names, so that they meet: for property tests of the replicated state."""

from __future__ import annotations

from hypothesis import strategies as st

from meshnode.catalog.coordinates import Coordinate, NodeCoordinate
from meshnode.catalog.model import STATES, Check, Node, Service
from meshnode.catalog.store import Registration
from meshnode.control.command import (
    Command,
    Deregister,
    KvAcquire,
    KvCas,
    KvDelete,
    KvDeleteCas,
    KvDeleteTree,
    KvPut,
    KvRelease,
    Lead,
    ReapTombstones,
    Register,
    SessionCreate,
    SessionDestroy,
    Txn,
    UpdateCoordinates,
)
from meshnode.kv.sessions import BEHAVIORS, Session
from meshnode.kv.txn import VERBS, TxnOp

__all__ = ["CHECKS", "KEYS", "NODES", "SERVICES", "SESSIONS", "commands"]

KEYS = ["a", "a/", "a/b", "a/b/c", "a0", "b"]
NODES = ["n1", "N1", "n2"]
SERVICES = ["web", "db", "api"]
CHECKS = ["c1", "c2"]
SESSIONS = ["s1", "s2", "s3"]
_IDS = ["", "", "", "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"]

_any_key = st.sampled_from(KEYS)
_key = st.one_of(_any_key, st.sampled_from([*KEYS, ""]))
_value = st.sampled_from([b"", b"1", b"22"])
_flags = st.integers(0, 2)
_index = st.integers(0, 30)
_session = st.sampled_from(SESSIONS)
_epoch = st.sampled_from([*[0] * 12, 1, 2, 3])
#: Time goes back at times, as it does between leaders.
_at = st.integers(0, 12).map(float)
_node_name = st.sampled_from(NODES)

_nodes = st.builds(
    Node,
    _node_name,
    st.sampled_from(["10.0.0.1", "10.0.0.2"]),
    st.sampled_from(_IDS),
    meta=st.sampled_from([{}, {"rack": "1"}]),
)
_services = st.builds(
    Service,
    st.sampled_from(SERVICES),
    st.sampled_from(["web", "x"]),
    tags=st.sampled_from([(), ("v1",)]),
    port=st.sampled_from([1, 2]),
    native=st.booleans(),
) | st.builds(
    Service,
    st.just("proxy"),
    st.just("px"),
    st.just("connect-proxy"),
    port=st.just(1),
    proxy_destination=st.sampled_from(SERVICES),
)
_checks = st.builds(
    Check,
    st.just(""),
    st.sampled_from(CHECKS),
    st.just("name"),
    st.sampled_from([*STATES, "passing", "passing"]),
    output=st.sampled_from(["", "out"]),
    service_id=st.sampled_from(["", "", "web", "web", "px"]),
)


def _register(
    node: Node, service: Service | None, checks: list[Check], skip: bool, at: float, epoch: int
) -> Register:
    placed = tuple(
        Check(node.name, c.check_id, c.name, c.status, c.notes, c.output, c.service_id) for c in checks
    )
    return Register(Registration(node, service, placed, skip_node_update=skip), at, epoch)


_registers = st.builds(
    _register,
    _nodes,
    st.none() | _services,
    st.lists(_checks, max_size=3),
    st.sampled_from([False, False, True]),
    _at,
    _epoch,
)
_sessions = st.builds(
    Session,
    _session,
    _node_name,
    checks=st.sampled_from([(), (), ("c1",), ("c1", "c2")]),
    lock_delay=st.sampled_from([0.0, 4.0]),
    behavior=st.sampled_from(BEHAVIORS),
)
_ops = st.builds(
    TxnOp,
    st.sampled_from(sorted(VERBS)),
    _any_key,
    _value,
    _flags,
    _index,
    _session,
)
_coordinates = st.builds(
    NodeCoordinate, _node_name, st.just(""), st.builds(Coordinate, error=st.sampled_from([0.5, 1.0]))
)

commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(KvPut, _key, _value, _flags),
    st.builds(KvCas, _key, _value, _flags, _index),
    st.builds(KvAcquire, _any_key, _value, _flags, _session, _at),
    st.builds(KvAcquire, _any_key, _value, _flags, _session, _at),
    st.builds(KvAcquire, _key, _value, _flags, _session, _at),
    st.builds(KvRelease, _key, _value, _flags, _session),
    st.builds(KvDelete, _key),
    st.builds(KvDeleteCas, _key, _index),
    st.builds(KvDeleteTree, st.sampled_from(["", "a", "a/", "a/b/", "b"])),
    st.builds(Txn, st.lists(_ops, max_size=4).map(tuple), _at),
    _registers,
    _registers,
    _registers,
    st.builds(
        Deregister,
        _node_name,
        st.sampled_from(["", "", "web", "px"]),
        st.sampled_from(["", *CHECKS]),
        _at,
        _epoch,
    ),
    st.builds(SessionCreate, _sessions),
    st.builds(SessionCreate, _sessions),
    st.builds(SessionDestroy, _session, _at, _epoch),
    st.builds(UpdateCoordinates, st.lists(_coordinates, max_size=2).map(tuple), _epoch),
    st.builds(ReapTombstones, _index, _epoch),
    st.builds(Lead, _node_name, _epoch),
)
