"""Certificates and configurations that change while connections go on; the end of a sidecar."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from meshnode.base.errors import ConfigError
from meshnode.proxy.config import Endpoint, ProxyConfig, PublicListener, Upstream
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.tasks import spawn
from tests.support.asynchronous import asynchronous
from tests.support.proxy import (
    Ca,
    Decisions,
    Instances,
    client,
    echo_server,
    listening,
    local,
    make_sidecar,
    say,
    start_pair,
    upstream,
)
from tests.support.waiting import until
from tests.support.wire import free_port


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
