"""The leader of a secondary datacenter follows the primary's CA: roots, settings, and an intermediate of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from meshnode.agent.connect_provider import root_row
from meshnode.agent.primary_follow import AskPrimary, answer_of, blocking, next_index
from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.base.spiffe import trust_domain_of
from meshnode.connect.model import CaRoot, CaState, NodeTrust, Revoked, RootKey
from meshnode.connect.rotation import MAX_DISTRUSTED
from meshnode.connect.secondary import Told, followed, report_of
from meshnode.connect.settings import parse_ca_settings
from meshnode.connect.store import CONNECT_ROOTS, CONNECT_TRUST
from meshnode.control.body import Body, mapping, rows, text, texts
from meshnode.control.command import ConnectCaSet, ConnectRevoke
from meshnode.control.watch import EVERYTHING, WatchKey
from meshnode.pki import connect_intermediate, keys
from meshnode.runtime.cluster_state import ClusterState, held

__all__ = ["SecondaryCa", "parse_told"]

_log = logging.getLogger("meshnode.federation")
#: Seconds after which the primary is told again what is trusted here, though nothing has changed.
REPORT_INTERVAL: Final = 300.0


class SecondaryCa:
    """``wall`` is unix seconds, ``alive`` the names of nodes that are up, in lower case.

    :meth:`step` and :meth:`report` are for ``primary_follow.follow``.
    """

    def __init__(
        self,
        state: Callable[[], ClusterState | None],
        ask: AskPrimary,
        *,
        datacenter: str,
        wall: Callable[[], float],
        alive: Callable[[], Collection[str]],
    ) -> None:
        self._state = state
        self._ask = ask
        self._datacenter = datacenter
        self._wall = wall
        self._changed = asyncio.Event()
        self._alive = alive
        self._reported: NodeTrust | None = None

    def applied(self, touched: frozenset[WatchKey]) -> None:
        """Entries were applied."""
        if not touched.isdisjoint((CONNECT_ROOTS, CONNECT_TRUST, EVERYTHING)):
            self._changed.set()

    async def step(self, index: int, epoch: int) -> int:
        """Wait for other roots than those of ``index`` and take them over, with an intermediate of the one that signs.

        Raises :class:`MeshError`; what could be taken over then was. Settings have no index here: they are looked at
        whenever the wait is over.
        """
        reply = answer_of(await self._ask("ConnectCA.Roots", blocking(index)))
        told = parse_told(reply, answer_of(await self._ask("ConnectCA.ConfigurationGet", {})))
        state = held(self._state())
        await state.barrier()
        store = state.machine.connect
        ca, expected = store.ca, store.index
        if ca.config is not None and ca.config.cluster_id != told.config.cluster_id:
            _log.warning(
                "this datacenter had a CA of its own: every service here gets a certificate of the primary's"
            )
            ca = replace(ca, keys=())
        # Roots are taken over although there is no intermediate of the new one yet: nodes may trust it meanwhile.
        error: MeshError | None = None
        key = next((row for row in ca.keys if row.intermediate), None)
        try:
            key = await self._signer(ca, told)
        except MeshError as failure:
            error = failure
        after = followed(ca, told, key)
        if after != store.ca and not await state.submit(ConnectCaSet(after, expected, epoch), epoch=epoch):
            raise MeshError("the CA was changed by another server meanwhile")
        await self._revoke(state, told, epoch)
        if error is not None:
            raise error
        return next_index(reply, index)

    async def _signer(self, ca: CaState, told: Told) -> RootKey:
        """The key of our intermediate of the active root: the one that is there, or another one when it is time."""
        row, at = ca.row_of(told.active_id), datetime.fromtimestamp(self._wall(), UTC)
        if row is not None and row.intermediate and not _is_due(row, at):
            return row
        root = next((root for root in told.roots if root.id == told.active_id), None)
        if root is None:
            raise MeshError("the primary datacenter has no root that signs")
        key, domain = keys.generate_key(), told.config.trust_domain
        request = connect_intermediate.create_intermediate_request(key, self._datacenter, domain)
        signed = await self._ask("ConnectCA.SignIntermediate", {"CSR": request})
        pem = text({"CSR": signed}, "CSR")
        connect_intermediate.check_intermediate(pem, key, root.root_cert, trust_domain=domain, at=at)
        _log.info("Connect has an intermediate here, signed by the primary's root %s", root.name)
        return RootKey(root.id, keys.serialize_key(key), intermediate=pem)

    async def _revoke(self, state: ClusterState, told: Told, epoch: int) -> None:
        now, ttl = self._wall(), told.config.leaf_cert_ttl
        for serial in told.revoked:
            if not state.machine.connect.is_revoked(serial):
                revoked = Revoked(serial, now + ttl, "in the primary datacenter", now)
                await state.submit(ConnectRevoke(revoked), epoch=epoch)

    async def report(self, index: int) -> int:
        """Tell the primary what is trusted and used here, whenever that changes: its rotations wait for it."""
        state = self._state()
        if state is not None and state.machine.connect.ca.config is not None:
            store = state.machine.connect
            now = report_of(self._datacenter, store.ca, store.trust(), self._alive())
            if now is not None and now != self._reported:
                body = {"Node": now.node, "Roots": list(now.roots), "LeafRoots": list(now.leaf_roots)}
                await self._ask("ConnectCA.Report", body)
                self._reported = now
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPORT_INTERVAL):
                await self._changed.wait()
                self._changed.clear()
                return index
        self._reported = None
        return index


def parse_told(reply: Body, shown: Body) -> Told:
    """Read the replies of ``ConnectCA.Roots`` and ``ConfigurationGet``. Raises :class:`RemoteProtocolError`."""
    try:
        domain = text(reply, "TrustDomain")
        cluster_id, _, _ = domain.rpartition(".")
        if not cluster_id or trust_domain_of(cluster_id) != domain:
            raise RemoteProtocolError(f"{domain[:100]!r} is not the trust domain of a cluster")
        settings = parse_ca_settings(text(shown, "Provider"), mapping(shown, "Config"), strict=False)
        return Told(
            settings.config(cluster_id),
            text(reply, "ActiveRootID"),
            tuple(_root(row) for row in rows(reply, "Roots")),
            texts(reply, "Revoked"),
            texts(reply, "Distrusted")[:MAX_DISTRUSTED],
        )
    except RemoteProtocolError:
        raise
    except MeshError as error:
        raise RemoteProtocolError(
            f"the primary's CA can't be read: is it of another version? {error}"
        ) from None


def _root(row: Body) -> CaRoot:
    root = root_row(keys.parse_certificate(text(row, "RootCert"), "RootCert"))
    if root.id != text(row, "ID"):
        raise RemoteProtocolError(f"the primary's root {root.name} is listed with another id than its own")
    return replace(root, intermediates=texts(row, "IntermediateCerts"))


def _is_due(row: RootKey, at: datetime) -> bool:
    return connect_intermediate.is_intermediate_due(row.intermediate, at)
