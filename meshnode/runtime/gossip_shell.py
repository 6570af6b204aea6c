"""Runs one Serf node on asyncio: network, timers, the keyring file and the snapshot file.

The shell performs the core's effects in order and calls it from one place at a time. Requests are awaited; every
event that doesn't belong to one goes to ``on_event``.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import assert_never

from meshnode.base.address import Address, split_host_port
from meshnode.base.errors import LocalProtocolError, MeshError
from meshnode.gossip.effects import (
    CloseStream,
    Effect,
    Level,
    Log,
    Notify,
    OpenStream,
    SendPacket,
    SendStream,
    SetTimer,
    StreamId,
)
from meshnode.gossip.serf.events import (
    KeyResult,
    KeyringChanged,
    LeaveFinished,
    QueryReceived,
    SnapshotLine,
)
from meshnode.gossip.serf.keys import KeyOperation
from meshnode.gossip.serf.queries import QueryParams
from meshnode.gossip.serf.serf import Serf
from meshnode.runtime.gossip_network import GossipNetwork
from meshnode.runtime.gossip_requests import GossipRequests, JoinResult, QueryResult
from meshnode.runtime.keyring_file import save_keyring
from meshnode.runtime.snapshot_file import SnapshotFile

__all__ = ["GossipShell", "JoinResult", "QueryResult"]

_LEVELS = {
    Level.TRACE: 5,
    Level.DEBUG: logging.DEBUG,
    Level.INFO: logging.INFO,
    Level.WARN: logging.WARNING,
    Level.ERROR: logging.ERROR,
}


class GossipShell:
    """One node on the network. ``start`` first, ``stop`` last; everything else in between."""

    def __init__(
        self,
        make_serf: Callable[[Address], Serf],
        bind: Address,
        *,
        advertise: Address | None = None,
        keyring_path: Path | None = None,
        snapshot_path: Path | None = None,
        on_event: Callable[[object], None],
        logger: logging.Logger,
    ) -> None:
        """``make_serf`` gets the address to announce: ``advertise`` or ``bind``, with the port that was bound."""
        self._make_serf = make_serf
        self._bind = bind
        self._advertise = advertise
        self._keyring_path = keyring_path
        self._snapshot = SnapshotFile(snapshot_path, logger) if snapshot_path is not None else None
        self._on_event = on_event
        self._logger = logger
        self._serf: Serf | None = None
        self._network = GossipNetwork(self, logger)
        self._requests = GossipRequests()
        self._effects: deque[Effect] = deque()
        self._performing = False
        self._stopped = False
        self._timers: set[asyncio.TimerHandle] = set()
        self._left: asyncio.Event = asyncio.Event()

    @property
    def serf(self) -> Serf:
        """The core; raises :class:`LocalProtocolError` before ``start``."""
        if self._serf is None:
            raise LocalProtocolError("the gossip shell has not been started")
        return self._serf

    @property
    def address(self) -> Address:
        """The address that this node announces."""
        return self.serf.address

    # Life

    async def start(self) -> None:
        """Bind, read the snapshot and begin to gossip.

        Raises :class:`MeshError` when the port can't be had or a file can't be used; nothing is left open then.
        """
        try:
            port = await self._network.open(self._bind)
            self._serf = self._make_serf(self._announced(port))
            config = self._serf.config
            previous = None
            if self._snapshot is not None:
                if not config.writes_snapshot:
                    raise LocalProtocolError("a snapshot path needs SerfConfig.writes_snapshot")
                previous = self._snapshot.open(rejoin_after_leave=config.rejoin_after_leave)
            await self._network.serve(config.memberlist.tcp_timeout)
        except BaseException:
            await self.stop()
            raise
        self._perform(self._serf.start(self._now(), previous))

    def _announced(self, port: int) -> Address:
        if self._advertise is not None:
            return Address(self._advertise.host, self._advertise.port or port)
        if self._bind.host in ("0.0.0.0", "::"):
            raise MeshError(f"gossip listens on {self._bind}: set `advertise_addr` to what others can reach")
        return Address(self._bind.host, port)

    async def stop(self) -> None:
        """Stop at once and quietly: no goodbye (see ``leave``). Pending requests fail, nothing stays open."""
        self._stopped = True
        if self._serf is not None:
            self._serf.shutdown()
        for handle in self._timers:
            handle.cancel()
        self._timers.clear()
        await self._network.close()
        if self._snapshot is not None:
            self._snapshot.close()
        self._requests.close()
        self._left.set()

    async def leave(self, timeout: float) -> bool:
        """Leave on purpose; false when the news could not be spread within ``timeout`` seconds."""
        self._perform(self.serf.leave(self._now()))
        try:
            async with asyncio.timeout(timeout):
                await self._left.wait()
        except TimeoutError:
            return False
        return True

    # Requests

    async def join(
        self, addresses: list[str], *, ignore_old: bool = True, default_port: int = 0
    ) -> JoinResult:
        """Join through host names or addresses (``host``, ``host:port``), every address of a name being tried.

        Without a port, ``default_port`` or else our own is meant.
        """
        seeds: list[Address] = []
        errors: list[str] = []
        for text in addresses:
            try:
                seeds += [seed for seed in await self._resolve(text, default_port) if seed not in seeds]
            except MeshError as error:
                errors.append(str(error))
        if not seeds:
            return JoinResult(0, tuple(errors))
        result: JoinResult = await self._requests.run(
            lambda request: self._perform(self.serf.join(request, seeds, ignore_old, self._now()))
        )
        return JoinResult(result.joined, (*errors, *result.errors))

    async def _resolve(self, text: str, default_port: int) -> list[Address]:
        host, port = split_host_port(text)
        port = port or default_port or self.address.port
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise MeshError(f"join {text!r}: {host!r} can't be resolved: {reason}") from None
        return list(dict.fromkeys(Address(str(item[4][0]), port) for item in found))

    async def key_operation(
        self, operation: KeyOperation | str, key: bytes | None = None, relay_factor: int = 0
    ) -> KeyResult:
        """Change or list the keys of the whole pool; see :class:`KeyResult` for who failed and why."""
        result: KeyResult = await self._requests.run(
            lambda request: self._perform(
                self.serf.key_operation(request, operation, key, relay_factor, self._now())
            )
        )
        return result

    async def query(self, name: str, payload: bytes = b"", params: QueryParams | None = None) -> QueryResult:
        """Ask the pool and return what came back until the query's timeout."""
        asked = params or QueryParams()
        result: QueryResult = await self._requests.run(
            lambda request: self._perform(self.serf.query(request, name, payload, asked, self._now()))
        )
        return result

    def respond(self, query: QueryReceived, payload: bytes) -> None:
        """Answer a query that came through ``on_event``."""
        self._perform(self.serf.respond(query, payload, self._now()))

    def user_event(self, name: str, payload: bytes = b"", *, coalesce: bool = True) -> None:
        """Send an event to the pool."""
        self._perform(self.serf.user_event(name, payload, coalesce, self._now()))

    def force_leave(self, name: str, *, prune: bool = False) -> None:
        """Make a failed member count as left; ``prune`` erases it too."""
        self._perform(self.serf.force_leave(name, prune, self._now()))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Announce other tags."""
        self._perform(self.serf.set_tags(tags, self._now()))

    def set_verification(self, incoming: bool, outgoing: bool) -> None:
        """Whether to refuse unsealed gossip, and whether to seal our own."""
        self.serf.set_verification(incoming, outgoing)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # Effects

    def _perform(self, effects: list[Effect]) -> None:
        """Perform effects in order. Handling one may cause more: those wait for their turn."""
        self._effects.extend(effects)
        if self._performing:
            return
        self._performing = True
        try:
            while self._effects and not self._stopped:
                self._perform_one(self._effects.popleft())
        finally:
            self._performing = False

    def _perform_one(self, effect: Effect) -> None:
        match effect:
            case SendPacket(to, data):
                self._network.send_packet(to, data)
            case SetTimer(delay, timer):
                self._arm(delay, timer)
            case OpenStream(stream, to, timeout):
                self._network.dial(stream, to, timeout)
            case SendStream(stream, data):
                self._network.write(stream, data)
            case CloseStream(stream):
                self._network.close_stream(stream)
            case Notify(event):
                self._notify(event)
            case Log(level, message):
                self._logger.log(_LEVELS[level], "%s", message)
            case _:
                assert_never(effect)

    def _arm(self, delay: float, timer: object) -> None:
        def fire() -> None:
            self._timers.discard(handle)
            self._perform(self.serf.handle_timer(timer, self._now()))

        handle = asyncio.get_running_loop().call_later(delay, fire)
        self._timers.add(handle)

    def _notify(self, event: object) -> None:
        if isinstance(event, SnapshotLine):
            if self._snapshot is not None:
                self._snapshot.append(event.line, self.serf.snapshot, self._now())
            return
        if self._requests.settle(event):
            return
        if isinstance(event, KeyringChanged):
            error = self._save_keyring(event.keys)
            self._perform(self.serf.keyring_saved(event.change, error, self._now()))
        elif isinstance(event, LeaveFinished):
            self._left.set()
        try:
            self._on_event(event)
        except Exception:
            self._logger.exception("the handler of %s failed", type(event).__name__)

    def _save_keyring(self, keys: tuple[bytes, ...]) -> str:
        if self._keyring_path is None:
            return ""
        try:
            save_keyring(self._keyring_path, keys)
        except MeshError as error:
            self._logger.error("%s", error)
            return str(error)
        return ""

    # What the network reports

    def packet_received(self, data: bytes, source: Address) -> None:
        """Pass a datagram to the core."""
        self._perform(self.serf.handle_packet(data, source, self._now()))

    def stream_accepted(self, stream: StreamId, peer: Address) -> None:
        """Pass a new stream to the core."""
        self._perform(self.serf.handle_stream_accepted(stream, peer, self._now()))

    def stream_opened(self, stream: StreamId) -> None:
        """Tell the core that its dial succeeded."""
        self._perform(self.serf.handle_stream_opened(stream, self._now()))

    def stream_received(self, stream: StreamId, data: bytes) -> None:
        """Pass bytes to the core."""
        self._perform(self.serf.handle_stream_data(stream, data, self._now()))

    def stream_closed(self, stream: StreamId, error: str | None) -> None:
        """Tell the core that a stream is over."""
        self._perform(self.serf.handle_stream_closed(stream, error, self._now()))
