"""From the application to the mesh: choose an instance, connect, handshake, check its identity; then the bytes flow.

An instance that refuses, hangs or is somebody else is set aside and the next is tried: nothing of the application's has
been read by then, so nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import random
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, cast

from meshnode.proxy.authorize import Refusal
from meshnode.proxy.balance import Balancer, Instance
from meshnode.proxy.config import Endpoint, Upstream
from meshnode.proxy.decision_cache import Decision
from meshnode.runtime.proxy.contexts import Contexts
from meshnode.runtime.proxy.dial import Dial
from meshnode.runtime.proxy.flow import TlsEnd, reset
from meshnode.runtime.proxy.host import ProxyHost, guarded, handshake_failure
from meshnode.runtime.proxy.inbound import MAX_HANDSHAKE_BYTES
from meshnode.runtime.proxy.reactor import FAULT, READ
from meshnode.runtime.tasks import spawn

__all__ = ["INSTANCES_AGE", "Destination", "Outbound"]

#: Seconds that a list of instances is used before it is asked for again.
INSTANCES_AGE: Final = 1.0
_TRUSTED: Final = Decision(True, "the instance proved to be who discovery said")


class Destination:
    """Where an upstream leads: its instances as last heard of, and memory of those that failed."""

    def __init__(self, host: ProxyHost, settings: Upstream, rng: random.Random) -> None:
        self.settings = settings
        self.balancer = Balancer(rng)
        self._host = host
        self._instances: Sequence[Instance] = ()
        self._asked_at: float | None = None
        self._asking: asyncio.Task[str] | None = None

    def forget_instances(self) -> None:
        """The settings changed: ask again."""
        self._asked_at = None

    def known(self) -> list[Instance] | None:
        """The instances to try, or ``None``: ask first."""
        now = self._host.clock()
        if self._asked_at is None or now - self._asked_at >= INSTANCES_AGE:
            return None
        return self.balancer.order(self._instances, now)

    async def ask(self) -> tuple[list[Instance], str]:
        """Ask discovery, once for all who wait; the instances to try, and why there is none."""
        if self._asking is None or self._asking.done():
            self._asking = spawn(self._refresh(), name=f"proxy discovery of {self.settings.name}")
        failure = await asyncio.shield(self._asking)
        instances = self.balancer.order(self._instances, self._host.clock())
        if instances:
            return instances, ""
        total = len(self._instances)
        return [], failure or (f"none of its {total} instances is passing" if total else "it has no instance")

    async def _refresh(self) -> str:
        try:
            found = await self._host.discovery.instances(self.settings)
            self._instances = [item for instance in found for item in await _resolved(instance)]
        except Exception as error:  # noqa: BLE001  the last list is used for as long as nobody answers
            return f"its instances can't be found out: {str(error) or type(error).__name__}"
        self._asked_at = self._host.clock()
        return ""


@functools.lru_cache(maxsize=1024)
def _endpoint(address: str, port: int) -> Endpoint:
    """Checked once, not for each connection."""
    return Endpoint(address, port)


async def _resolved(instance: Instance) -> list[Instance]:
    """An instance registered under a name is one for each of its addresses."""
    try:
        ipaddress.ip_address(instance.address)
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(
            instance.address, instance.port, type=socket.SOCK_STREAM
        )
        return [replace(instance, address=str(address[0])) for *_, address in found[:4]]
    return [instance]


class Outbound:
    """A client of an upstream's listener until its bytes flow."""

    __slots__ = (
        "_app",
        "_contexts",
        "_dial",
        "_end",
        "_establish",
        "_failures",
        "_host",
        "_instance",
        "_left",
        "_offered",
        "_on_left",
        "_peer",
        "_received",
        "_to",
    )

    def __init__(
        self,
        host: ProxyHost,
        destination: Destination,
        app: socket.socket,
        peer: str,
        on_left: Callable[[Outbound], None],
        establish: Callable[[], Callable[[], None]],
    ) -> None:
        self._establish = establish
        self._host = host
        #: Those of the handshake under way: a certificate may be replaced before its end, and sessions belong to them.
        self._contexts: Contexts = host.contexts
        self._to = destination
        self._app: socket.socket | None = app
        self._peer = peer
        self._on_left = on_left
        self._left: list[Instance] = []
        self._instance: Instance | None = None
        self._end: TlsEnd | None = None
        self._dial: Dial | None = None
        self._received = 0
        self._offered = False
        self._failures: list[str] = []

    def start(self) -> None:
        """Choose an instance, asking for the list first when it is old."""
        known = self._to.known()
        if known:
            self._left = known
            self._next()
        else:
            spawn(guarded(self, self._ask()), name=f"proxy instances of {self._to.settings.name}")

    async def _ask(self) -> None:
        self._left, failure = await self._to.ask()
        if not self._left:
            self.drop("no_instance", failure)
        elif self._app is not None:
            self._next()

    def drop(self, kind: str, reason: str) -> None:
        """Close with a reset and say why; an empty ``kind`` says nothing."""
        app, self._app = self._app, None
        if app is None:
            return
        self._give_up_instance()
        reset(app)
        if kind:
            own = self._host.contexts.identity.uri
            self._host.refuse(self._to.settings.name, self._peer, kind, reason, source=own)
        self._on_left(self)

    def fault(self) -> None:
        """Close it."""
        self.drop("error", FAULT)

    def _give_up_instance(self) -> None:
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._end is not None:
            self._host.deadlines.remove(self, self._to.settings.connect_timeout)
            self._host.reactor.forget(self._end.sock)
            self._end.sock.close()
            self._end = None

    def _next(self) -> None:
        """Try the next instance."""
        if not self._left:
            self.drop("upstream", "; ".join(self._failures))
            return
        instance = self._instance = self._left.pop(0)
        host = self._host
        self._dial = Dial(
            host.reactor,
            host.deadlines,
            _endpoint(instance.address, instance.port),
            timeout=self._to.settings.connect_timeout,
            now=host.clock(),
            on_done=self._connected,
        )
        self._dial.start()

    def _failed(self, reason: str) -> None:
        instance = cast(Instance, self._instance)
        self._give_up_instance()
        self._to.balancer.failed(instance, self._host.clock())
        self._host.counters["upstream.failed_attempts"] += 1
        self._failures.append(reason)
        self._next()

    def time_out(self) -> None:
        """The handshake took too long."""
        self._failed(f"{self._where()}: no finished handshake within {self._to.settings.connect_timeout:g} s")

    def _where(self) -> str:
        instance = cast(Instance, self._instance)
        return f"{instance.address}:{instance.port}"

    def _session_key(self) -> tuple[str, str, int]:
        instance = cast(Instance, self._instance)
        return instance.spiffe_id, instance.address, instance.port

    def _connected(self, sock: socket.socket | None, reason: str) -> None:
        self._dial = None
        if sock is None:
            self._failed(reason)
            return
        contexts, now = self._host.contexts, self._host.clock()
        self._contexts = contexts
        session = contexts.sessions.get(self._session_key(), now)
        self._received = 0
        self._offered = session is not None
        try:
            self._end = TlsEnd(sock, contexts.client, server=False, session=session)
        except BaseException:
            sock.close()
            raise
        self._host.deadlines.add(self, self._to.settings.connect_timeout, now)
        self._host.reactor.watch(sock, READ, self._ready)
        try:
            self._end.shake()
        except (ssl.SSLError, OSError) as error:
            self._failed(f"{self._where()}: {handshake_failure(error)}")

    def _ready(self, events: int) -> None:
        end = self._end
        if end is None:
            return
        try:
            count = end.receive()
            self._received += count
            if not count or self._received > MAX_HANDSHAKE_BYTES:
                what = "too long a handshake" if count else "it closed the connection during the handshake"
                self._failed(f"{self._where()}: {what}")
                return
            if not end.shake():
                return
        except BlockingIOError:
            return
        except (ssl.SSLError, OSError) as error:
            self._contexts.sessions.drop(self._session_key())
            self._failed(f"{self._where()}: {handshake_failure(error)}")
            return
        self._shaken(end)

    def _shaken(self, end: TlsEnd) -> None:
        host, instance = self._host, cast(Instance, self._instance)
        host.deadlines.remove(self, self._to.settings.connect_timeout)
        identity = host.identify(end, uris=frozenset({instance.spiffe_id}), datacenters=frozenset())
        if isinstance(identity, Refusal):
            self._contexts.sessions.drop(self._session_key())
            self._failed(f"{self._where()}: {identity.because}")
            return
        self._to.balancer.succeeded(instance)
        sessions, key, now = self._contexts.sessions, self._session_key(), host.clock()
        if self._offered:
            sessions.offered(key, reused=bool(end.tls.session_reused))
        host.counters["upstream.resumed" if end.tls.session_reused else "upstream.full_handshakes"] += 1
        # The ticket of TLS 1.3 comes with the first bytes; kept only by the contexts that it belongs to.
        wanted = not end.tls.session_reused or sessions.wants(key, now)
        keep = (lambda: sessions.put(key, end.tls.session, now)) if wanted else None
        app, self._app = cast(socket.socket, self._app), None
        self._end = None
        self._on_left(self)
        host.begin(
            "outbound",
            end,
            app,
            listener=self._to.settings.name,
            peer=self._where(),
            identity=identity,
            decision=_TRUSTED,
            on_end=self._establish(),
            on_first_read=keep,
        )
