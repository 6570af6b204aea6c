"""What a sidecar tells: its log, its ledger, its report."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from meshnode.proxy.config import ProxyConfig, PublicListener, Upstream
from meshnode.runtime.proxy.sidecar import Sidecar
from tests.support.asynchronous import asynchronous
from tests.support.proxy import (
    Ca,
    Certificates,
    Decisions,
    Instances,
    client,
    echo_server,
    local,
    make_sidecar,
    say,
    spiffe,
    start_pair,
    upstream,
)
from tests.support.waiting import until
from tests.support.wire import free_port


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
