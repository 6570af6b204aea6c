"""The node's certificates in the mesh: one leaf for each service that is asked for, kept valid, and the roots.

A leaf's key is made here. The cache starts with the first question, so a node without Connect costs nothing. While
servers are away it goes on with what it has, and never hands out a leaf whose time is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Set
from dataclasses import replace
from typing import Any, Final

from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.base.spiffe import ServiceId
from meshnode.connect.leaf import Leaf, TrustBundle, parse_leaf, parse_trust_bundle
from meshnode.connect.leaf_schedule import LeafSchedule
from meshnode.control.body import NANOSECONDS
from meshnode.control.token_bucket import TokenBucket
from meshnode.pki import connect_ca, keys
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["MAX_LEAVES", "LeafCache"]

_log = logging.getLogger("meshnode.connect")
#: Services of one node; the one that nobody has asked for longest goes.
MAX_LEAVES: Final = 1024
#: Seconds after which a leaf that nobody asks for isn't renewed any more (Consul's 72 hours).
MAX_IDLE: Final = 259_200.0
#: Leaves that this node asks for in a second, and at once.
MAX_REQUESTS: Final = (5.0, 20)
#: Seconds that one look at the roots blocks.
ROOTS_WAIT: Final = 300.0
#: Seconds between looks at the wall clock, which may jump.
MAX_SLEEP: Final = 30.0
#: Seconds that somebody who asks for something new waits for it.
FETCH_TIMEOUT: Final = 10.0
#: Seconds for which a failure is the answer to whoever asks the same again.
MIN_RETRY: Final = 1.0
#: Seconds between tries to report, at most: a token without the right to may get it later.
MAX_REPORT_RETRY: Final = 120.0
_RETRY: Final = (1.0, 15.0)

#: (method, body) -> reply of a server. Raises :class:`MeshError`.
Call = Callable[[str, Mapping[str, Any]], Awaitable[Any]]


class _Service:
    """One service's leaf and who waits for the next."""

    def __init__(self, name: str, token: str, rng: random.Random) -> None:
        self.name = name
        self.token = token
        self.schedule = LeafSchedule(rng)
        self.leaf: Leaf | None = None
        #: Index of the leaf before, when that one was revoked, or its root was dropped.
        self.last_index = 0
        self.error: MeshError | None = None
        self.asked_at = 0.0
        self.watchers = 0
        self.changed = asyncio.Event()
        self.wake = asyncio.Event()
        self.task: asyncio.Task[Any] | None = None

    def valid(self, at: float) -> Leaf | None:
        return self.leaf if self.leaf is not None and self.leaf.is_valid(at) else None

    def drop_refused(self, revoked: Set[str], dropped: Set[str], at: float) -> None:
        """A certificate that others refuse, since it is revoked or its root was dropped, is of no use: ask for another
        one now."""
        if self.leaf is None:
            return
        is_revoked = self.leaf.serial.lower() in revoked
        if is_revoked or self.leaf.root_id in dropped:
            _log.warning(
                "the certificate %s of %s is %s: asking for another one",
                *(self.leaf.serial, self.name),
                "revoked" if is_revoked else "of a root that is trusted no more",
            )
            self.last_index = max(self.last_index, self.leaf.index)
            self.leaf = None
            self.schedule.hurry(at)

    def tell(self) -> None:
        """Wake everybody who waits for a change."""
        told, self.changed = self.changed, asyncio.Event()
        told.set()


