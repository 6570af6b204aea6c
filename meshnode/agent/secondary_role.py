"""What the leader of a secondary datacenter does beside: it follows the primary, which rules for all of them."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any

from meshnode.agent.connect_secondary import SecondaryCa
from meshnode.agent.primary_copy import PrimaryCopy
from meshnode.agent.primary_follow import follow
from meshnode.agent.server_calls import ServerCalls
from meshnode.agent.term import Term
from meshnode.control.body import block_time
from meshnode.control.watch import WatchKey
from meshnode.runtime.cluster_state import ClusterState

__all__ = ["SecondaryRole"]


class SecondaryRole:
    """``token`` is the one for the primary, ``acl.tokens.replication``; without ``connect`` there is no CA to follow.

    ``alive`` gives the names of nodes that are up, in lower case; ``wall`` is unix seconds.
    """

    def __init__(
        self,
        state: Callable[[], ClusterState | None],
        calls: ServerCalls,
        *,
        datacenter: str,
        primary: str,
        token: Callable[[], str],
        connect: bool,
        wall: Callable[[], float],
        alive: Callable[[], Collection[str]],
        rng: random.Random,
    ) -> None:
        self._calls = calls
        self._primary = primary
        self._token = token
        self._rng = rng
        self._copy = PrimaryCopy(state, self._ask)
        ca = SecondaryCa(state, self._ask, datacenter=datacenter, wall=wall, alive=alive)
        self._ca = ca if connect else None
        self._term = Term(self._duties)

    def lead(self, epoch: int) -> None:
        """Begin a term, or end it with 0."""
        self._term.lead(epoch)

    async def stop(self) -> None:
        """End the term and wait for it."""
        await self._term.stop()

    def applied(self, touched: frozenset[WatchKey]) -> None:
        """Entries were applied."""
        if self._ca is not None:
            self._ca.applied(touched)

    def _duties(self, epoch: int) -> Mapping[str, Coroutine[Any, Any, None]]:
        steps: dict[str, Callable[[int], Awaitable[int]]] = {
            "intentions and config entries": partial(self._copy.step, epoch=epoch)
        }
        if self._ca is not None:
            steps["Connect CA"] = partial(self._ca.step, epoch=epoch)
            steps["report of Connect roots"] = self._ca.report
        return {name: follow(name, step, self._rng) for name, step in steps.items()}

    async def _ask(self, method: str, body: Mapping[str, Any]) -> Any:
        fields = {**body, "Datacenter": self._primary, "Token": self._token()}
        # A second intermediate or report does no harm.
        return await self._calls.call(method, fields, self._primary, repeatable=True, wait=block_time(body))
