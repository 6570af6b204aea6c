"""The DNS server on loopback: datagrams, connections and their bounds, effects, port clashes, metrics, and the end."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Coroutine
from typing import Any

import pytest
import uvloop

from meshnode.base.address import Address
from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.metrics import Metrics
from meshnode.catalog.model import Node
from meshnode.dns.effects import Effect, Fetched
from meshnode.dns.message import parse
from meshnode.dns.records import FORMERR, NOERROR, PTR, SERVFAIL, SRV, A
from meshnode.runtime.dns_server import DnsServerLimits
from meshnode.runtime.dns_sockets import open_pair
from tests.support.dns_serving import serving, tcp_ask, udp_ask
from tests.support.dns_state import query, resolver
from tests.support.waiting import until

KEYS = ("ports.dns", "addresses.dns")
WEB = query("web.service.consul", A)
FAR = query("far.node.dc2.consul", A, ident=0x0FA2)


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Any:
    return request.param


class Servers:
    """Stands for the servers of ``dc2``: answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[Effect[Any]] = []
        self.released = asyncio.Event()
        self.error: Exception | None = None

    async def perform(self, effect: Effect[Any]) -> Any:
        self.asked.append(effect)
        await self.released.wait()
        if self.error is not None:
            raise self.error
        return Fetched(Node("far", "172.16.0.1"))


def test_udp_and_tcp_answer_on_one_port(run: Any) -> None:
    async def main() -> None:
        async with serving() as (_, where):
            for one in (*await udp_ask(where, WEB), *await tcp_ask(where, WEB)):
                assert len(parse(one).answers) == 2

    run(main())


def test_one_connection_asks_many_questions(run: Any) -> None:
    async def main() -> None:
        async with serving(limits=DnsServerLimits(max_pipelined=3)) as (_, where):
            queries = [query("many.service.consul", SRV, ident=i) for i in range(200)]
            found = await tcp_ask(where, *queries)
            assert sorted(parse(one).id for one in found) == list(range(200))

    run(main())


def test_a_query_in_pieces_is_put_together(run: Any) -> None:
    async def main() -> None:
        async with serving() as (_, where):
            reader, writer = await asyncio.open_connection(where.host, where.port)
            writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in len(WEB).to_bytes(2, "big") + WEB:
                writer.write(bytes((byte,)))
                await writer.drain()
            size = int.from_bytes(await reader.readexactly(2), "big")
            assert parse(await reader.readexactly(size)).rcode == NOERROR
            writer.close()
            await writer.wait_closed()

    run(main())


def test_garbage_gets_a_format_error_and_the_connection_lives_on(run: Any) -> None:
    async def main() -> None:
        async with serving() as (_, where):
            garbage = b"\0\7" + bytes(2) + b"\xff" * 20
            failed, good = await tcp_ask(where, garbage, WEB)
            assert (parse(failed).id, parse(failed).rcode) == (7, FORMERR)
            assert parse(good).rcode == NOERROR

    run(main())


@pytest.mark.parametrize("short", [b"\0\0", b"\0\3abc", b"\0\x0b" + bytes(11)], ids=["0", "3", "11"])
def test_who_sends_less_than_a_header_speaks_no_dns_and_is_cut_off(run: Any, short: bytes) -> None:
    async def main() -> None:
        async with serving() as (_, where):
            reader, writer = await asyncio.open_connection(where.host, where.port)
            writer.write(short + len(WEB).to_bytes(2, "big") + WEB)
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(2)
            writer.close()

    run(main())


def test_answers_that_wait_do_not_hold_up_others(run: Any) -> None:
    async def main() -> None:
        servers = Servers()
        async with serving(perform=servers.perform) as (_, where):
            asked = asyncio.ensure_future(tcp_ask(where, FAR, WEB))  # noqa: TID251
            await until(lambda: servers.asked, "a lookup", interval=0.005)
            (direct,) = await udp_ask(where, WEB)
            assert parse(direct).answers
            servers.released.set()
            first, second = await asked
            assert (parse(first).id, parse(second).id) == (0x1234, 0x0FA2)
            assert len(parse(second).answers) == 1

    run(main())


@pytest.mark.parametrize("error", [MeshError("no leader"), TimeoutError()])
def test_a_lookup_that_fails_is_servfail(run: Any, error: Exception) -> None:
    async def main() -> None:
        servers = Servers()
        servers.released.set()
        servers.error = error
        async with serving(perform=servers.perform) as (_, where):
            (one,) = await udp_ask(where, FAR)
            assert parse(one).rcode == SERVFAIL

    run(main())


def test_a_lookup_that_never_ends_is_given_up(run: Any) -> None:
    async def main() -> None:
        servers = Servers()
        limits = DnsServerLimits(query_timeout=0.05)
        async with serving(perform=servers.perform, limits=limits) as (_, where):
            (one,) = await udp_ask(where, FAR)
            assert parse(one).rcode == SERVFAIL

    run(main())


def test_no_more_queries_wait_than_the_limit(run: Any) -> None:
    async def main() -> None:
        servers = Servers()
        limits = DnsServerLimits(max_waiting=2)
        async with serving(perform=servers.perform, limits=limits) as (_, where):
            asked = asyncio.ensure_future(tcp_ask(where, FAR, FAR, FAR))  # noqa: TID251
            await until(lambda: len(servers.asked) == 2, "two lookups", interval=0.005)
            servers.released.set()
            assert [parse(one).rcode for one in await asked] == [SERVFAIL, NOERROR, NOERROR]

    run(main())


