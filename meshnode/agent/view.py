"""The agent as the HTTP handlers read it: looks at memory, never I/O."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshnode.agent.access import Access
from meshnode.agent.pool import Pool
from meshnode.base.metrics import Metrics
from meshnode.http.answer_cache import AnswerCache
from meshnode.http.effects import ReadServer
from meshnode.http.local_view import LocalView
from meshnode.http.user_events import EventBuffer
from meshnode.http.view import AgentSelf, HttpSettings, MemberInfo

if TYPE_CHECKING:
    from meshnode.agent.server_role import ServerRole

__all__ = ["View"]


class View:
    """Implements :class:`meshnode.http.view.AgentView`; ``describe`` builds what ``agent/self`` shows."""

    def __init__(
        self,
        *,
        node_name: str,
        datacenter: str,
        lan: Pool,
        wan: Pool | None,
        server: ServerRole | None,
        local: LocalView,
        access: Access,
        events: EventBuffer,
        metrics: Metrics,
        settings: HttpSettings,
        describe: Callable[[], AgentSelf],
    ) -> None:
        self.node_name = node_name
        self.datacenter = datacenter
        self.events = events
        self.metrics = metrics
        self.settings = settings
        self._lan = lan
        self._wan = wan
        self._server = server
        self.local = local
        self._access = access
        self.answers = (
            AnswerCache(server, server.watches_of, server.may_answer) if server is not None else None
        )
        self._describe = describe
        self._clock = asyncio.get_running_loop().time

    @property
    def is_server(self) -> bool:
        """Whether this agent is a server."""
        return self._server is not None

    @property
    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock()

    def utc_text(self, monotonic: float) -> str:
        """A moment of that clock as Go prints times."""
        at = datetime.datetime.fromtimestamp(time.time() - (self.now - monotonic), datetime.UTC)
        return at.strftime("%Y-%m-%d %H:%M:%S +0000 UTC")

    def leader(self) -> str:
        """The leader's RPC address, or the empty string."""
        return self._server.owner.view().leader if self._server is not None else ""

    def peers(self) -> Sequence[str]:
        """The servers' RPC addresses."""
        return sorted(self._server.owner.view().peers) if self._server is not None else ()

    def read_now(self, query: ReadServer) -> Mapping[str, Any] | None:
        """The reply to a read that memory can answer at once."""
        if self._server is None:
            return None
        return self._server.read_now(query)

    @property
    def default_token(self) -> str:
        """The token of requests that bring none."""
        return self._access.tokens.for_requests if self._access.enabled else ""

    @property
    def acl_enabled(self) -> bool:
        """Whether tokens count."""
        return self._access.enabled

    def members(self, *, wan: bool) -> Sequence[MemberInfo]:
        """The members of a pool; a client has no WAN pool, so its list is empty."""
        pool = self._wan if wan else self._lan
        return pool.members if pool is not None else ()

    def agent_self(self) -> AgentSelf:
        """What ``/v1/agent/self`` shows."""
        return self._describe()
