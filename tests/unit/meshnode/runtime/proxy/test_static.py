"""A proxy without an agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from meshnode.base.spiffe import ServiceId
from meshnode.proxy.authorize import Identity
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.proxy.static import AllowAll, StaticCertificates
from tests.support.asynchronous import asynchronous

MATERIAL = TlsMaterial("chain", "key", "roots")


async def nothing_more(found: AsyncIterator[object]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(found), 0.01)


@asynchronous
async def test_the_one_certificate_comes_at_once_and_then_nothing() -> None:
    found = StaticCertificates(MATERIAL).watch()
    assert await anext(found) == MATERIAL
    await nothing_more(found)


@asynchronous
async def test_everybody_is_let_in_and_told_why() -> None:
    now = datetime.now(UTC)
    somebody = Identity(ServiceId("d.consul", "dc1", "web"), "spiffe://d.consul/x", "0a", now, now)
    decision = await AllowAll().decide(somebody)
    assert decision.allowed
    assert "-dev-config" in decision.because
    await nothing_more(AllowAll().changes())
