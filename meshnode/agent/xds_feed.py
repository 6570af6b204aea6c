"""One proxy as Envoy is told of it: what it needs to know is followed, and made into a snapshot at each change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from meshnode.agent.xds_gateways import ingress_state, terminating_state
from meshnode.agent.xds_round import RefusedError, Round
from meshnode.agent.xds_sidecar import sidecar_state
from meshnode.agent.xds_sources import Question, Source, Sources
from meshnode.base.errors import ConfigError, MeshError
from meshnode.catalog.model import INGRESS_GATEWAY, TERMINATING_GATEWAY
from meshnode.proxy.definition import KIND
from meshnode.xds.compile import Snapshot, compile_snapshot
from meshnode.xds.state import State

__all__ = ["ProxyFeed"]

_log: Final = logging.getLogger("meshnode.xds")
_NOBODY: Final[Mapping[str, Any]] = {}
_Reader: TypeAlias = Callable[[Round, str, Mapping[str, Any]], State | None]
#: By the kind of a registration.
_READERS: Final[Mapping[str, _Reader]] = {
    KIND: sidecar_state,
    INGRESS_GATEWAY: ingress_state,
    TERMINATING_GATEWAY: terminating_state,
}


class ProxyFeed:
    """``changed`` is called when :attr:`snapshot` or :attr:`refusal` is another. Shared by the streams of one proxy."""

    def __init__(self, sources: Sources, proxy_id: str, token: str) -> None:
        self._sources = sources
        self._token = token
        self.proxy_id = proxy_id
        self.listeners: set[Callable[[], None]] = set()
        self.snapshot: Snapshot | None = None
        self.refusal: MeshError | None = None
        self.service = ""
        #: Why the latest state couldn't be made into a snapshot; the one before stays.
        self.problem = ""
        self._held: dict[Question, Source] = {}
        self.kind = ""
        self._last: State | None = None
        self._scheduled: asyncio.Handle | None = None
        self._own = self._hold(f"/v1/agent/service/{quote(proxy_id, safe='')}")

    def close(self) -> None:
        """Follow nothing any more."""
        for question in self._held:
            self._sources.release(question, self._wake)
        self._held.clear()
        if self._scheduled is not None:
            self._scheduled.cancel()

    # Following

    def _hold(self, path: str, query: tuple[tuple[str, str], ...] = (), *, blocks: bool = True) -> Source:
        question = Question(path, query, self._token, blocks)
        found = self._held.get(question)
        if found is None:
            found = self._held[question] = self._sources.hold(question, self._wake)
        return found

    def _wake(self) -> None:
        """All changes of one turn of the loop make one snapshot."""
        if self._scheduled is None:
            self._scheduled = asyncio.get_running_loop().call_soon(self._again)

    def _again(self) -> None:
        self._scheduled = None
        before = self.snapshot, self.refusal
        try:
            state = self._state()
            if state is not None and state != self._last:
                self.snapshot, self._last = compile_snapshot(state), state
            self.problem = ""
        except RefusedError as error:
            self.refusal = error
        except MeshError as error:
            if str(error) != self.problem:
                self.problem = str(error)
                _log.error("%s: Envoy keeps what it has: %s", self.proxy_id, error)
        if (self.snapshot, self.refusal) != before:
            for each in [*self.listeners]:
                each()

    def _state(self) -> State | None:
        """Everything at this moment; ``None`` while something was never told."""
        round_ = Round(self._hold)
        body = self._registration(round_)
        if body is None:
            return None
        state = _READERS[self.kind](round_, self.proxy_id, body)
        if round_.complete:
            self._let_go(round_.asked)
        return state

    def _registration(self, round_: Round) -> Mapping[str, Any] | None:
        body = round_.get(self._own.question.path, instead={404: _NOBODY})
        if body is _NOBODY:
            raise RefusedError(
                f"this agent has no proxy {self.proxy_id}: register it, or connect to the agent that has it"
            )
        if not isinstance(body, Mapping):
            return None
        self.kind = str(body.get("Kind") or "")
        if self.kind not in _READERS:
            raise ConfigError(
                f"{self.proxy_id} is no proxy: its kind is {self.kind!r:.60}, not one of {', '.join(_READERS)}"
            )
        proxy = body.get("Proxy")
        named = proxy.get("DestinationServiceName") if isinstance(proxy, Mapping) else ""
        self.service = str((named if self.kind == KIND else body.get("Service")) or "")
        return body

    def _let_go(self, needed: set[Question]) -> None:
        for question in [each for each in self._held if each not in needed]:
            del self._held[question]
            self._sources.release(question, self._wake)
