"""Lengths that lie, what expands without end, handshakes that never end: an agent stays small, and serves others.

Each bomb goes to a real agent in clear, where nothing stands before the parser, and to a sealed one. The positive
control is the same message with an honest length or size, which is taken.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Any

import psutil
import pytest

from meshnode.control import user_event
from meshnode.gossip.memberlist import codec
from meshnode.gossip.memberlist.messages import UserMessage
from meshnode.gossip.memberlist.packet import MAX_PACKET_BYTES, compress
from meshnode.gossip.memberlist.stream import MAX_STREAM_BYTES
from meshnode.gossip.serf import messages as serf
from meshnode.rpc import yamux_frames as frames
from tests.support.mesh_agent import Mesh, MeshAgent, wait
from tests.support.programs import needs

CLEAR: Mapping[str, Any] = {
    **dict.fromkeys(("encrypt", "ca_file", "cert_file", "key_file"), None),
    **dict.fromkeys(("verify_incoming", "verify_outgoing", "verify_server_hostname", "ports"), None),
}
#: What an agent may grow by while it is attacked, and what it is sent, which would all fit in its memory.
MAX_GROWTH = 16 << 20
FLOOD_BYTES = 48 << 20
ENDLESS = 0xFFFFFFFF
SLOW_PEERS = 60
pytestmark = [needs("curl"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module", params=["clear", "sealed"])
def agent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeshAgent]:
    with Mesh.new(tmp_path_factory.mktemp(request.param)) as mesh:
        changes = CLEAR if request.param == "clear" else {}
        made = mesh.add("server1", 1, server=True, bootstrap_expect=1, **changes)
        made.launch()
        wait(lambda: made.running and made.api("/v1/status/leader")[1] not in ("", '""'), "there is a leader")
        yield made


def packed(**fields: Any) -> bytes:
    return codec.pack(fields)


def yamux(kind: int, flags: int, stream: int, length: int) -> bytes:
    return frames.HEADER.pack(frames.VERSION, kind, flags, stream, length)


#: Port -> first bytes that promise more than anybody may send; what follows is zeros for as long as they are taken.
LIES = {
    "a sealed stream of 4 GiB": (8301, b"\x0a" + struct.pack(">I", ENDLESS)),
    "a push/pull with 4 billion nodes": (8301, b"\x06" + packed(Join=True, Nodes=ENDLESS, UserStateLen=0)),
    "a state of 4 GiB": (8301, b"\x06" + packed(Join=True, Nodes=0, UserStateLen=ENDLESS)),
    "a user message of 4 GiB": (8301, b"\x08" + packed(UserMsgLen=ENDLESS)),
    "a text of msgpack of 4 GiB": (8301, b"\x06\x81\xdb" + struct.pack(">I", ENDLESS)),
    "a map of msgpack with 4 billion keys": (8301, b"\x06\xdf" + struct.pack(">I", ENDLESS)),
    "a frame of yamux of 4 GiB": (8300, b"\x04" + yamux(frames.DATA, frames.SYN, 1, ENDLESS)),
    "a call with a text of 4 GiB": (8300, b"\x00\x82\xdb" + struct.pack(">I", ENDLESS)),
    "a body of an exabyte": (8500, b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000000000\r\n\r\n"),
    "a chunk of an exabyte": (
        8500, b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n"
    ),
    "a head without end": (8500, b"GET / HTTP/1.1\r\nX: "),
    "a question over TCP that never comes": (8600, b"\xff\xff"),
}  # fmt: skip


def flood(agent: MeshAgent, port: int, opening: bytes, size: int = FLOOD_BYTES) -> int:
    """Bytes that were taken before the agent had enough."""
    sent, piece = 0, bytes(1 << 16)
    with contextlib.suppress(OSError), socket.create_connection((agent.host, port), 5) as attacker:
        attacker.settimeout(1)
        attacker.sendall(opening)
        while sent < size:
            sent += attacker.send(piece)
    return sent


def memory(agent: MeshAgent) -> int:
    return int(psutil.Process(agent.pid).memory_info().rss)


@pytest.mark.parametrize("name", LIES)
def test_a_length_that_lies_costs_no_memory(agent: MeshAgent, name: str) -> None:
    port, opening = LIES[name]
    before = memory(agent)
    # What DNS is sent are whole questions, one after the other, each of which is answered.
    flood(agent, port, opening, FLOOD_BYTES // (12 if port == 8600 else 1))
    assert memory(agent) - before < MAX_GROWTH
    assert agent.get("/v1/status/leader")


def test_all_lies_together_many_times_leave_a_small_agent_that_serves(agent: MeshAgent) -> None:
    before = memory(agent)
    for _, (port, opening) in itertools.product(range(3), LIES.values()):
        flood(agent, port, opening, 1 << 20)
    assert memory(agent) - before < MAX_GROWTH
    assert agent.api("/v1/kv/after", "PUT", b"lies") == (200, "true")
    assert agent.statuses() == {"server1": "alive"}


def event(name: str) -> bytes:
    body = user_event.serialize_event(user_event.UserEvent(f"id-{name}", name, b"x"))
    told = serf.UserEvent(1000 + sum(name.encode()), f"{user_event.EVENT_PREFIX}{name}", body)
    return codec.encode_message(UserMessage(serf.serialize(told)))


def test_what_expands_beyond_the_limit_is_dropped_and_what_does_not_is_taken(agent: MeshAgent) -> None:
    bomb = compress(bytes(MAX_PACKET_BYTES * 20))
    assert len(bomb) < MAX_PACKET_BYTES // 8
    before = memory(agent)
    with socket.socket(type=socket.SOCK_DGRAM) as attacker:
        for _ in range(40):
            attacker.sendto(bomb, (agent.host, 8301))
        attacker.sendto(compress(event("honest")), (agent.host, 8301))
    if agent.config.get("encrypt") is None:
        wait(lambda: agent.get("/v1/event/list?name=honest"), "the honest one is taken")
    assert agent.get("/v1/status/leader")
    assert memory(agent) - before < MAX_GROWTH
    stream = compress(b"\x06" + bytes(MAX_STREAM_BYTES // 16))
    for _ in range(3):
        flood(agent, 8301, stream, 0)
    assert memory(agent) - before < MAX_GROWTH


def test_handshakes_that_never_end_keep_nobody_else_waiting(agent: MeshAgent) -> None:
    ports = (8300, 8301, 10443) if agent.config.get("encrypt") else (8300, 8301, 8500)
    with contextlib.ExitStack() as stack:
        for number, port in itertools.product(range(SLOW_PEERS), ports):
            peer = stack.enter_context(socket.create_connection((agent.host, port), 5))
            with contextlib.suppress(OSError):
                # The beginning of a hello, of a yamux session in TLS, or of a request.
                peer.sendall(b"\x03\x16\x03\x01"[number % 4 :][:1] or b"\x16")
        began = time.monotonic()
        assert agent.get("/v1/status/leader")
        assert agent.statuses() == {"server1": "alive"}
        # Without a figure: the deadline of a client that would have given up.
        assert time.monotonic() - began < 15
