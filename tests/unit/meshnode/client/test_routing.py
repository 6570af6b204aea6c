from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from meshnode.client.answer import ApiError
from meshnode.client.routing import Routing, unsupported
from meshnode.config_entries.chain import compile_chain
from meshnode.config_entries.chain_fields import chain_fields
from meshnode.config_entries.model import ConfigEntry
from tests.support.asynchronous import asynchronous
from tests.support.config_entries import http, table
from tests.support.waiting import until

RESOLVER = 'kind = "service-resolver"\nname = "web"\n'
V1 = 'subsets = { v1 = { filter = "Service.Meta.version == v1" } }\n'


def answer(*entries: ConfigEntry | str) -> Any:
    return {"Chain": chain_fields(compile_chain(table(*entries), "web", "dc1"))}


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([], ""),
        ([RESOLVER + 'connect_timeout = "3s"'], ""),
        ([RESOLVER + V1], ""),
        (
            [RESOLVER + V1 + 'default_subset = "v1"'],
            "web: service-resolver/web leads to the subset v1, which",
        ),
        ([RESOLVER + 'redirect { service = "shop" }'], "web: service-resolver/web leads to shop, which"),
        (
            [RESOLVER + 'failover = { "*" = { service = "shop" } }'],
            "web: service-resolver/web names places to go on",
        ),
        (
            [RESOLVER + 'load_balancer { policy = "maglev" }'],
            "web: service-resolver/web chooses instances by maglev",
        ),
        ([RESOLVER + 'load_balancer { policy = "random" }'], ""),
        (
            [
                *http("web", "shop"),
                'kind = "service-splitter"\nname = "web"\nsplits = [{ weight = 100, service = "shop" }]',
            ],
            "web: service-splitter/web tells requests apart, which",
        ),
        (
            [
                *http("web", "shop"),
                'kind = "service-router"\nname = "web"\nroutes = [{ destination { service = "shop" } }]',
            ],
            "web: service-router/web tells requests apart, which",
        ),
    ],
)
def test_the_entry_that_only_envoy_can_follow_is_named(entries: list[ConfigEntry | str], reason: str) -> None:
    found = unsupported(answer(*entries), "web")
    assert found.startswith(reason)
    assert bool(found) == bool(reason)
    assert not reason or "run Envoy as the sidecar (consul connect envoy)" in found


@pytest.mark.parametrize("body", [None, [], {}, {"Chain": None}, {"Chain": {"StartNode": "x", "Nodes": []}}])
def test_an_answer_that_is_no_chain_holds_nobody_up(body: Any) -> None:
    assert unsupported(body, "web") == ""


class Client:
    """An agent that answers one question, and whose later answers the test gives."""

    def __init__(self, first: Any) -> None:
        self.first = first
        self.asked: list[Any] = []
        self.later: asyncio.Queue[Any] = asyncio.Queue()

    async def get_json(self, path: str, query: dict[str, str]) -> Any:
        self.asked.append((path, query))
        if isinstance(self.first, Exception):
            raise self.first
        return self.first

    async def watch(self, path: str, query: dict[str, str]) -> AsyncGenerator[Any, None]:
        while True:
            yield await self.later.get()


REDIRECT = RESOLVER + 'redirect { service = "shop" }'


@asynchronous
async def test_a_destination_is_asked_about_once_and_followed_from_then_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Client(answer())
    routing = Routing(cast(Any, client))
    assert await routing.fault("web", "dc2") == ""
    assert client.asked == [("/v1/discovery-chain/web", {"compile-dc": "dc2"})]
    client.later.put_nowait(answer(REDIRECT))
    await until(lambda: routing.fault("web", "dc2"), "the entry is heard of", interval=0.001)
    assert "service-resolver/web leads to shop" in caplog.text
    client.later.put_nowait(answer())

    async def plain() -> bool:
        return not await routing.fault("web", "dc2")

    await until(plain, "it is gone", interval=0.001)
    assert len(client.asked) == 1
    await routing.close()


@asynchronous
async def test_who_may_not_read_the_chain_is_not_held_up() -> None:
    routing = Routing(cast(Any, Client(ApiError(403, "Permission denied"))))
    assert await routing.fault("web", "") == ""
    routing.forget("web", "")
    await routing.close()
