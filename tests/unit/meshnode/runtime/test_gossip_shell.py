"""Nodes on real loopback sockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from meshnode.base.address import Address
from meshnode.base.errors import LocalProtocolError, MeshError
from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.serf.config import SerfConfig
from meshnode.gossip.serf.events import (
    KeyringChanged,
    LeaveFinished,
    MemberJoined,
    QueryReceived,
    UserEventReceived,
)
from meshnode.gossip.serf.serf import Serf
from meshnode.runtime import gossip_network
from meshnode.runtime.gossip_shell import GossipShell, JoinResult
from meshnode.runtime.keyring_file import load_keyring
from tests.support.waiting import until
from tests.support.wire import free_port

KEY, OTHER = b"1" * 32, b"2" * 16
LOCALHOST = Address("127.0.0.1", 0)
QUICK = MemberlistConfig.local(gossip_interval=0.02, probe_interval=0.2, retransmit_mult=4)


class Node:
    """A shell, and what it reported."""

    def __init__(self, name: str, bind: Address = LOCALHOST, key: bytes | None = KEY, **options: Any) -> None:
        self.name = name
        self.key = key
        self.config = options.pop("config", SerfConfig(memberlist=QUICK, leave_propagate_delay=0.1))
        self.events: list[object] = []
        self.shell = GossipShell(
            self.make,
            bind,
            on_event=options.pop("on_event", self.on_event),
            logger=logging.getLogger(name),
            **options,
        )

    def make(self, address: Address) -> Serf:
        return Serf(
            name=self.name,
            address=address,
            tags={},
            config=self.config,
            keyring=Keyring([self.key]) if self.key else None,
            rng=random.Random(1),
            entropy=os.urandom,
        )

    def on_event(self, event: object) -> None:
        self.events.append(event)
        if isinstance(event, QueryReceived):
            self.shell.respond(event, f"{self.name} {event.payload.decode()}".encode())

    def alive(self) -> set[str]:
        return {member.name for member in self.shell.serf.members() if str(member.status) == "alive"}


def run(scenario: Callable[..., Coroutine[Any, Any, None]], *nodes: Node) -> None:
    """Start the nodes, join them, run the scenario, stop them; nothing may be left over."""

    async def main() -> None:
        try:
            for node in nodes:
                await node.shell.start()
            for node in nodes[1:]:
                assert await node.shell.join([str(nodes[0].shell.address)]) == JoinResult(1)
            names = {node.name for node in nodes}
            for node in nodes:
                await until(lambda node=node: node.alive() == names, f"{node.name} sees all")  # type: ignore[misc]
            await scenario(*nodes)
        finally:
            for node in nodes:
                await node.shell.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_two_nodes_exchange_events_queries_and_answers() -> None:
    async def scenario(a: Node, b: Node) -> None:
        a.shell.user_event("deploy", b"x")
        result = await b.shell.query("uptime", b"h")
        assert result.responses == {"a": b"a h", "b": b"b h"}
        await until(
            lambda: any(isinstance(event, UserEventReceived) for event in b.events), "b hears the event"
        )

    run(scenario, Node("a"), Node("b"))


def test_two_nodes_meet_over_ipv6_and_in_clear() -> None:
    async def scenario(a: Node, b: Node) -> None:
        member = b.shell.serf.member("a")
        assert member is not None
        assert member.address == a.shell.address
        assert (await a.shell.query("q")).responses.keys() == {"a", "b"}

    run(scenario, *(Node(name, Address("::1", 0), key=None) for name in "ab"))


def test_a_node_that_leaves_is_left_for_the_other() -> None:
    async def scenario(a: Node, b: Node) -> None:
        assert await b.shell.leave(10)
        assert any(isinstance(event, LeaveFinished) for event in b.events)
        member = a.shell.serf.member("b")
        assert member is not None
        assert str(member.status) == "left"
        assert await b.shell.leave(10)

    run(scenario, Node("a"), Node("b"))


def test_a_leave_that_takes_too_long_says_so() -> None:
    async def scenario(_a: Node, b: Node) -> None:
        assert not await b.shell.leave(0.0)

    run(scenario, Node("a"), Node("b"))


def test_changed_keys_are_saved_before_the_operation_succeeds(tmp_path: Path) -> None:
    config = SerfConfig(memberlist=QUICK, persists_keyring=True)

    async def scenario(a: Node, b: Node) -> None:
        for operation, key in (("install", OTHER), ("use", OTHER), ("remove", KEY)):
            assert (await a.shell.key_operation(operation, key)).complete
        assert load_keyring(tmp_path / "a") == load_keyring(tmp_path / "b") == [OTHER]
        assert len([event for event in b.events if isinstance(event, KeyringChanged)]) == 3

    run(scenario, *(Node(name, config=config, keyring_path=tmp_path / name) for name in "ab"))


def test_a_keyring_that_cannot_be_saved_is_an_error_of_its_node(tmp_path: Path) -> None:
    config = SerfConfig(memberlist=QUICK, persists_keyring=True)
    (tmp_path / "b").mkdir()

    async def scenario(a: Node, _b: Node) -> None:
        result = await a.shell.key_operation("install", OTHER)
        assert (result.num_errors, set(result.messages)) == (1, {"b"})
        assert "can't be written" in result.messages["b"]

    run(scenario, *(Node(name, config=config, keyring_path=tmp_path / name) for name in "ab"))


def test_a_snapshot_is_written_and_used(tmp_path: Path) -> None:
    config = SerfConfig(memberlist=QUICK, writes_snapshot=True)

    async def scenario(a: Node, b: Node) -> None:
        await b.shell.stop()
        assert f"alive: a {a.shell.address}\n" in (tmp_path / "b").read_text()
        again = Node("b", b.shell.address, config=config, snapshot_path=tmp_path / "b")
        await again.shell.start()
        try:
            await until(lambda: again.alive() == {"a", "b"}, "it rejoined unasked")
        finally:
            await again.shell.stop()

    run(scenario, *(Node(name, config=config, snapshot_path=tmp_path / name) for name in "ab"))


def test_a_snapshot_path_needs_a_core_that_writes_one(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(LocalProtocolError):
            await Node("a", snapshot_path=tmp_path / "s").shell.start()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


@pytest.mark.parametrize(("kind", "protocol"), [(socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")])
def test_a_port_in_use_is_named_with_its_protocol_and_how_to_find_the_holder(
    kind: socket.SocketKind, protocol: str
) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, kind) as holder:
            # Free for TCP, which is asked for first: UDP says nothing of that.
            holder.bind(("127.0.0.1", free_port()))
            if kind is socket.SOCK_STREAM:
                holder.listen()
            port = holder.getsockname()[1]
            with pytest.raises(MeshError) as caught:
                await Node("a", Address("127.0.0.1", port)).shell.start()
        for said in (f"{protocol} 127.0.0.1:{port}", "already in use", "Serf agent", "ss -ln"):
            assert said in str(caught.value)

    asyncio.run(main())


def test_an_address_that_is_not_ours_is_named() -> None:
    async def main() -> None:
        with pytest.raises(MeshError, match="bind_addr"):
            await Node("a", Address("192.0.2.1", 0)).shell.start()

    asyncio.run(main())


def test_listening_on_every_address_needs_one_to_announce() -> None:
    async def main() -> None:
        with pytest.raises(MeshError, match="advertise_addr"):
            await Node("a", Address("0.0.0.0", 0)).shell.start()
        node = Node("a", Address("0.0.0.0", 0), advertise=LOCALHOST)
        await node.shell.start()
        assert node.shell.address.host == "127.0.0.1"
        assert node.shell.address.port != 0
        await node.shell.stop()

    asyncio.run(main())


def test_a_join_tries_every_address_and_explains_each_failure() -> None:
    async def scenario(a: Node, b: Node) -> None:
        port = b.shell.address.port
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            closed = unused.getsockname()[1]
        result = await a.shell.join(
            [f"localhost:{port}", f"127.0.0.1:{closed}", "no.such.host.invalid", "1.2.3.4:x"]
        )
        assert result.joined == 1
        text = "\n".join(result.errors)
        assert f"127.0.0.1:{closed}: Connection refused" in text
        assert "'no.such.host.invalid' can't be resolved" in text
        assert "port 'x'" in text
        assert await a.shell.join(["no.such.host.invalid"]) == JoinResult(0, (result.errors[0],))

    run(scenario, Node("a"), Node("b"))


def test_requests_that_wait_fail_when_the_shell_stops() -> None:
    async def main() -> None:
        node = Node("a")
        await node.shell.start()
        waiting = asyncio.gather(node.shell.query("q"), return_exceptions=True)
        await until(
            lambda: any(isinstance(event, QueryReceived) for event in node.events), "the query is open"
        )
        await node.shell.stop()
        (error,) = await waiting
        assert isinstance(error, MeshError)
        with pytest.raises(MeshError, match="stopped"):
            await node.shell.query("q")

    asyncio.run(main())


def test_a_handler_that_fails_is_logged_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: object) -> None:
        raise ValueError("broken")

    async def scenario(a: Node, b: Node) -> None:
        assert a.alive() == b.alive() == {"a", "b"}

    run(scenario, Node("a", on_event=broken), Node("b"))
    assert "the handler of MemberJoined failed" in caplog.text


async def ended(reader: asyncio.StreamReader) -> None:
    """The peer closed or reset the connection, without having sent anything."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""


