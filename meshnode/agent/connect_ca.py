"""What the leader does for Connect: makes the first root, signs leaves, and takes the cluster from root to root.

The methods ``ConnectCA.Sign``, ``ConfigurationSet`` and ``RotationSet`` are here; those that only look at the state are
in ``control/endpoints/connect_ca``. Every change of the CA is worked out from the state at one index and written under
the condition that it is still the one: two who change it at once can't both win.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

from meshnode.acl.authorizer import Access, Resource, require
from meshnode.agent.connect_signer import Signers, is_other_root, is_same_root, with_key, with_token
from meshnode.agent.state_gateway import LeaderMethod
from meshnode.agent.term import Term
from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.spiffe import ServiceId
from meshnode.catalog.model import CRITICAL
from meshnode.connect import rotation
from meshnode.connect.model import EMPTY, CaConfig, CaState, time_text
from meshnode.connect.provider import NewRoot
from meshnode.connect.settings import CaSettings, parse_ca_settings
from meshnode.connect.store import CONNECT_CONFIG, CONNECT_ROOTS, CONNECT_TRUST, ConnectStore
from meshnode.connect.validity import complaint
from meshnode.control.body import Body, boolean, mapping, text
from meshnode.control.command import ConnectCaSet
from meshnode.control.endpoints.connect_ca import NOT_ENABLED, config_of
from meshnode.control.log import LogError
from meshnode.control.primary import NOT_PRIMARY
from meshnode.control.token_bucket import TokenBucket
from meshnode.control.watch import EVERYTHING, WatchKey, check_state
from meshnode.pki import connect_ca
from meshnode.rpc.method import RpcError
from meshnode.runtime.cluster_state import ClusterState

__all__ = ["ConnectCa"]

_log = logging.getLogger("meshnode.connect")
#: Leaves signed in a second, and at once (Consul's csr_max_per_second, of 1.4.1).
MAX_SIGNED_PER_SECOND: Final = 50
#: Seconds between looks at the rotation and the root's end when nothing else wakes us.
INTERVAL: Final = 30.0
RETRY_INTERVAL: Final = 1.0
#: At least: the wall clock and the loop's don't go at quite the same pace.
MIN_INTERVAL: Final = 0.05
#: Seconds that a change of the root waits for the switch.
SWITCH_WAIT: Final = 3.0
#: Tries to write a change that another one overtook.
MAX_TRIES: Final = 3
_Change: TypeAlias = Callable[[CaState], Awaitable[tuple[CaState, tuple[str, ...]]]]
_CRITICAL: Final = check_state(CRITICAL)
_WAKES: Final = frozenset({CONNECT_ROOTS, CONNECT_CONFIG, CONNECT_TRUST, EVERYTHING})


class ConnectCa:
    """``settings`` are those of the configuration, for the first root only; ``None``: Connect is off.

    ``alive`` gives the names of nodes that are up, in lower case, and of datacenters (``datacenter_node``). ``wall`` is
    unix seconds, ``entropy`` a cryptographic generator, ``new_id`` a fresh UUID. In a ``secondary`` datacenter it signs
    leaves only: what with comes from the primary, see ``agent/connect_secondary``.
    """

    def __init__(
        self,
        state: Callable[[], ClusterState | None],
        settings: CaSettings | None,
        *,
        datacenter: str,
        alive: Callable[[], Collection[str]],
        wall: Callable[[], float],
        entropy: Callable[[int], bytes],
        new_id: Callable[[], str],
        secondary: bool = False,
    ) -> None:
        self._state = state
        self._settings = settings
        self._secondary = secondary
        self._datacenter = datacenter
        self._alive = alive
        self._wall = wall
        self._entropy = entropy
        self._new_id = new_id
        self._signers = Signers(wall, entropy)
        self._term = Term(self._duties)
        self._cluster_id = ""
        self._wake = asyncio.Event()
        self._told = ""
        self._complaint = ""
        self._bucket: TokenBucket | None = None

    @property
    def methods(self) -> dict[str, LeaderMethod]:
        """The methods by their names."""
        return {
            "ConnectCA.Sign": self.sign,
            "ConnectCA.SignIntermediate": self.sign_intermediate,
            "ConnectCA.ConfigurationSet": self.configure,
            "ConnectCA.RotationSet": self.rotate,
        }

    # Terms

    def lead(self, epoch: int) -> None:
        """Begin a term, or end it with 0."""
        self._term.lead(epoch)

    async def stop(self) -> None:
        """End the term and wait for it."""
        await self._term.stop()

    def applied(self, touched: frozenset[WatchKey]) -> None:
        """Entries were applied."""
        if self._term.epoch and (not touched.isdisjoint(_WAKES) or self._waits_for(touched)):
            self._wake.set()

    def _waits_for(self, touched: frozenset[WatchKey]) -> bool:
        """Whether the rotation may go on, because a node that it waits for went down."""
        state = self._state() if _CRITICAL in touched else None
        return state is not None and state.machine.connect.ca.rotation is not None

    def _duties(self, epoch: int) -> Mapping[str, Coroutine[Any, Any, None]]:
        if self._settings is None or self._secondary:
            return {}
        return {"Connect CA": self._run(epoch), "upkeep of the Connect CA": self._keep_up(epoch)}

    async def _run(self, epoch: int) -> None:
        while True:
            self._wake.clear()
            state, pause = self._state(), RETRY_INTERVAL
            try:
                if state is not None:
                    await self._look(state, epoch)
                    pause = self._pause(state.machine.connect)
            except LogError as error:
                _log.warning("Connect's CA was not changed: %s", error)
            except MeshError as error:
                _log.error("Connect's CA can't go on: %s", error)
                pause = INTERVAL
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _pause(self, store: ConnectStore) -> float:
        ttl = store.ca.config.leaf_cert_ttl if store.ca.config is not None else INTERVAL
        pause = min(INTERVAL, max(RETRY_INTERVAL, ttl / 4)) if store.ca.rotation is not None else INTERVAL
        return min(pause, max(MIN_INTERVAL, rotation.next_look(store.ca, self._wall())))

    async def _look(self, state: ClusterState, epoch: int) -> None:
        """One step of each duty: the first root, a root whose end is near, the rotation."""
        # The log may still be read: whoever decides on half of it would make a second first root.
        await state.barrier()
        store, now = state.machine.connect, self._wall()
        # Taken before anything is waited for: a change meanwhile must be the end of this one.
        ca, expected = store.ca, store.index
        if ca.config is None:
            first = await self._first()
            if await self._write(state, first, expected, epoch) and first.active is not None:
                _log.info("Connect has its first root, %s", first.active.name)
            return
        before, old = ca, ca.active
        told, self._complaint = self._complaint, complaint(old, now)
        if self._complaint not in ("", told):
            _log.error("%s", self._complaint)
        if rotation.is_root_due(ca, now):
            if not self._complaint:
                _log.warning("the Connect root is replaced: its end is near")
            made = await self._signers.next_root(ca, None)
            ca = rotation.begin(ca, made.root, made.key, now)
        progress = rotation.advance(ca, store.trust(), self._alive(), now)
        if progress.phase and progress.because != self._told:
            _log.info("Connect root rotation: %s", progress.because)
        self._told = progress.because
        if progress.ca != before and await self._write(state, progress.ca, expected, epoch):
            new = progress.ca.active
            if old is not None and new is not None and new.id != old.id:
                _log.info("the Connect root %s signs in place of %s", new.name, old.name)

    async def _write(self, state: ClusterState, ca: CaState, expected: int, epoch: int) -> bool:
        return await state.submit(ConnectCaSet(ca, expected, epoch), epoch=epoch) is True

    async def _first(self) -> CaState:
        settings = self._settings
        assert settings is not None
        # Drawn once: a try that failed may have left a root of that name in Vault.
        self._cluster_id = self._cluster_id or self._new_id()
        config = settings.config(self._cluster_id)
        made = await self._signers.root(EMPTY, config, settings)
        return CaState(config, (replace(made.root, active=True),), (made.key,))

    async def _keep_up(self, epoch: int) -> None:
        """Keep what is elsewhere usable: Vault may be away for long, and the rotation doesn't wait for that."""
        told = ""
        while True:
            await asyncio.sleep(INTERVAL)
            state = self._state()
            try:
                if state is not None:
                    await self._keep_up_keys(state, epoch)
                told = ""
            except MeshError as error:
                if str(error) != told:
                    told = str(error)
                    _log.warning("Connect's CA needs a look: %s", told)

    async def _keep_up_keys(self, state: ClusterState, epoch: int) -> None:
        store = state.machine.connect
        ca, expected = store.ca, store.index
        for row in ca.keys:
            changed = await self._signers.of_key(ca, row).upkeep()
            if changed is not None:
                await self._write(state, replace(ca, keys=with_key(ca, changed)), expected, epoch)
                return

    # Methods

    async def sign(self, body: Body, token: str) -> dict[str, Any]:
        """``CSR`` of a service -> its leaf, with the certificates of the chain below it."""
        state = self._enabled()
        config, ca = config_of(state.machine), state.machine.connect.ca
        request = _checked(lambda: connect_ca.parse_leaf_request(text(body, "CSR")))
        if isinstance(request.identity, ServiceId):
            require(state.authorizer(token), Resource.SERVICE, request.identity.service, Access.WRITE)
        now = asyncio.get_running_loop().time()
        if self._bucket is None:
            self._bucket = TokenBucket(MAX_SIGNED_PER_SECOND, MAX_SIGNED_PER_SECOND, now)
        if not self._bucket.take(now):
            raise RpcError(
                f"more than {MAX_SIGNED_PER_SECOND} leaves were asked for in a second: try again soon"
            )
        leaf = await self._signers.active(ca).sign(
            text(body, "CSR"),
            trust_domain=config.trust_domain,
            datacenter=self._datacenter,
            ttl=config.leaf_cert_ttl,
        )
        active = ca.active
        assert active is not None
        index = state.machine.last_index
        return {
            "SerialNumber": leaf.serial,
            "CertPEM": "".join((leaf.certificate_pem, *leaf.chain, *active.intermediates)),
            "Service": leaf.service,
            "ServiceURI": leaf.uri,
            "ValidAfter": time_text(leaf.not_before),
            "ValidBefore": time_text(leaf.not_after),
            "CreateIndex": index,
            "ModifyIndex": index,
            "RootID": active.id,
        }

    async def sign_intermediate(self, body: Body, token: str) -> str:
        """``CSR`` of a secondary datacenter's CA -> its certificate, PEM. Source: Consul 1.4, several datacenters."""
        state = self._enabled()
        require(state.authorizer(token), Resource.OPERATOR, "", Access.WRITE)
        if self._secondary:
            raise RpcError(NOT_PRIMARY)
        config, ca = config_of(state.machine), state.machine.connect.ca
        try:
            signed = await self._signers.active(ca).sign_intermediate(
                text(body, "CSR"), trust_domain=config.trust_domain
            )
        except MeshError as error:
            raise RpcError(str(error)) from None
        _log.info("Connect's root signed the intermediate of a secondary datacenter")
        return signed

    async def configure(self, body: Body, token: str) -> dict[str, Any]:
        """``Config`` with ``Provider`` and its ``Config``: other settings, or another root, which starts a rotation.

        With ``DryRun`` nothing changes, and ``Plan`` says what would.
        """
        state = self._enabled()
        require(state.authorizer(token), Resource.OPERATOR, "", Access.WRITE)
        given = mapping(body, "Config")
        try:
            parsed = parse_ca_settings(text(given, "Provider"), mapping(given, "Config"), strict=False)
        except ConfigError as error:
            raise RpcError(str(error)) from None
        dry_run = boolean(body, "DryRun")

        async def change(ca: CaState) -> tuple[CaState, tuple[str, ...]]:
            assert ca.config is not None
            settings = with_token(parsed, ca)
            old, new = ca.config, settings.config(ca.config.cluster_id)
            changed = replace(ca, config=new)
            if not is_other_root(ca, settings):
                return replace(
                    changed, keys=await self._signers.moved(changed, settings, dry_run=dry_run)
                ), ()
            made = await self._signers.next_root(changed, settings, dry_run=dry_run)
            if ca.active is not None and is_same_root(made.root, ca.active, settings):
                return changed, ()
            return self._begun(state, changed, made, forced=False, before=old)

        return await self._change(state, change, dry_run=dry_run)

    async def rotate(self, body: Body, token: str) -> dict[str, Any]:
        """``Action``: ``start``, ``pause``, ``resume``, ``abort`` or ``distrust``.

        To ``start`` belong ``Force``, which waits for nobody, ``Paused``, which begins it and goes no further, and
        ``DryRun``: nothing changes, and ``Plan`` says what would.
        """
        state = self._enabled()
        require(state.authorizer(token), Resource.OPERATOR, "", Access.WRITE)
        action, dry_run = text(body, "Action"), boolean(body, "DryRun")
        forced, paused = boolean(body, "Force"), boolean(body, "Paused")

        async def change(ca: CaState) -> tuple[CaState, tuple[str, ...]]:
            match action:
                case "start":
                    made = await self._signers.next_root(ca, None, dry_run=dry_run)
                    return self._begun(state, ca, made, forced=forced, paused=paused)
                case "pause" | "resume":
                    return rotation.pause(ca, paused=action == "pause"), ()
                case "abort":
                    return rotation.abort(ca), ()
                case "distrust":
                    return rotation.distrust(ca, self._wall()), ()
            raise RpcError(
                f"Action {action[:40]!r} is not one: write start, pause, resume, abort or distrust"
            )

        return await self._change(state, change, dry_run=dry_run)

    def _begun(
        self,
        state: ClusterState,
        ca: CaState,
        made: NewRoot,
        *,
        forced: bool,
        paused: bool = False,
        before: CaConfig | None = None,
    ) -> tuple[CaState, tuple[str, ...]]:
        trust, alive = state.machine.connect.trust(), self._alive()
        steps = rotation.plan(ca, made.root, trust, alive, self._wall())
        begun = rotation.begin(
            ca, made.root, made.key, self._wall(), forced=forced, paused=paused, before=before
        )
        return begun, steps

    async def _change(self, state: ClusterState, change: _Change, *, dry_run: bool) -> dict[str, Any]:
        for _ in range(MAX_TRIES):
            store, epoch = state.machine.connect, state.log.leadership.epoch
            expected = store.index
            config_of(state.machine)
            try:
                ca, steps = await change(store.ca)
            except RpcError:
                raise
            except MeshError as error:
                raise RpcError(str(error)) from None
            if dry_run:
                return {"Plan": list(steps)}
            progress = rotation.advance(ca, store.trust(), self._alive(), self._wall())
            if await self._write(state, progress.ca, expected, epoch):
                self._told = progress.because
                _log.info("Connect's CA was changed: %s", progress.because)
                await _switch(state)
                return {"Plan": list(steps)}
        raise RpcError("Connect's CA was changed by somebody else meanwhile: look at it, and try again")

    def _enabled(self) -> ClusterState:
        state = self._state()
        if self._settings is None or state is None:
            raise RpcError(NOT_ENABLED)
        return state


async def _switch(state: ClusterState) -> None:
    """Wait a moment for a rotation to switch: after a change of the root, clients of Consul look for the new one."""
    changed = asyncio.Event()
    waiter = state.watch([CONNECT_TRUST], changed.set)
    try:
        async with asyncio.timeout(SWITCH_WAIT):
            while _has_not_switched(state.machine.connect.ca):
                await changed.wait()
                changed.clear()
    except TimeoutError:
        _log.info("the new Connect root doesn't sign yet: it will when the nodes that are up trust it")
    finally:
        state.unwatch(waiter)


def _has_not_switched(ca: CaState) -> bool:
    running = ca.rotation
    return running is not None and not running.paused and not rotation.has_switched(running)


def _checked(read: Callable[[], connect_ca.LeafRequest]) -> connect_ca.LeafRequest:
    try:
        return read()
    except MeshError as error:
        raise RpcError(str(error)) from None
