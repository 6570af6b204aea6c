from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from meshnode.agent.user_events import UserEvents
from meshnode.control.user_event import EVENT_PREFIX, UserEvent, serialize_event
from meshnode.gossip.serf.events import UserEventReceived
from meshnode.runtime.tasks import spawn


def received(
    name: str = "deploy", payload: bytes | None = None, node: str = "", ltime: int = 7
) -> UserEventReceived:
    event = UserEvent("b54fe110-7af5-cafc-d1fb-afc8ba432b1c", name, b"v1", node_filter=node)
    return UserEventReceived(
        ltime, EVENT_PREFIX + name, serialize_event(event) if payload is None else payload, False
    )


def run(scenario: Callable[[UserEvents], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(UserEvents("node1", dict))

    asyncio.run(main())


def test_an_event_for_this_node_is_kept_with_its_time() -> None:
    async def scenario(events: UserEvents) -> None:
        events.receive(received())
        kept = events.buffer.named("deploy")
        assert [(event.payload, event.ltime) for event in kept] == [(b"v1", 7)]

    run(scenario)


@pytest.mark.parametrize(
    "event",
    [
        received(node="^node2$"),
        received(payload=b"\xc1"),
        received(payload=b""),
        UserEventReceived(1, "serfs-own", b"", False),
    ],
)
def test_others_garbage_and_what_is_not_consuls_are_passed_over(event: UserEventReceived) -> None:
    async def scenario(events: UserEvents) -> None:
        events.receive(event)
        assert events.buffer.generation == 0

    run(scenario)


def test_everyone_who_waits_is_woken_and_a_wait_ends_by_itself() -> None:
    async def scenario(events: UserEvents) -> None:
        waits = [spawn(events.wait(0, 20.0), name="wait") for _ in range(3)]
        await asyncio.sleep(0)
        events.receive(received())
        async with asyncio.timeout(5):
            await asyncio.gather(*waits)
        await events.wait(0, 20.0)  # it is past that already
        await events.wait(events.buffer.generation, 0.001)

    run(scenario)
