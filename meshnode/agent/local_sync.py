"""The loop that keeps the catalog equal to the local state: full syncs now and then, partial ones on change."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Final

from meshnode.agent.local_changes import LocalChanges, ServerCall
from meshnode.base.errors import MeshError
from meshnode.local.state import LocalState
from meshnode.local.sync import (
    apply,
    call_of,
    compare,
    describe,
    full_sync_delay,
    is_denied,
    retry_delay,
    steps,
)
from meshnode.local.wire import parse_node_checks, parse_node_services

__all__ = ["MAX_FAILED_STEPS", "SERVER_UP_SPREAD", "CatalogSync"]

_log = logging.getLogger("meshnode.agent")
#: Steps that may fail in one sync: a definition that servers refuse must not keep the others out, and servers that
#: aren't there need not be asked for each of them.
MAX_FAILED_STEPS: Final = 3
#: A server that appears is asked within so many seconds, so that not all agents ask it at once.
SERVER_UP_SPREAD: Final = 3.0


class CatalogSync:
    """``members`` counts the LAN pool, ``token`` gives the agent's token, ``clock`` monotonic seconds."""

    def __init__(
        self,
        state: LocalState,
        changes: LocalChanges,
        call: ServerCall,
        *,
        members: Callable[[], int],
        token: Callable[[], str],
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._state = state
        self._changes = changes
        self._call = call
        self._members = members
        self._token = token
        self._clock = clock
        self._rng = rng
        self._full_due = clock()
        #: What the last attempt failed with; nothing when it went well.
        self._failed = ""

    async def run(self) -> None:
        """Sync for ever; nothing that a server does ends it."""
        while True:
            due = await self.turn()
            # Nothing was awaited since, so no change can be missed between the look and the wait.
            if self._failed or not self._state.dirty:
                await self._changes.wait(max(due - self._clock(), 0.0))

    async def turn(self) -> float:
        """Do what is due; returns the moment at which something is due again unless there is a change before."""
        now = self._clock()
        self._state.advance(now)
        if now >= self._full_due:
            await self._attempt(full=True)
        elif self._state.dirty and not self._failed:
            await self._attempt(full=False)
        held_back = self._state.next_deadline()
        return self._full_due if held_back is None else min(self._full_due, held_back)

    def servers_appeared(self) -> None:
        """There is a server again: a full sync comes soon."""
        soon = self._clock() + self._rng.random() * SERVER_UP_SPREAD
        if soon < self._full_due:
            self._full_due = soon
            self._changes.notify()

    async def _attempt(self, *, full: bool) -> None:
        try:
            if full:
                await self._compare()
            await self._send()
        except (MeshError, OSError) as error:
            self._full_due = self._clock() + retry_delay(self._rng)
            if str(error) != self._failed:
                _log.error("services and checks are not in sync with the catalog: %s", error)
            else:
                _log.debug("still not in sync with the catalog: %s", error)
            self._failed = str(error) or type(error).__name__
            return
        if self._failed:
            _log.info("services and checks are in sync with the catalog again")
        if full or self._failed:
            self._full_due = self._clock() + full_sync_delay(self._members(), self._rng)
        self._failed = ""

    async def _compare(self) -> None:
        node = self._state.node
        asked = {"Datacenter": node.datacenter, "Node": node.name, "Token": self._token()}
        known, services = parse_node_services(await self._call("Catalog.NodeServices", asked))
        checks = parse_node_checks(await self._call("Health.NodeChecks", asked))
        compare(self._state, known, services, checks)

    async def _send(self) -> None:
        failures: list[str] = []
        for step in steps(self._state):
            method, body = call_of(self._state, step, self._token())
            refusal = ""
            try:
                await self._call(method, body)
            except MeshError as error:
                refusal = str(error)
            if not apply(self._state, step, refusal):
                failures.append(f"{describe(step)}: {refusal}")
                if len(failures) == MAX_FAILED_STEPS:
                    break
            elif is_denied(refusal):
                _log.warning("%s is blocked by ACLs: %s", describe(step), refusal)
            else:
                _log.debug("in sync: %s", describe(step))
        if failures:
            raise MeshError("; ".join(failures))