class LeafCache:
    """``wall`` is unix seconds, ``token`` the agent's own token. All of it on the event loop."""

    def __init__(
        self,
        call: Call,
        *,
        node_name: str,
        datacenter: str,
        token: Callable[[], str],
        wall: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._call = call
        self._node_name = node_name
        self._datacenter = datacenter
        self._token = token
        self._wall = wall
        self._rng = rng
        self._services: dict[str, _Service] = {}
        self._bundle: TrustBundle | None = None
        self._bundle_error: MeshError | None = None
        self._bundle_tried_at = 0.0
        self._bundle_changed = asyncio.Event()
        self._retry_roots = asyncio.Event()
        self._report = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []
        self._bucket = TokenBucket(*MAX_REQUESTS, asyncio.get_running_loop().time())

    # Reading

    async def roots(self, index: int = 0, wait: float = FETCH_TIMEOUT) -> tuple[TrustBundle, bool]:
        """The roots, once they are past ``index`` or ``wait`` seconds are over, and whether they were here already.

        Raises :class:`MeshError` when there are none and no server gives them.
        """
        self._start()
        if self._bundle is not None and self._bundle.index > index:
            return self._bundle, True
        if self._bundle is None and self._bundle_error is not None:
            if self._wall() - self._bundle_tried_at < MIN_RETRY:
                raise self._bundle_error
            self._bundle_error = None
            self._retry_roots.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait if self._bundle is not None else FETCH_TIMEOUT):
                while self._bundle is None or self._bundle.index <= index:
                    if self._bundle is None and self._bundle_error is not None:
                        raise self._bundle_error
                    await self._bundle_changed.wait()
        if self._bundle is None:
            raise MeshError("no server has told the Connect roots in time")
        return self._bundle, False

    async def leaf(
        self, service: str, token: str = "", index: int = 0, wait: float = FETCH_TIMEOUT
    ) -> tuple[Leaf, bool]:
        """A valid leaf of ``service``, past ``index`` if one comes within ``wait`` seconds, and whether it was here.

        ``token`` is used to ask the server; whether the caller may have the leaf is for the caller's side to check.
        Raises :class:`MeshError` when there is no valid leaf.
        """
        entry = self._entry(service, token)
        found = entry.valid(self._wall())
        if found is not None and found.index > index:
            return found, True
        if found is None:
            entry.error = None
            entry.schedule.hurry(self._wall())
            entry.wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait if found is not None else FETCH_TIMEOUT):
                while True:
                    await entry.changed.wait()
                    found = entry.valid(self._wall())
                    if found is not None and found.index > index:
                        return found, False
                    if found is None and entry.error is not None:
                        raise entry.error
        found = entry.valid(self._wall())
        if found is None:
            raise entry.error or MeshError(f"no server has signed a leaf for {service} in time")
        return found, False

    async def watch(self, service: str, token: str = "") -> AsyncIterator[tuple[Leaf, TrustBundle]]:
        """The leaf and the roots, now and after each change of either; ends never. Close it when done.

        Failures are not raised: the iterator waits until there is something valid.
        """
        entry, shown = self._entry(service, token), (-1, -1)
        entry.watchers += 1
        try:
            while True:
                leaf, bundle, changed = entry.valid(self._wall()), self._bundle, entry.changed
                if leaf is not None and bundle is not None and (leaf.index, bundle.index) != shown:
                    shown = leaf.index, bundle.index
                    yield leaf, bundle
                    continue
                await changed.wait()
        finally:
            entry.watchers -= 1

    def leaves(self) -> list[Leaf]:
        """The leaves that are valid now, by service."""
        now = self._wall()
        return [leaf for _, entry in sorted(self._services.items()) if (leaf := entry.valid(now)) is not None]

    @property
    def bundle(self) -> TrustBundle | None:
        """The roots, if they are known: a look at memory that asks nobody."""
        return self._bundle

    def follow(self) -> None:
        """Know the roots, and report them, from now on, although nobody here has asked for them yet."""
        self._start()

    async def stop(self) -> None:
        """Renew nothing any more. Safe to call again."""
        tasks = [entry.task for entry in self._services.values()]
        await cancel_and_wait(*self._tasks, *tasks)
        self._tasks.clear()
        self._services.clear()

    # Roots

    def _start(self) -> None:
        if not self._tasks:
            self._tasks = [
                spawn(self._follow_roots(), name="Connect roots"),
                spawn(self._keep_reporting(), name="Connect report"),
            ]

    async def _follow_roots(self) -> None:
        failures = 0
        while True:
            body: dict[str, Any] = {
                "Datacenter": self._datacenter,
                "AllowStale": True,
                "Token": self._token(),
            }
            if self._bundle is not None:
                body |= {"MinQueryIndex": self._bundle.index, "MaxQueryTime": int(ROOTS_WAIT * NANOSECONDS)}
            try:
                bundle = parse_trust_bundle(await self._call("ConnectCA.Roots", body))
            except MeshError as error:
                _log.debug("the Connect roots were not told: %s", error)
                self._bundle_error, self._bundle_tried_at = error, self._wall()
                self._tell_roots()
                failures += 1
                await self._pause_roots(min(_RETRY[1], _RETRY[0] * 2 ** min(failures, 5)))
                continue
            if bundle != self._bundle:
                self._take(bundle)
            elif failures:
                self._hurry()
            failures = 0

    async def _pause_roots(self, longest: float) -> None:
        self._retry_roots.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest * self._rng.uniform(0.5, 1)):
                await self._retry_roots.wait()

    def _take(self, bundle: TrustBundle) -> None:
        dropped = set(self._bundle.ids if self._bundle is not None else ()) - set(bundle.ids)
        self._bundle, now = bundle, self._wall()
        self._report.set()
        for entry in self._services.values():
            entry.schedule.root_changed(bundle.active_id, now)
            entry.drop_refused(bundle.revoked, dropped, now)
            entry.tell()
        self._hurry()
        self._tell_roots()

    def _hurry(self) -> None:
        """Servers answer, or another root signs: who has no valid leaf has waited long enough."""
        now = self._wall()
        for entry in self._services.values():
            if entry.valid(now) is None:
                entry.schedule.hurry(now)
            entry.wake.set()

    def _tell_roots(self) -> None:
        told, self._bundle_changed = self._bundle_changed, asyncio.Event()
        told.set()

    async def _keep_reporting(self) -> None:
        """Tell the servers what this node trusts and uses: a rotation waits for it."""
        told: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        pause, complaint = _RETRY[0], ""
        while True:
            await self._report.wait()
            self._report.clear()
            if self._bundle is None:
                continue
            uses = tuple(sorted({leaf.root_id for leaf in self.leaves()}))
            if told == (self._bundle.ids, uses):
                continue
            news = self._bundle.ids, uses
            body = {"Node": self._node_name, "Roots": list(news[0]), "LeafRoots": list(news[1])}
            try:
                await self._call("ConnectCA.Report", {**body, "Token": self._token()})
                told, pause, complaint = news, _RETRY[0], ""
            except MeshError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    _log.warning("the servers were not told which Connect roots this node trusts: %s", error)
                await asyncio.sleep(pause * self._rng.uniform(0.5, 1))
                pause = min(MAX_REPORT_RETRY, pause * 2)
                self._report.set()

    # Leaves

    def _entry(self, service: str, token: str) -> _Service:
        self._start()
        entry = self._services.get(service)
        if entry is None:
            # Names that can't be in a certificate are refused before anything is kept for them.
            ServiceId("trust", self._datacenter, service)
            self._make_room()
            entry = self._services[service] = _Service(service, token, self._rng)
            entry.task = spawn(self._keep(entry), name=f"Connect leaf of {service}")
        entry.token = token or entry.token
        entry.asked_at = self._wall()
        return entry

    def _make_room(self) -> None:
        if len(self._services) < MAX_LEAVES:
            return
        idle = [entry for entry in self._services.values() if not entry.watchers]
        if not idle:
            raise MeshError(f"this node has leaves for {MAX_LEAVES} services, which is all that it keeps")
        self._forget(min(idle, key=lambda entry: entry.asked_at))

    def _forget(self, entry: _Service) -> None:
        self._services.pop(entry.name, None)
        if entry.task is not None and entry.task is not asyncio.current_task():
            entry.task.cancel()
        self._report.set()

    async def _keep(self, entry: _Service) -> None:
        while True:
            pause = entry.schedule.due - self._wall()
            if pause > 0:
                entry.wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(pause, MAX_SLEEP)):
                        await entry.wake.wait()
                continue
            if not entry.watchers and self._wall() - entry.asked_at > MAX_IDLE:
                self._forget(entry)
                return
            try:
                await self._renew(entry)
            except MeshError as error:
                entry.error = error
                entry.schedule.failed(self._wall())
                left = entry.leaf.not_after - self._wall() if entry.leaf is not None else 0.0
                state = f"the present one is good for {left:.0f}s" if left > 0 else "there is no valid one"
                _log.warning("no new leaf for %s, %s: %s", entry.name, state, error)
            entry.tell()

    async def _renew(self, entry: _Service) -> None:
        bundle, _ = await self.roots()
        while not self._bucket.take(asyncio.get_running_loop().time()):
            await asyncio.sleep(self._rng.uniform(0.1, 0.5))
        identity = ServiceId(bundle.trust_domain, self._datacenter, entry.name)
        key = keys.generate_key()
        request = connect_ca.create_leaf_request(key, identity)
        body = {"Datacenter": self._datacenter, "CSR": request, "Token": entry.token or self._token()}
        reply = await self._call("ConnectCA.Sign", body)
        leaf = parse_leaf(reply, connect_ca.serialize_leaf_key(key), entry.name)
        _check(leaf, key, identity)
        now, last = self._wall(), entry.leaf.index if entry.leaf is not None else entry.last_index
        if not leaf.is_valid(now):
            raise MeshError(
                f"the server signed a leaf for {entry.name} that isn't valid now: is this machine's clock right?"
            )
        entry.leaf = leaf if leaf.index > last else replace(leaf, index=last + 1)
        entry.error = None
        entry.schedule.issued(leaf.root_id, now, leaf.not_after)
        if self._bundle is not None:
            # The root may have changed while the server signed.
            entry.schedule.root_changed(self._bundle.active_id, now)
        self._report.set()


def _check(leaf: Leaf, key: keys.PrivateKey, identity: ServiceId) -> None:
    """Raise :class:`RemoteProtocolError` unless the leaf is for this key and this service."""
    certificate = keys.parse_certificate(leaf.certificate_pem)
    theirs = keys.accepted_public_key(certificate.public_key())
    if keys.public_key_fingerprint(theirs) != keys.public_key_fingerprint(key.public_key()):
        raise RemoteProtocolError(
            "the server signed a leaf for another key than the one that it was asked for"
        )
    if leaf.uri != str(identity):
        raise RemoteProtocolError(f"the server signed a leaf for {leaf.uri[:200]}, and not for {identity}")
