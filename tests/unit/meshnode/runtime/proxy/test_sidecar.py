"""A pair of sidecars, an application behind it, and what happens to the bytes of established connections."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import shutil
import socket
import struct
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from meshnode.base.errors import ConfigError
from meshnode.proxy.config import Endpoint, ProxyConfig, PublicListener, Upstream
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.proxy.sidecar import Sidecar
from meshnode.runtime.tasks import spawn
from tests.support.asynchronous import asynchronous
from tests.support.proxy import (
    Ca,
    Certificates,
    Decisions,
    Instances,
    Pair,
    echo_server,
    free_port,
    local,
    make_sidecar,
    server,
    spiffe,
    start_pair,
    upstream,
)
from tests.support.waiting import until

CHUNK = random.Random(3).randbytes(1 << 20)


@contextlib.asynccontextmanager
async def client(pair: Pair) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    writer.write(data)
    return await asyncio.wait_for(reader.readexactly(len(data)), 20)


@asynchronous
async def test_bytes_come_back_as_they_were_sent() -> None:
    async with echo_server() as app, start_pair(app) as pair, client(pair) as (reader, writer):
        for size in (1, 16_383, 16_384, 16_385, 131_072, 131_073, 900_000):
            assert await say(reader, writer, CHUNK[:size]) == CHUNK[:size]


@asynchronous
async def test_the_end_of_a_request_is_passed_on_and_the_response_comes_after_it() -> None:
    """Request, shutdown, and only then the response: what a proxy without half-close breaks."""
    heard: list[bytes] = []

    async def answer_after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.write(b"you said " + heard[0])
        writer.write_eof()

    async with server(answer_after_the_end) as app, start_pair(app) as pair, client(pair) as (reader, writer):
        writer.write(b"all of it")
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 10) == b"you said all of it"
        assert heard == [b"all of it"]
        await until(lambda: not len(pair.api.ledger) and not len(pair.web.ledger), "both ledgers are empty")
        assert [entry.close_cause for entry in pair.api.ledger.closed] == ["both sides ended"]


@asynchronous
async def test_a_server_may_end_first_and_still_hear_the_client() -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def greet_and_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello, that was all")
        writer.write_eof()
        heard.set_result(await reader.read())

    async with server(greet_and_listen) as app, start_pair(app) as pair, client(pair) as (reader, writer):
        assert await asyncio.wait_for(reader.read(), 10) == b"hello, that was all"
        writer.write(CHUNK)
        writer.write_eof()
        assert await asyncio.wait_for(heard, 10) == CHUNK


@asynchronous
async def test_a_slow_reader_stops_the_sender_and_loses_nothing() -> None:
    """The sender can't get further ahead than the buffers of sockets, which this test makes small against 64 MiB."""
    total, go, sent = 64, asyncio.Event(), 0

    async def wait_then_count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        digest = hashlib.sha256()
        while data := await reader.read(1 << 20):
            digest.update(data)
        writer.write(digest.digest())
        writer.write_eof()

    async with server(wait_then_count) as app, start_pair(app) as pair, client(pair) as (reader, writer):

        async def send() -> None:
            nonlocal sent
            for _ in range(total):
                writer.write(CHUNK)
                await writer.drain()
                sent += 1
            writer.write_eof()

        sending = spawn(send(), name="send")
        seen = -1

        def stands_still() -> bool:
            nonlocal seen
            before, seen = seen, sum(entry.received for entry in pair.api.ledger.live())
            return before == seen > 0

        await until(stands_still, "the sender stands still", interval=0.3)
        assert sent < total, "the proxies swallowed everything"
        assert len(pair.api.ledger) == 1
        go.set()
        assert await asyncio.wait_for(reader.read(), 30) == hashlib.sha256(CHUNK * total).digest()
        await sending


@asynchronous
async def test_a_reset_on_one_side_is_a_reset_on_the_other() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        writer.transport.abort()

    async with server(hang_up) as app, start_pair(app) as pair, client(pair) as (reader, writer):
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10)


