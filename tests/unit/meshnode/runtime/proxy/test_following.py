"""What is followed goes on whatever breaks; what was missed meanwhile is made up for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from meshnode.base.errors import ConfigError
from meshnode.runtime.proxy import following as module
from meshnode.runtime.proxy.following import follow, follow_certificates
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.support.asynchronous import asynchronous
from tests.support.proxy import Certificates
from tests.support.waiting import until

LOG = logging.getLogger("meshnode.proxy")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_INTERVAL", 0.001)


@asynchronous
async def test_a_subscription_that_ends_or_breaks_and_a_use_that_fails_are_gaps_and_it_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    happened: list[str] = []

    async def watch() -> AsyncIterator[str]:
        turn = sum(one == "watch" for one in happened)
        happened.append("watch")
        yield "a"
        if turn == 0:
            raise ConnectionError("the agent went away")

    async def use(item: str) -> None:
        happened.append(item)
        if happened.count("a") == 2:
            raise ValueError("this one is bad")

    async def gap() -> None:
        happened.append("gap")

    task = spawn(follow(watch, use, what="things", log=LOG, after_a_gap=gap), name="test")
    await until(lambda: happened.count("watch") > 3, "it goes on")
    await cancel_and_wait(task)
    assert happened[:8] == ["watch", "a", "gap", "watch", "a", "gap", "watch", "a"]
    assert caplog.messages == [
        "things are not followed for 0.001 s: the agent went away",
        "things are not followed for 0.001 s: this one is bad",
    ]


@asynchronous
async def test_what_makes_up_for_a_gap_may_fail_and_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    tried: list[int] = []

    async def watch() -> AsyncIterator[None]:
        if len(tried) < 3:
            return
        yield await asyncio.get_running_loop().create_future()

    async def use(_: None) -> None:
        raise AssertionError("nothing was told")

    async def gap() -> None:
        tried.append(len(tried))
        if len(tried) < 3:
            raise OSError("not yet")

    task = spawn(follow(watch, use, what="things", log=LOG, after_a_gap=gap), name="test")
    await until(lambda: len(tried) == 3, "it is tried again")
    await cancel_and_wait(task)
    assert caplog.text.count("not yet") == 2


@asynchronous
async def test_the_first_certificate_decides_and_later_ones_that_are_bad_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    used: list[str] = []

    def use(material: TlsMaterial) -> None:
        if material.chain_pem == "bad":
            raise ConfigError("no certificate at all")
        used.append(material.chain_pem)

    def material(name: str) -> TlsMaterial:
        return TlsMaterial(name, "", "")

    for first in ("bad", "one"):
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        certificates = Certificates(material(first))
        task = spawn(follow_certificates(certificates, use, ready, LOG), name="test")
        if first == "bad":
            with pytest.raises(ConfigError, match="no certificate at all"):
                await ready
        else:
            await ready
            for name in ("bad", "two"):
                certificates.replace(material(name))
            await until(lambda: used == ["one", "two"], "the next good one is used")
        await cancel_and_wait(task)
    assert caplog.messages == ["the new certificate is not used, the old one stays: no certificate at all"]
