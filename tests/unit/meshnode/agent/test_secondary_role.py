from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from meshnode.agent.secondary_role import SecondaryRole
from meshnode.base.errors import MeshError
from tests.support.virtual_time import run


class Away:
    """A primary that can't be reached; notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any], str, bool]] = []

    async def call(
        self, method: str, body: Mapping[str, Any], datacenter: str, *, repeatable: bool, wait: float
    ) -> Any:
        assert wait == 0.0
        self.asked.append((method, body, datacenter, repeatable))
        raise MeshError(f"No path to datacenter {datacenter}")


def role(calls: Any, *, connect: bool) -> SecondaryRole:
    return SecondaryRole(
        lambda: None,
        calls,
        datacenter="dc2",
        primary="dc1",
        token=lambda: "copier",
        connect=connect,
        wall=lambda: 0.0,
        alive=frozenset,
        rng=random.Random(1),
    )


def asked_in_terms(*, connect: bool) -> tuple[Away, list[int]]:
    """What is asked in a term, and how often by the end of: no term yet, the term, a while after it."""
    calls, counts = Away(), []

    async def whole() -> None:
        secondary = role(calls, connect=connect)
        for epoch in (0, 3, 0):
            secondary.lead(epoch)
            await asyncio.sleep(60)
            counts.append(len(calls.asked))
        await secondary.stop()

    run(whole())
    return calls, counts


def test_the_leader_asks_the_primary_with_its_token_for_as_long_as_it_leads() -> None:
    calls, (before, during, after) = asked_in_terms(connect=True)
    assert before == 0
    assert during == after > 10
    assert {method for method, *_ in calls.asked} == {"ConfigEntry.List", "ConnectCA.Roots"}
    for _, body, datacenter, repeatable in calls.asked:
        assert (body["Datacenter"], body["Token"], datacenter, repeatable) == ("dc1", "copier", "dc1", True)


def test_without_connect_there_is_no_ca_to_follow() -> None:
    calls, _ = asked_in_terms(connect=False)
    assert {method for method, *_ in calls.asked} == {"ConfigEntry.List"}
