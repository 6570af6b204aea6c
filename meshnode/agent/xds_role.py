"""The agent's side of Envoy: the xDS port, one feed for each proxy that is connected, and how far each Envoy is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from meshnode.agent import on_demand
from meshnode.agent.config.model import AgentConfig
from meshnode.agent.watches import Questions
from meshnode.agent.xds_sources import Sources
from meshnode.base.errors import MeshError
from meshnode.runtime.tls import TlsContexts
from meshnode.runtime.xds_server import XdsListener, XdsServer

if TYPE_CHECKING:
    from meshnode.agent.xds_feed import ProxyFeed
    from meshnode.xds.compile import Snapshot
    from meshnode.xds.session import Session

__all__ = ["XdsRole"]

_log: Final = logging.getLogger("meshnode.xds")
#: Seconds after which an Envoy listens that has applied everything for it: its workers have to be told.
LISTENING_AFTER: Final = 0.25


class XdsRole:
    """``on_listening`` is told the id of a proxy whose Envoy has applied its listeners."""

    def __init__(self, questions: Questions, tls: TlsContexts, on_listening: Callable[[str], None]) -> None:
        self._tls = tls
        self._on_listening = on_listening
        self._sources = Sources(questions)
        self._feeds: dict[tuple[str, str], ProxyFeed] = {}
        self._streams: list[_Stream] = []
        self._clock = asyncio.get_running_loop().time
        self._server = XdsServer(self, self._clock)

    def start(self, config: AgentConfig) -> None:
        """Listen where ``config`` says. Raises :class:`MeshError`; in ``-dev``, where nobody asked for it, warns."""
        listeners = [
            XdsListener(address, "ports.grpc_tls", self._context)
            if tls
            else XdsListener(address, "ports.grpc")
            for address, tls in config.grpc_listeners
        ]
        try:
            self._server.listen(*listeners)
        except MeshError as error:
            if not config.dev:
                raise
            _log.warning("Envoy is not served: %s", error)

    async def stop(self) -> None:
        """End every stream. Safe to call again."""
        await self._server.stop()
        for stream in [*self._streams]:
            stream.close()

    def open(self, proxy_id: str, token: str, session: Session, changed: Callable[[], None]) -> _Stream:
        """See :class:`meshnode.runtime.xds_server.Feeds`."""
        key = proxy_id.lower(), token
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = on_demand.xds_feed.ProxyFeed(self._sources, proxy_id, token)
        feed.listeners.add(changed)
        stream = _Stream(self, feed, session, changed)
        self._streams.append(stream)
        return stream

    def closed(self, stream: _Stream) -> None:
        """The stream has ended; what nobody follows any more is forgotten."""
        if stream not in self._streams:
            return
        self._streams.remove(stream)
        feed = stream.feed
        feed.listeners.discard(stream.changed)
        if not feed.listeners:
            feed.close()
            self._feeds = {key: one for key, one in self._feeds.items() if one is not feed}

    def listening(self, proxy_id: str) -> None:
        """Its checks have found nobody until now, and others wait for them."""
        self._on_listening(proxy_id)

    def status(self) -> list[dict[str, Any]]:
        """The Envoys that are connected, as the API shows them."""
        now = self._clock()
        rows = [stream.row(now) for stream in self._streams]
        return sorted(rows, key=lambda row: str(row["ProxyID"]))

    def _context(self) -> Any:
        profile = self._tls.incoming_https()
        if profile is None:
            raise MeshError("ports.grpc_tls needs cert_file and key_file")
        return profile.context


class _Stream:
    """One Envoy's stream on a feed that it may share."""

    def __init__(self, role: XdsRole, feed: ProxyFeed, session: Session, changed: Callable[[], None]) -> None:
        self._role = role
        self._told: asyncio.TimerHandle | None = None
        self.feed = feed
        self.session = session
        self.changed = changed

    @property
    def snapshot(self) -> Snapshot | None:
        """The latest one."""
        return self.feed.snapshot

    @property
    def refusal(self) -> MeshError | None:
        """Why there is none."""
        return self.feed.refusal

    def applied(self) -> None:
        """Envoy listens."""
        if self._told is None:
            loop = asyncio.get_running_loop()
            self._told = loop.call_later(LISTENING_AFTER, self._role.listening, self.feed.proxy_id)

    def close(self) -> None:
        """The stream has ended. Safe to call again."""
        if self._told is not None:
            self._told.cancel()
        self._role.closed(self)

    def row(self, now: float) -> dict[str, Any]:
        """As the API shows it; ``Lag`` is in seconds, of the type that is furthest behind."""
        types = [
            {
                "Type": each.type,
                "Resources": each.resources,
                "Version": each.version,
                "Applied": each.applied,
                "Lag": round(each.lag, 6),
                "Nack": each.nack,
                "NackVersion": each.nack_version,
            }
            for each in self.session.status(now)
        ]
        return {
            "ProxyID": self.feed.proxy_id,
            "Service": self.feed.service,
            "Protocol": "delta" if self.session.delta else "state of the world",
            "Problem": self.feed.problem,
            "Types": types,
        }
