from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from meshnode.proxy.balance import FIRST_BACK_OFF, Instance
from meshnode.sdk import dialer as module
from meshnode.sdk.errors import DialError, PeerUnknownError
from tests.support.asynchronous import asynchronous
from tests.support.proxy import spiffe
from tests.support.sdk import pair
from tests.support.waiting import until
from tests.support.wire import free_port


@asynchronous
async def test_an_instance_that_failed_comes_last_for_a_while() -> None:
    now = [100.0]
    async with pair() as two:
        dialer = two.web.service._dialer
        assert dialer is not None
        dialer._clock = lambda: now[0]
        bad = Instance("127.0.0.1", free_port(), spiffe("api"), distance=0)
        good = Instance("127.0.0.1", two.port, spiffe("api"), distance=1)
        two.web.instances.known["api"] = [bad, good]
        await two.say()
        (balancer,) = dialer._balancers.values()
        assert balancer.order([bad, good], now[0])[0] == good
        now[0] += FIRST_BACK_OFF + 0.1
        assert balancer.order([bad, good], now[0])[0] == bad


@asynchronous
async def test_a_connection_that_ended_before_it_was_entered_has_ended() -> None:
    reader = asyncio.StreamReader()
    protocol, ended = module._Dialled(reader, loop=asyncio.get_running_loop()), []
    broken = ConnectionResetError()
    protocol.connection_lost(broken)
    protocol.follow(ended.append)
    assert ended == [broken]


@asynchronous
async def test_an_instance_that_may_not_be_used_after_all_is_passed_over() -> None:
    async with pair() as two:
        dialer = two.web.service._dialer
        assert dialer is not None
        entered = []

        def enter(transport: asyncio.Transport, name: str, peer: str) -> Callable[[Exception | None], None]:
            entered.append((name, peer))
            raise PeerUnknownError("revoked meanwhile")

        dialer._enter = enter
        with pytest.raises(DialError, match="revoked meanwhile"):
            await two.say()
        assert entered == [("service:default/api", f"127.0.0.1:{two.port}")]
        await until(lambda: len(two.api.service.live) == 0, "it was closed")


@asynchronous
async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DESTINATIONS", 3)
    monkeypatch.setattr(module, "MAX_CONTEXTS", 2)
    async with pair() as two:
        dialer = two.web.service._dialer
        assert dialer is not None
        for number in range(5):
            two.web.instances.known[f"s{number}"] = [Instance("127.0.0.1", free_port(), spiffe(f"s{number}"))]
            with pytest.raises(DialError):
                await two.web.service.dial(f"s{number}")
        assert [upstream.destination for upstream in dialer._balancers] == ["s2", "s3", "s4"]
        assert list(dialer._contexts) == [spiffe("s3"), spiffe("s4")]


@asynchronous
async def test_a_name_of_a_host_is_an_address_too() -> None:
    async with pair() as two:
        two.web.instances.known["api"] = [Instance("localhost", two.port, spiffe("api"))]
        assert await two.say() == b"hello"
        two.web.instances.known["api"] = [Instance("no-such-host.invalid", two.port, spiffe("api"))]
        with pytest.raises(DialError, match=r"no-such-host\.invalid"):
            await two.say()
