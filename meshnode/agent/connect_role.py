"""The agent's side of Connect: its certificate cache, the effects of the API, and all certificates of the node."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from meshnode.agent.config.model import AgentConfig
from meshnode.agent.connect_reports import ConnectReports
from meshnode.agent.leaf_cache import Call, LeafCache
from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.metrics import Metrics
from meshnode.connect.leaf import Leaf, TrustedRoot
from meshnode.http.connect_effects import (
    ConnectEffect,
    GetCertificates,
    GetEnvoys,
    GetLeaf,
    GetReports,
    GetRoots,
    ReportProxy,
)
from meshnode.pki import bundle

__all__ = ["ConnectRole", "certificate_rows"]

_DAY: Final = 86400.0


class ConnectRole:
    """``call`` asks a server; ``own`` gives the rows of the agent's own certificates, as ``describe`` has them.

    ``on_listening`` is told the id of a proxy that has begun to listen.
    """

    def __init__(
        self,
        config: AgentConfig,
        *,
        call: Call,
        token: Callable[[], str],
        own: Callable[[], Sequence[Mapping[str, Any]]],
        rng: random.Random,
        metrics: Metrics,
        on_listening: Callable[[str], None] = lambda _proxy_id: None,
    ) -> None:
        self._on_listening = on_listening
        #: The Envoys that are connected; set by whom they are connected to.
        self.envoys: Callable[[], Sequence[Mapping[str, Any]]] = tuple
        identity = config.identity
        self._own = own
        self.leaves = LeafCache(
            call,
            node_name=identity.node_name,
            datacenter=identity.datacenter,
            token=token,
            wall=time.time,
            rng=rng,
        )
        self.reports = ConnectReports(metrics, asyncio.get_running_loop().time)

    async def stop(self) -> None:
        """Renew nothing any more."""
        await self.leaves.stop()

    async def perform(self, effect: ConnectEffect[Any]) -> Any:
        """The outcome of ``effect``; raises :class:`MeshError`."""
        match effect:
            case GetRoots(index, timeout):
                return await self.leaves.roots(index, timeout)
            case GetLeaf(service, token, index, timeout):
                return await self.leaves.leaf(service, token, index, timeout)
            case GetCertificates():
                known = self.leaves.bundle
                roots = known.roots if known is not None else ()
                served = self.reports.served()
                return certificate_rows(self._own(), self.leaves.leaves(), roots, served, time.time())
            case ReportProxy(report):
                if self.reports.take(report):
                    # Its checks have found nobody until now, and others wait for them.
                    self._on_listening(report.proxy_id)
                return None
            case GetEnvoys():
                return self.envoys()
            case GetReports():
                return self.reports.live()
        raise MeshError(f"this agent can't perform {type(effect).__name__}")


def certificate_rows(
    own: Sequence[Mapping[str, Any]],
    leaves: Sequence[Leaf],
    roots: Sequence[TrustedRoot],
    served: Mapping[str, Mapping[str, str]],
    at: float,
) -> list[dict[str, Any]]:
    """The rows of ``/v1/agent/certs``: the agent's own certificates, the leaves of services, the roots.

    ``DaysLeft`` is negative when the time is over; ``Served`` maps a listener to the serial number that it presents.
    """
    rows = [
        {
            "Kind": "agent",
            "Name": row["File"],
            "Issuer": row["Issuer"],
            "Serial": row["Serial"],
            "NotAfter": row["NotAfter"],
            "DaysLeft": _days(datetime.fromisoformat(row["NotAfter"]).timestamp(), at),
            "Served": {name: serial for name, serial in row["Served"].items() if serial},
        }
        for row in own
    ]
    rows += [
        _row("leaf", leaf.service, leaf.certificate_pem, at, served.get(leaf.service, {})) for leaf in leaves
    ]
    rows += [_row("root", str(root.row.get("Name", root.id)), root.certificate_pem, at, {}) for root in roots]
    return rows


def _row(kind: str, name: str, pem: str, at: float, served: Mapping[str, str]) -> dict[str, Any]:
    try:
        found = bundle.describe(pem)
    except ConfigError as error:
        return {"Kind": kind, "Name": name, "Error": str(error), "Served": {}}
    ends = datetime.fromisoformat(found.not_after)
    serial = f"0{found.serial}" if len(found.serial) % 2 else found.serial
    return {
        "Kind": kind,
        "Name": name,
        "Issuer": found.issuer,
        "Serial": bytes.fromhex(serial).hex(":"),
        "NotAfter": ends.astimezone(UTC).isoformat(),
        "DaysLeft": _days(ends.timestamp(), at),
        "Served": dict(served),
    }


def _days(ends: float, at: float) -> float:
    # Leaves may live for seconds: a millionth of a day is a tenth of one.
    return round((ends - at) / _DAY, 6)