@asynchronous
async def test_many_flows_and_only_those_of_the_denied_source_end() -> None:
    """A second client sidecar, ``db``, is denied while both talk; its flows end within 1 s, the others lose no byte."""
    async with echo_server() as app, start_pair(app) as pair:
        db, _ = make_sidecar(pair.ca, "db", Decisions(), pair.instances)
        await db.start(ProxyConfig("db", None, (upstream(),)))
        try:
            await _deny_db_while_all_talk(pair, db.address("service:default/api").port)
        finally:
            await db.stop(drain_timeout=0)


async def _deny_db_while_all_talk(pair: Pair, db_port: int) -> None:
    denied = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def talk(port: int, seed: int) -> tuple[bool, float]:
        """Goes on until 20 rounds after the denial; says whether each byte came back, and when it ended."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        payload, left = random.Random(seed).randbytes(20_000), 20
        sent, came = hashlib.sha256(), hashlib.sha256()
        try:
            while left:
                sent.update(payload)
                came.update(await say(reader, writer, payload))
                left -= denied.is_set()
            return sent.digest() == came.digest(), loop.time()
        except (ConnectionError, asyncio.IncompleteReadError):
            return False, loop.time()
        finally:
            writer.close()

    web = [spawn(talk(pair.port, seed), name="web") for seed in range(20)]
    db = [spawn(talk(db_port, seed), name="db") for seed in range(20)]
    await until(lambda: len(pair.api.ledger) == 40, "all are connected")
    began = loop.time()
    pair.decisions.deny("db")
    ended = await asyncio.wait_for(asyncio.gather(*db), 10)
    denied.set()
    assert all(not whole for whole, _ in ended)
    assert max(at for _, at in ended) - began < 1.0
    assert [whole for whole, _ in await asyncio.wait_for(asyncio.gather(*web), 30)] == [True] * 20
    causes = {entry.close_cause for entry in pair.api.ledger.closed if entry.source == spiffe("db")}
    assert causes == {"cut: intention db => api denies it"}


@asynchronous
async def test_a_revoked_certificate_is_cut_by_its_serial_number() -> None:
    async with echo_server() as app, start_pair(app) as pair, client(pair) as (reader, writer):
        await say(reader, writer, b"hello")
        assert pair.api.cut_serials(["00:00"]) == 0
        assert pair.api.cut_serials([pair.web.identity.serial]) == 1
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10)


@asynchronous
async def test_when_nobody_answers_a_recheck_live_connections_go_on() -> None:
    async with echo_server() as app, start_pair(app) as pair, client(pair) as (reader, writer):
        await say(reader, writer, b"hello")
        pair.decisions.fail = True
        assert await pair.api.recheck() == 0
        assert await say(reader, writer, b"still here") == b"still here"


@asynchronous
async def test_a_source_that_nobody_answered_about_is_asked_about_until_somebody_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A deny whose question failed once would never end the connection otherwise."""
    monkeypatch.setattr("meshnode.runtime.proxy.sidecar.RETRY_INTERVAL", 0.05)
    async with echo_server() as app, start_pair(app) as pair, client(pair) as (reader, writer):
        await say(reader, writer, b"hello")
        pair.decisions.fail = True
        pair.decisions.deny("web")
        await until(lambda: len(pair.decisions.asked) >= 3, "it is asked again and again")
        assert await say(reader, writer, b"still here") == b"still here"
        pair.decisions.fail = False
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10)


@asynchronous
async def test_who_was_let_in_by_memory_is_cut_when_the_answer_comes_and_is_no(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("meshnode.runtime.proxy.sidecar.RETRY_INTERVAL", 0.05)
    async with echo_server() as app, start_pair(app, public={"decision_refresh": 0.01}) as pair:
        async with client(pair) as (reader, writer):
            await say(reader, writer, b"known")
        await until(lambda: not len(pair.api.ledger), "it has ended")
        pair.decisions.fail = True
        pair.decisions.denied.add("web")
        async with client(pair) as (reader, writer):
            assert await say(reader, writer, b"by memory") == b"by memory"
            pair.decisions.fail = False
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 10)


@asynchronous
async def test_a_decision_that_changes_while_it_is_asked_for_is_asked_for_again() -> None:
    async with echo_server() as app, start_pair(app) as pair:
        pair.decisions.gate = asyncio.Event()
        async with client(pair) as (reader, _):
            await until(lambda: pair.decisions.asked, "the decision is asked for")
            pair.decisions.denied.add("web")
            rechecking = spawn(pair.api.recheck(), name="recheck")
            await asyncio.sleep(0)
            pair.decisions.gate.set()
            await rechecking
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 10)
        assert pair.api.counters()["refused.denied"] == 1
        assert pair.api.ledger.totals("inbound").opened == 0