async def closed_by_server(where: Address, sent: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_connection(where.host, where.port)
    try:
        writer.write(sent)
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"\0", b"\0\x20half a query"])
def test_a_connection_without_a_whole_query_is_closed_after_its_time(run: Any, sent: bytes) -> None:
    async def main() -> None:
        async with serving(limits=DnsServerLimits(idle_timeout=0.05)) as (_, where):
            assert await closed_by_server(where, sent) == b""

    run(main())


def test_connections_beyond_the_limit_are_closed_and_make_room_again(run: Any) -> None:
    async def main() -> None:
        async with serving(limits=DnsServerLimits(max_connections=1)) as (server, where):
            _, writer = await asyncio.open_connection(where.host, where.port)
            await until(lambda: server._connections, "a connection", interval=0.005)
            assert await closed_by_server(where) == b""
            writer.close()
            await writer.wait_closed()
            await until(lambda: not server._connections, "the end of the connection", interval=0.005)
            assert await tcp_ask(where, WEB)

    run(main())


def test_a_client_that_reads_nothing_is_cut_off_and_held_to_little_memory(run: Any) -> None:
    async def main() -> None:
        async with serving(limits=DnsServerLimits(idle_timeout=0.3)) as (server, where):
            reader, writer = await asyncio.open_connection(where.host, where.port, limit=1024)
            one = query("many.service.consul", SRV)
            flood = (len(one).to_bytes(2, "big") + one) * 100_000
            writer.write(flood)
            await until(lambda: server._connections, "a connection", interval=0.005)
            (connection,) = server._connections
            await until(lambda: not server._connections, "the end of the connection", interval=0.005)
            assert len(connection._buffer) < 1 << 20
            writer.transport.abort()
            del reader

    run(main())


def test_half_closing_clients_get_their_answers(run: Any) -> None:
    async def main() -> None:
        async with serving() as (_, where):
            reader, writer = await asyncio.open_connection(where.host, where.port)
            writer.write((len(WEB).to_bytes(2, "big") + WEB) * 3)
            writer.write_eof()
            async with asyncio.timeout(5):
                assert (await reader.read()).count(WEB[12:]) == 3
            writer.close()
            await writer.wait_closed()

    run(main())


@pytest.mark.parametrize(("kind", "protocol"), [(socket.SOCK_STREAM, "TCP"), (socket.SOCK_DGRAM, "UDP")])
def test_a_port_that_is_taken_is_named_with_the_key_to_change(kind: socket.SocketKind, protocol: str) -> None:
    async def main(port: int) -> None:
        async with serving() as (server, where):
            with pytest.raises(ConfigError) as caught:
                await server.listen(Address("127.0.0.1", 0), Address("127.0.0.1", port))
            assert str(caught.value) == (
                f"ports.dns: can't listen on 127.0.0.1:{port}: {protocol} port {port} is taken by another program: "
                "stop it, or change ports.dns"
            )
            assert caught.value.key == "ports.dns"
            assert await udp_ask(where, WEB)

    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        asyncio.run(main(taken.getsockname()[1]))


def test_an_address_that_is_not_here_is_named_with_its_key() -> None:
    with pytest.raises(
        ConfigError, match=r"^addresses\.dns: can't listen on 203\.0\.113\.1:8600: .*change addresses"
    ):
        open_pair(Address("203.0.113.1", 8600), KEYS)


def test_a_port_for_root_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(opened: socket.socket, address: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(ConfigError, match=r"needs root or CAP_NET_BIND_SERVICE: change ports\.dns to 1024"):
        open_pair(Address("127.0.0.1", 53), KEYS)


def test_ipv6_is_listened_on_beside_ipv4(run: Any) -> None:
    async def main() -> None:
        async with serving(host="::1") as (_, where):
            assert await udp_ask(where, WEB)
        async with serving(host="::") as (_, where):
            assert await udp_ask(Address("::1", where.port), WEB)

    run(main())


def test_each_query_is_measured_under_consuls_names(run: Any) -> None:
    async def main() -> None:
        metrics = Metrics(0.0)
        async with serving(metrics=metrics) as (_, where):
            reverse, outside = query("1.0.0.10.in-addr.arpa", PTR), query("www.example.com", A)
            await udp_ask(where, WEB, WEB, reverse, outside)
            await tcp_ask(where, WEB)
        counts = {(key.name, key.labels): series.count for key, series in metrics._series.items()}
        labels = (("node", "server1"),)
        assert counts == {("consul.dns.domain_query", labels): 3, ("consul.dns.ptr_query", labels): 1}

    run(main())


def test_another_configuration_takes_over_at_once(run: Any) -> None:
    async def main() -> None:
        async with serving() as (server, where):
            server.replace(resolver(domain="mesh."), None)
            (one,) = await udp_ask(where, query("web.service.mesh", A))
            assert len(parse(one).answers) == 2

    run(main())


def stopping(release: bool) -> Coroutine[Any, Any, list[bytes]]:
    async def main() -> list[bytes]:
        servers = Servers()
        async with serving(perform=servers.perform) as (server, where):
            asked = asyncio.ensure_future(tcp_ask(where, FAR))  # noqa: TID251
            await until(lambda: servers.asked, "a lookup", interval=0.005)
            if release:
                stop = asyncio.ensure_future(server.stop(5.0))  # noqa: TID251
                await asyncio.sleep(0)
                servers.released.set()
                await stop
            else:
                await server.stop(0.01)
            with pytest.raises(OSError):  # noqa: PT011
                await asyncio.open_connection(where.host, where.port)
            return await asked

    return main()


def test_stopping_finishes_what_is_in_progress(run: Any) -> None:
    assert [parse(one).rcode for one in run(stopping(release=True))] == [NOERROR]


def test_stopping_fails_what_takes_longer_than_it_may(run: Any) -> None:
    assert [parse(one).rcode for one in run(stopping(release=False))] == [SERVFAIL]
