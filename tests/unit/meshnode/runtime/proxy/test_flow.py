"""The first and the last bytes of a connection: what waits for company, and what must not wait."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import struct
from pathlib import Path

from meshnode.runtime.proxy.contexts import make_contexts
from tests.support.asynchronous import asynchronous
from tests.support.proxy import Pair, client, echo_server, server, start_pair, write
from tests.support.waiting import until


def handshakes(pair: Pair) -> tuple[int, int]:
    counters = pair.web.counters()
    return counters.get("upstream.full_handshakes", 0), counters.get("upstream.resumed", 0)


@asynchronous
async def test_a_server_that_speaks_first_is_heard_by_a_client_that_says_nothing() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        await reader.read()

    async with server(greet) as app, start_pair(app) as pair:
        for _ in range(3):
            async with client(pair) as (reader, _):
                assert await asyncio.wait_for(reader.readline(), 20) == b"220 ready\r\n"
        assert handshakes(pair) == (1, 2)


@asynchronous
async def test_a_connection_on_which_nobody_says_anything_is_established_on_both_sides_and_ends() -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with server(wait) as app, start_pair(app) as pair:
        async with client(pair):
            await until(lambda: len(pair.web.ledger) == len(pair.api.ledger) == 1, "both sides have it")
        await until(lambda: not len(pair.web.ledger) + len(pair.api.ledger), "both sides have ended it")
        assert pair.api.ledger.closed[0].close_cause == "both sides ended"


@asynchronous
async def test_what_the_client_has_sent_before_the_handshake_goes_through_whole() -> None:
    data = bytes(range(256)) * 4000
    async with echo_server() as app, start_pair(app) as pair:
        early = socket.create_connection(("127.0.0.1", pair.port))
        early.setblocking(False)
        sent = early.send(data)
        reader, writer = await asyncio.open_connection(sock=early)
        writer.write(data[sent:])
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 20) == data
        writer.close()


@asynchronous
async def test_a_client_that_ended_before_the_handshake_gets_its_answer() -> None:
    async with echo_server() as app, start_pair(app) as pair:
        early = socket.create_connection(("127.0.0.1", pair.port))
        early.sendall(b"all of it")
        early.shutdown(socket.SHUT_WR)
        reader, writer = await asyncio.open_connection(sock=early)
        assert await asyncio.wait_for(reader.read(), 20) == b"all of it"
        writer.close()


@asynchronous
async def test_a_reset_of_one_connection_does_not_cost_the_next_one_a_full_handshake() -> None:
    async with echo_server() as app, start_pair(app) as pair:
        for _ in range(3):
            async with client(pair) as (reader, writer):
                writer.write(b"x")
                assert await asyncio.wait_for(reader.readexactly(1), 20) == b"x"
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await until(lambda: not len(pair.web.ledger) + len(pair.api.ledger), "it has ended")
            assert pair.api.ledger.closed[-1].close_cause != "both sides ended"
        assert handshakes(pair) == (1, 2)


@asynchronous
async def test_openssl_resumes_with_what_it_was_given(tmp_path: Path) -> None:
    """Twice with the same session: it is kept by us, and a ticket of TLS 1.3 may be used again."""
    async with echo_server() as app, start_pair(app) as pair:
        chain, key, roots = write(pair.ca.leaf("web"), tmp_path, "web")
        said = []
        for option in ("-sess_out", "-sess_in", "-sess_in"):
            process = await asyncio.create_subprocess_exec(
                *("openssl", "s_client", "-connect", f"127.0.0.1:{pair.public_port}", "-tls1_3", "-ign_eof"),
                *("-cert", chain, "-key", key, "-CAfile", roots, option, str(tmp_path / "session")),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"hello from openssl\n")
            output = b""
            while b"hello from openssl" not in output:
                output += await asyncio.wait_for(process.stdout.readline(), 20)
            said.append(b"Reused, TLSv1.3" in output)
            process.kill()
            await process.wait()
            await until(lambda: not len(pair.api.ledger), "it has ended")
        assert said == [False, True, True]


@asynchronous
async def test_an_instance_that_does_not_resume_costs_a_full_handshake_and_nothing_else() -> None:
    async with echo_server() as app, start_pair(app) as pair:
        async with client(pair) as (reader, writer):
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
        host = pair.api._host
        assert host is not None
        host.contexts = make_contexts(pair.ca.leaf("api"))
        for _ in range(2):
            async with client(pair) as (reader, writer):
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
        assert handshakes(pair) == (2, 1)


@asynchronous
async def test_tls_state_is_gone_with_its_connection_and_waits_for_no_collection() -> None:
    """Each holds tens of KiB, and thousands come and go between two collections."""

    def held() -> int:
        return sum(isinstance(item, ssl.SSLObject) for item in gc.get_objects())

    async with echo_server() as app, start_pair(app) as pair:
        gc.collect()
        before = held()
        gc.disable()
        try:
            for _ in range(5):
                async with client(pair) as (reader, writer):
                    writer.write(b"x")
                    assert await asyncio.wait_for(reader.readexactly(1), 20) == b"x"
            await until(lambda: not len(pair.web.ledger) + len(pair.api.ledger), "all have ended")
            assert held() == before
        finally:
            gc.enable()