@asynchronous
async def test_new_certificates_hold_for_new_connections_and_drop_no_old_one() -> None:
    async with echo_server() as app, start_pair(app) as pair, client(pair) as (reader, writer):
        await say(reader, writer, b"before")
        first = pair.web.identity.serial
        pair.certificates["web"].replace(pair.ca.leaf("web"))
        await until(lambda: pair.web.identity.serial != first, "the new leaf is in force")
        async with client(pair) as (other_reader, other_writer):
            assert await say(other_reader, other_writer, b"new") == b"new"
            assert await say(reader, writer, b"old") == b"old"
            serials = [entry.serial for entry in pair.api.ledger.live()]
            assert serials == [first, pair.web.identity.serial]


@asynchronous
async def test_a_root_that_is_no_longer_trusted_ends_resumption_too() -> None:
    async with echo_server() as app, start_pair(app) as pair:
        for _ in range(2):
            async with client(pair) as (reader, writer):
                await say(reader, writer, b"x")
        assert pair.web.counters()["upstream.resumed"] == 1
        before = pair.api.identity.serial
        pair.certificates["api"].replace(Ca(name="Consul CA 8").leaf("api"))
        await until(lambda: pair.api.identity.serial != before, "the new root is in force")
        async with client(pair) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 10)


@asynchronous
async def test_a_certificate_that_cannot_be_used_leaves_the_old_one_in_force(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with echo_server() as app, start_pair(app) as pair:
        good = pair.ca.leaf("web")
        pair.certificates["web"].replace(
            TlsMaterial(good.chain_pem, pair.ca.leaf("web").key_pem, good.roots_pem)
        )
        await until(lambda: "the old one stays" in caplog.text, "the certificate is refused")
        async with client(pair) as (reader, writer):
            assert await say(reader, writer, b"x") == b"x"
        assert "PRIVATE KEY" not in caplog.text


@asynchronous
async def test_a_changed_configuration_starts_and_stops_what_changed_and_drops_no_connection() -> None:
    async with echo_server() as app, start_pair(app) as pair, client(pair) as (reader, writer):
        await say(reader, writer, b"before")
        old_port, other = pair.port, replace(upstream("other"), bind=local(free_port()))
        assert pair.web.config is not None
        pair.web.apply(ProxyConfig("web", None, (*pair.web.config.upstreams, other)))
        assert pair.port == old_port
        added = pair.web.address("service:default/other").port
        pair.web.apply(ProxyConfig("web", None, (other,)))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", old_port)
        assert pair.web.address("service:default/other").port == added
        assert await say(reader, writer, b"after") == b"after"


@asynchronous
async def test_an_address_in_use_is_named_and_the_old_configuration_stays() -> None:
    async with echo_server() as app, start_pair(app) as pair:
        before = pair.web.config
        taken = PublicListener(local(pair.public_port), app)
        with pytest.raises(ConfigError, match=f"public can't listen on 127.0.0.1:{pair.public_port}"):
            pair.web.apply(ProxyConfig("web", taken, before.upstreams if before else ()))
        assert pair.web.config is before
        async with client(pair) as (reader, writer):
            assert await say(reader, writer, b"x") == b"x"


@asynchronous
async def test_stopping_lets_a_connection_end_and_accepts_no_new_one() -> None:
    async with echo_server() as app, start_pair(app) as pair, client(pair) as (reader, writer):
        await say(reader, writer, b"x")
        port = pair.public_port
        stopping = spawn(pair.api.stop(drain_timeout=20), name="stop")
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert await say(reader, writer, b"still") == b"still"
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 10) == b""
        await asyncio.wait_for(stopping, 10)