def test_inbound_streams_are_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gossip_network, "MAX_INBOUND_STREAMS", 3)

    async def scenario(a: Node) -> None:
        writers = []
        for _ in range(3):
            _, writer = await asyncio.open_connection(*a.shell.address)
            writers.append(writer)
        assert not [record for record in caplog.records if "refused a stream" in record.message]
        reader, writer = await asyncio.open_connection(*a.shell.address)
        await ended(reader)
        assert "refused a stream of 127.0.0.1" in caplog.text
        for open_writer in (*writers, writer):
            open_writer.transport.abort()
        await until(lambda: a.shell._network._inbound == 0, "the streams are gone")
        _, writer = await asyncio.open_connection(*a.shell.address)
        await until(lambda: a.shell._network._inbound == 1, "there is room again")
        writer.transport.abort()

    run(scenario, Node("a"))


def test_a_silent_stream_is_cut_after_the_tcp_timeout() -> None:
    config = SerfConfig(memberlist=MemberlistConfig.local(tcp_timeout=0.2))

    async def scenario(a: Node) -> None:
        reader, writer = await asyncio.open_connection(*a.shell.address)
        await ended(reader)
        writer.transport.abort()

    run(scenario, Node("a", config=config))


def test_a_packet_for_the_other_ip_version_is_dropped_on_either_loop() -> None:
    async def main() -> None:
        node = Node("a")
        await node.shell.start()
        node.shell._network.send_packet(Address("::1", 9), b"x")
        node.shell._network.send_packet(Address("127.0.0.1", 9), b"x" * 70_000)
        await node.shell.stop()

    asyncio.run(main())
    uvloop.run(main())


def test_the_shell_runs_on_uvloop() -> None:
    async def main() -> None:
        a, b = Node("a"), Node("b")
        await a.shell.start()
        await b.shell.start()
        assert await b.shell.join([str(a.shell.address)]) == JoinResult(1)
        await until(lambda: a.alive() == {"a", "b"}, "a sees b")
        assert any(isinstance(event, MemberJoined) for event in a.events)
        assert (await a.shell.query("q", b"")).responses.keys() == {"a", "b"}
        await a.shell.stop()
        await b.shell.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
