"""Two native services in memory: who may, who is who, and what changes under them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from meshnode.base.errors import ConfigError, MeshError
from meshnode.proxy.authorize import Identity
from meshnode.proxy.balance import Instance
from meshnode.proxy.client_hello import read_server_name
from meshnode.runtime.tasks import spawn
from meshnode.sdk.errors import DialError, PeerUnknownError
from meshnode.sdk.service import Service, Surroundings
from tests.support.asynchronous import asynchronous
from tests.support.proxy import Ca, Certificates, Decisions, Instances, spiffe
from tests.support.proxy import server as silent_server
from tests.support.sdk import echo, native, pair
from tests.support.waiting import until
from tests.support.wire import free_port


async def ends(reader: asyncio.StreamReader) -> bool:
    """Whether the other side ends the connection, with a reset or without."""
    try:
        return await asyncio.wait_for(reader.read(), 10) == b""
    except ConnectionError:
        return True


@asynchronous
async def test_a_service_talks_to_another_and_each_knows_who_the_other_is() -> None:
    async with pair() as two:
        reader, writer = await two.web.service.dial("api")
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        server = two.web.service.identify(writer.get_extra_info("ssl_object"))
        assert server.uri == spiffe("api") == two.api.service.identity.uri
        assert server.serial == two.api.service.identity.serial
        assert two.connected == [spiffe("web")]
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.close()


@asynchronous
async def test_who_is_denied_never_reaches_the_callback() -> None:
    async with pair() as two:
        two.api.decisions.denied.add("web")
        reader, writer = await two.web.service.dial("api")
        writer.write(b"hello")
        assert await ends(reader)
        assert two.connected == []
        assert two.api.service.refusals.total == 1
        writer.close()


@asynchronous
async def test_a_connection_is_cut_when_its_source_is_denied_and_others_go_on() -> None:
    async with pair() as two, native(two.ca, "cron", instances=two.web.instances) as cron:
        reader, writer = await two.web.service.dial("api")
        kept_reader, kept_writer = await cron.service.dial("api")
        await until(lambda: len(two.connected) == 2, "both are served")
        two.api.decisions.deny("web")
        assert await ends(reader)
        kept_writer.write(b"still here")
        assert await kept_reader.readexactly(10) == b"still here"
        assert len(two.api.service.live) == 1
        writer.close()
        kept_writer.close()


@asynchronous
async def test_a_connection_that_was_being_decided_about_when_it_was_denied_is_cut() -> None:
    async with pair() as two:
        decisions = two.api.decisions
        decisions.gate = asyncio.Event()
        reader, writer = await two.web.service.dial("api")
        await until(lambda: decisions.asked, "the agent is asked")
        decisions.deny("web")
        await until(lambda: len(decisions.asked) == 2, "it is asked again")
        decisions.gate.set()
        assert await ends(reader)
        assert two.connected == []
        writer.close()


@asynchronous
async def test_what_nobody_can_decide_is_denied_and_what_was_allowed_holds_for_a_while() -> None:
    now = [1000.0]
    async with pair(clock=lambda: now[0]) as two:
        peer = two.web.service.identity
        two.api.decisions.fail = True
        decision = await two.api.service.authorize(peer)
        assert not decision.allowed
        assert "nobody could be asked: the agent does not answer" in decision.because
        two.api.decisions.fail = False
        assert (await two.api.service.authorize(peer)).allowed
        two.api.decisions.fail = True
        now[0] += 100
        assert (await two.api.service.authorize(peer)).allowed
        now[0] += 300
        assert not (await two.api.service.authorize(peer)).allowed


@asynchronous
async def test_a_decision_is_asked_for_once_and_again_after_a_change() -> None:
    async with pair() as two:
        peer = two.web.service.identity
        decisions = two.api.decisions
        await asyncio.gather(*(two.api.service.authorize(peer) for _ in range(20)))
        assert len(decisions.asked) == 1
        await two.api.service.authorize(peer)
        assert len(decisions.asked) == 1
        decisions.deny("web")

        async def is_denied() -> bool:
            return not (await two.api.service.authorize(peer)).allowed

        await until(is_denied, "the change is known")


@asynchronous
async def test_new_connections_use_the_leaf_and_roots_of_the_moment_and_old_ones_go_on() -> None:
    async with pair() as two:
        reader, writer = await two.web.service.dial("api")
        before = two.api.service.identity.serial
        other = Ca(name="Consul CA 8")
        both = two.ca.root.certificate_pem + other.root.certificate_pem
        for side, name in ((two.web, "web"), (two.api, "api")):
            material = two.ca.leaf(name)
            side.certificates.replace(type(material)(material.chain_pem, material.key_pem, both))
        await until(lambda: len(two.api.service.roots) == len(two.web.service.roots) == 2, "both roots")
        for side, name in ((two.web, "web"), (two.api, "api")):
            material = other.leaf(name)
            side.certificates.replace(type(material)(material.chain_pem, material.key_pem, both))
            serial = side.service.identity.serial
            await until(lambda side=side, serial=serial: side.service.identity.serial != serial, "a new leaf")
            assert await two.say() == b"hello"
        for side, name in ((two.web, "web"), (two.api, "api")):
            side.certificates.replace(other.leaf(name))
        await until(
            lambda: two.api.service.roots == two.web.service.roots == ("Consul CA 8",), "the old root goes"
        )
        again, again_writer = await two.web.service.dial("api")
        now = two.web.service.identify(again_writer.get_extra_info("ssl_object")).serial
        assert now == two.api.service.identity.serial != before
        writer.write(b"still")
        assert await reader.readexactly(5) == b"still"
        writer.close()
        again_writer.close()
        del again


@asynchronous
async def test_who_has_a_leaf_of_a_root_that_is_no_longer_trusted_is_refused() -> None:
    async with pair() as two:
        assert await two.say() == b"hello"
        two.api.certificates.replace(Ca(name="Consul CA 9").leaf("api"))
        await until(lambda: two.api.service.roots == ("Consul CA 9",), "the root is another")
        with pytest.raises(DialError, match="does not verify"):
            await two.say()


# Whom we dial


@asynchronous
async def test_the_next_instance_is_tried_when_one_refuses_or_is_somebody_else() -> None:
    async with pair() as two, native(two.ca, "other") as other:
        impostor = await other.service.start_server(echo, "127.0.0.1", 0)
        wrong = Instance("127.0.0.1", impostor.sockets[0].getsockname()[1], spiffe("api"), distance=0)
        closed = Instance("127.0.0.1", free_port(), spiffe("api"), distance=1)
        right = Instance("127.0.0.1", two.port, spiffe("api"), distance=2)
        two.web.instances.known["api"] = [wrong, closed, right]
        assert await two.say() == b"hello"
        two.web.instances.known["api"] = [wrong, closed]
        with pytest.raises(DialError) as caught:
            await two.say()
        assert f"the peer is {spiffe('other')}; expected is {spiffe('api')}" in str(caught.value)
        assert f"127.0.0.1:{closed.port}: " in str(caught.value)


@pytest.mark.parametrize(
    "uri", [spiffe("api", datacenter="dc2"), spiffe("api", "0-0.consul"), spiffe("api2")]
)
@asynchronous
async def test_a_server_of_another_datacenter_trust_domain_or_name_is_not_talked_to(uri: str) -> None:
    async with pair() as two:
        two.api.certificates.replace(two.ca.odd_leaf([spiffe("api")]))
        two.web.instances.known["api"] = [Instance("127.0.0.1", two.port, uri)]
        with pytest.raises(DialError, match="expected is"):
            await two.say()


@asynchronous
async def test_why_nobody_is_dialled_is_told() -> None:
    async with pair() as two:
        web = two.web.service
        with pytest.raises(DialError, match="service:default/nobody: it has no instance"):
            await web.dial("nobody")
        two.web.instances.known["api"] = [Instance("127.0.0.1", 1, spiffe("api"), passing=False)]
        with pytest.raises(DialError, match="none of its 1 instances is passing"):
            await web.dial("api")
        two.web.instances.fail = True
        with pytest.raises(DialError, match="can't be found out: the agent does not answer"):
            await web.dial("api", prepared_query=True)


@asynchronous
async def test_an_instance_that_says_nothing_is_given_up() -> None:
    async with pair() as two, silent_server(lambda reader, _: reader.read()) as silent:
        two.web.instances.known["api"] = [Instance("127.0.0.1", silent.port, spiffe("api"))]
        with pytest.raises(DialError, match=r"not connected within 0\.1 s"):
            await two.web.service.dial("api", timeout=0.1)


@asynchronous
async def test_a_gateway_is_asked_for_the_service_that_it_stands_for() -> None:
    heard: list[str | None] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(read_server_name(await reader.read(65536)))
        writer.close()

    async with pair() as two, silent_server(hear) as gateway:
        asked = Instance("127.0.0.1", gateway.port, spiffe("api"), server_name="api.default.dc1.internal.x")
        for one in (asked, replace(asked, server_name="")):
            two.web.instances.known["api"] = [one]
            with pytest.raises(DialError):
                await two.web.service.dial("api")
    assert heard == ["api.default.dc1.internal.x", ""]


# Who we are


@asynchronous
async def test_a_connection_of_anybody_elses_making_proves_nothing() -> None:
    async with pair() as two:
        for thing in (None, object(), "CN=web"):
            with pytest.raises(PeerUnknownError, match=r"server_context\(\)"):
                two.api.service.identify(thing)


@asynchronous
async def test_a_certificate_that_expired_meanwhile_identifies_nobody() -> None:
    from datetime import UTC, datetime

    offset = [timedelta(0)]
    async with pair(wall_clock=lambda: datetime.now(UTC) + offset[0]) as two:
        seen: list[object] = []

        async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(writer.get_extra_info("ssl_object"))
            await echo(reader, writer)

        server = await two.api.service.start_server(keep, "127.0.0.1", 0)
        two.web.instances.known["api"] = [
            Instance("127.0.0.1", server.sockets[0].getsockname()[1], spiffe("api"))
        ]
        await two.say()
        assert isinstance(two.api.service.identify(seen[0]), Identity)
        offset[0] = timedelta(days=4)
        with pytest.raises(PeerUnknownError, match="expired"):
            two.api.service.identify(seen[0])


@asynchronous
async def test_nothing_works_before_the_block_and_it_is_said_what_to_do() -> None:
    service = Service(
        "web", surroundings=Surroundings(Certificates(Ca().leaf("web")), Decisions(), Instances())
    )
    assert "not started" in repr(service)
    for act in (lambda: service.identity, service.server_context, lambda: service.client_context("x")):
        with pytest.raises(ConfigError, match="async with"):
            act()
    with pytest.raises(ConfigError, match="async with"):
        await service.dial("x")
    async with service:
        assert "svc/web" in repr(service)
        with pytest.raises(ConfigError, match="runs already"):
            async with service:
                pass
    with pytest.raises(ConfigError, match="no name"):
        Service("")


@asynchronous
async def test_a_leaf_of_another_service_is_not_ours() -> None:
    surroundings = Surroundings(Certificates(Ca().leaf("api")), Decisions(), Instances())
    with pytest.raises(ConfigError, match="not of web"):
        async with Service("web", surroundings=surroundings):
            pass


@asynchronous
async def test_no_agent_is_told_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for address, name in ((f"127.0.0.1:{free_port()}", "address"), ("", "environment")):
        monkeypatch.setenv("CONSUL_HTTP_ADDR", f"127.0.0.1:{free_port()}")
        with pytest.raises(MeshError, match=r"gives 'web' no certificate: can't reach .*CONSUL_HTTP_ADDR"):
            async with Service("web", address=address):
                raise AssertionError(name)


@asynchronous
async def test_the_end_of_a_service_ends_its_connections() -> None:
    ca, instances = Ca(), Instances()
    async with native(ca, "web", instances=instances) as web:
        async with native(ca, "api") as api:
            server = await api.service.start_server(echo, "127.0.0.1", 0)
            instances.known["api"] = [
                Instance("127.0.0.1", server.sockets[0].getsockname()[1], spiffe("api"))
            ]
            reader, writer = await web.service.dial("api")
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
        assert await ends(reader)
        assert not server.is_serving()
        writer.close()


@asynchronous
async def test_what_is_asked_when_the_service_ends_is_denied() -> None:
    decisions = Decisions(gate=asyncio.Event())
    async with native(Ca(), "api", decisions=decisions) as api:
        asked = spawn(api.service.authorize(api.service.identity), name="test")
        await until(lambda: decisions.asked, "the agent is asked")
    decision = await asked
    assert not decision.allowed
    assert "it was stopped meanwhile" in decision.because