@asynchronous
async def test_a_unix_socket_serves_on_both_ends(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        await writer.drain()
        writer.close()

    listening = await asyncio.start_unix_server(echo, tmp_path / "app.sock")
    async with start_pair(Endpoint(path=str(tmp_path / "app.sock"))) as pair:
        path = Endpoint(path=str(tmp_path / "up.sock"))
        pair.web.apply(ProxyConfig("web", None, (replace(upstream(), bind=path),)))
        reader, writer = await asyncio.open_unix_connection(path.path)
        assert await say(reader, writer, b"hello") == b"hello"
        writer.close()
        await writer.wait_closed()
    listening.close()


@asynchronous
async def test_the_ledger_and_the_counters_have_both_sides_of_a_connection() -> None:
    async with echo_server() as app, start_pair(app) as pair, client(pair) as (reader, writer):
        await say(reader, writer, b"12345")
        (inbound,), (outbound,) = pair.api.ledger.live(), pair.web.ledger.live()
        assert (inbound.source, inbound.destination) == (spiffe("web"), spiffe("api"))
        assert (outbound.source, outbound.destination) == (spiffe("web"), spiffe("api"))
        assert (inbound.serial, outbound.serial) == (pair.web.identity.serial, pair.api.identity.serial)
        assert (inbound.rule, inbound.received, inbound.sent) == ("allow-1", 5, 5)
        counters = pair.api.counters()
        assert [counters[f"inbound.{name}"] for name in ("conns", "rx_bytes", "tx_bytes")] == [1, 5, 5]


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@asynchronous
async def test_curl_gets_a_page_through_a_pair(tmp_path: Path) -> None:
    page = tmp_path / "page.bin"
    page.write_bytes(CHUNK)
    port = free_port()
    serving = subprocess.Popen(
        ["python3", "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", tmp_path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await until(lambda: _open(port), "the web server listens")
        async with start_pair(local(port)) as pair:
            for _ in range(3):
                curl = await asyncio.create_subprocess_exec(
                    "curl", "-s", "--fail", "--noproxy", "*", f"http://127.0.0.1:{pair.port}/page.bin",
                    stdout=subprocess.PIPE,
                )  # fmt: skip
                output, _ = await asyncio.wait_for(curl.communicate(), 20)
                assert (curl.returncode, output) == (0, CHUNK)
    finally:
        serving.kill()
        serving.wait()


async def _open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


# Changes of the configuration, and what is told


def listening(sidecar: Sidecar) -> list[str]:
    return [item["Address"] for item in sidecar.report()["Listeners"]]


@asynchronous
async def test_the_log_of_a_start_has_the_order_of_consuls(caplog: pytest.LogCaptureFixture) -> None:
    web, _ = make_sidecar(Ca(), "web", Decisions(), Instances())
    port, public = free_port(), free_port()
    leads = Upstream(local(port), "socat")
    with caplog.at_level("INFO", "meshnode.proxy"):
        await web.start(ProxyConfig("web", PublicListener(local(public), local(1)), (leads,)))
    await web.stop(drain_timeout=0)
    assert caplog.messages == [
        f"127.0.0.1:{port}->service:default/socat starting on 127.0.0.1:{port}",
        "Proxy loaded config and ready to serve",
        f"TLS Identity: {spiffe('web')}",
        "TLS Roots   : [Consul CA 7]",
        f"public listener starting on 127.0.0.1:{public}",
    ]


@asynchronous
async def test_what_all_workers_would_say_is_said_by_one(caplog: pytest.LogCaptureFixture) -> None:
    web, _ = make_sidecar(Ca(), "web", Decisions(), Instances(), announce=False)
    with caplog.at_level("INFO", "meshnode.proxy"):
        await web.start(ProxyConfig("web", None, (upstream(),)))
    await web.stop(drain_timeout=0)
    assert caplog.messages == []


@asynchronous
async def test_roots_have_the_names_that_the_agent_gives_them() -> None:
    material = replace(Ca().leaf("web"), root_names=("Consul CA 7", "Consul CA 8"))
    web = Sidecar(Certificates(material), Decisions(), Instances())
    await web.start(ProxyConfig("web"))
    assert web.report()["Roots"] == ["Consul CA 7", "Consul CA 8"]
    await web.stop(drain_timeout=0)


@asynchronous
async def test_a_port_goes_from_one_address_to_all_addresses_and_back() -> None:
    web, _ = make_sidecar(Ca(), "web", Decisions(), Instances())
    port = free_port()
    one, every = (Upstream(Endpoint(host, port), "db") for host in ("127.0.0.1", "0.0.0.0"))
    await web.start(ProxyConfig("web", None, (one,)))
    for wanted in (every, one):
        web.apply(ProxyConfig("web", None, (wanted,)))
        assert listening(web) == [str(wanted.bind)]
    await web.stop(drain_timeout=0)


@asynchronous
async def test_a_change_that_fails_leaves_every_listener_as_it_was() -> None:
    web, _ = make_sidecar(Ca(), "web", Decisions(), Instances())
    port, other = free_port(), free_port()
    before = ProxyConfig("web", None, (Upstream(local(port), "db"),))
    await web.start(before)
    with socket.create_server(("127.0.0.1", other)):
        wanted = Upstream(Endpoint("0.0.0.0", port), "db"), Upstream(local(other), "mail")
        with pytest.raises(ConfigError, match="mail can't listen on"):
            web.apply(ProxyConfig("web", None, wanted))
    assert listening(web) == [f"127.0.0.1:{port}"]
    assert web.config == before
    web.apply(ProxyConfig("web", None, wanted))
    assert sorted(listening(web)) == sorted([f"0.0.0.0:{port}", f"127.0.0.1:{other}"])
    await web.stop(drain_timeout=0)


@asynchronous
async def test_draining_ends_at_once_when_somebody_is_in_a_hurry() -> None:
    async with echo_server() as app, start_pair(app) as pair, client(pair) as (reader, writer):
        assert await say(reader, writer, b"hello") == b"hello"
        stopping = spawn(pair.web.stop(drain_timeout=1000), name="test")
        await until(lambda: not pair.web.report() or not listening(pair.web), "it accepts nobody")
        pair.web.hurry()
        await asyncio.wait_for(stopping, 10)
        assert [entry.close_cause for entry in pair.web.ledger.closed] == ["the proxy stops"]


@asynchronous
async def test_a_report_tells_identity_listeners_and_connections(caplog: pytest.LogCaptureFixture) -> None:
    async with echo_server() as app, start_pair(app) as pair, client(pair) as (reader, writer):
        assert await say(reader, writer, b"hello") == b"hello"
        report = pair.api.report()
        (row,) = report["Connections"]
        assert (report["Service"], report["Identity"], report["Roots"]) == (
            "api",
            spiffe("api"),
            ["Consul CA 7"],
        )
        public = {"Name": "public", "Address": f"127.0.0.1:{pair.public_port}", "Serial": report["Serial"]}
        assert report["Listeners"] == [public]
        assert (row["Source"], row["Destination"], row["Rule"]) == (spiffe("web"), spiffe("api"), "allow-1")
        assert (row["BytesIn"], row["BytesOut"]) == (5, 5)
        # What one side presents is what the other one saw.
        assert pair.web.report()["Connections"][0]["Serial"] == report["Serial"]


@asynchronous
async def test_a_denied_connection_is_told_with_an_id_its_source_and_the_rule(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with echo_server() as app, start_pair(app) as pair:
        pair.decisions.denied.add("web")
        async with client(pair) as (reader, _):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        await until(lambda: pair.api.report()["Refused"], "it is refused")
        (row,) = pair.api.report()["Refused"]
        assert (row["ID"], row["Listener"], row["Kind"]) == (1, "public", "denied")
        assert (row["Source"], row["Rule"]) == (spiffe("web"), "deny-1")
        assert row["Because"] == f"{spiffe('web')}: intention web => api denies it"
        assert f"public #1 from {row['Peer']} refused: {row['Because']} (rule deny-1)" in caplog.messages


@asynchronous
async def test_an_application_at_a_host_name_is_resolved_for_each_connection() -> None:
    async with echo_server() as app:
        # Whatever addresses the name has: those where nobody listens are passed over.
        named = Endpoint("localhost", app.port, named=True)
        async with start_pair(named) as pair, client(pair) as (reader, writer):
            assert await say(reader, writer, b"hello") == b"hello"


@asynchronous
async def test_an_application_whose_name_has_no_address_is_told() -> None:
    async with start_pair(Endpoint("nobody.invalid", 1, named=True)) as pair, client(pair) as (reader, _):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        await until(lambda: pair.api.report()["Refused"], "it is refused")
        assert "nobody.invalid can't be resolved" in pair.api.report()["Refused"][0]["Because"]
