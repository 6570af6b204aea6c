"""User events at this agent: those that concern it are kept, and whoever waits for one is woken."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping

from meshnode.base.errors import RemoteProtocolError
from meshnode.control.user_event import EVENT_PREFIX, REMOTE_EXEC_EVENT, parse_event
from meshnode.gossip.serf.events import UserEventReceived
from meshnode.http.user_events import EventBuffer, concerns

__all__ = ["UserEvents"]

_log = logging.getLogger("meshnode.agent")


class UserEvents:
    """``services`` gives this agent's services and their tags, for the filters of an event."""

    def __init__(self, node_name: str, services: Callable[[], Mapping[str, Iterable[str]]]) -> None:
        self.buffer = EventBuffer()
        self._node_name = node_name
        self._services = services
        self._arrived = asyncio.Event()
        #: Called with the payload of an invitation to run a job; ``None``: they are passed over.
        self.on_remote_exec: Callable[[bytes], None] | None = None

    def receive(self, received: UserEventReceived) -> None:
        """Take in an event from the LAN pool, unless it is not Consul's or not meant for this node."""
        if not received.name.startswith(EVENT_PREFIX):
            return
        try:
            event = parse_event(received.payload, received.ltime)
        except RemoteProtocolError as error:
            _log.warning("user event %s dropped: %s", received.name, error)
            return
        if not concerns(event, self._node_name, self._services()):
            return
        _log.debug("new event: %s (%s)", event.name, event.event_id)
        self.buffer.append(event)
        if event.name == REMOTE_EXEC_EVENT and self.on_remote_exec is not None:
            self.on_remote_exec(event.payload)
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()

    async def wait(self, generation: int, timeout: float) -> None:
        """Return when the buffer is past ``generation``, or after ``timeout`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.buffer.generation == generation:
                    await self._arrived.wait()
