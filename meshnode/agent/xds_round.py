"""One look at everything that a proxy's configuration is made of: answers of the API, as values.

What isn't known yet is ``None``, and the round isn't complete; the rest is looked at all the same, so that everything
is asked for at once and nothing is let go of meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote

from meshnode.agent.xds_sources import Question, Source
from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.base.spiffe import ServiceId, parse_spiffe_id
from meshnode.config_entries.chain import Chain, Target
from meshnode.config_entries.chain_parse import parse_chain
from meshnode.config_entries.defaults import ProxyDefaults, ServiceDefaults
from meshnode.config_entries.model import PROXY_DEFAULTS, SERVICE_DEFAULTS, ConfigEntry
from meshnode.config_entries.parse import parse_entry
from meshnode.control.endpoints.intention_fields import intention_of
from meshnode.http.errors import HttpError
from meshnode.intentions.decide import DefaultDecision
from meshnode.intentions.model import Intention
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import Upstream
from meshnode.proxy.instances import instances_of_query, instances_of_service
from meshnode.xds.legs import plain_chain
from meshnode.xds.state import Material

__all__ = ["Follow", "RefusedError", "Round"]

#: Statuses with which the API refuses a token.
FORBIDDEN: Final = frozenset({401, 403})
_INDEXES: Final = frozenset({"CreateIndex", "ModifyIndex"})
_WARNING, _PASSING = "warning", "passing"


class RefusedError(MeshError):
    """This token, or any, won't get an answer."""


class Follow(Protocol):
    """Who follows questions."""

    def __call__(self, path: str, query: tuple[tuple[str, str], ...] = (), *, blocks: bool = True) -> Source:
        """The source of a question."""


class Round:
    """``asked``: the questions of this round. Methods raise :class:`RefusedError`, :class:`MeshError` for nonsense."""

    def __init__(self, follow: Follow) -> None:
        self._follow = follow
        self.asked: set[Question] = set()
        self.complete = True

    def get(
        self,
        path: str,
        query: tuple[tuple[str, str], ...] = (),
        *,
        blocks: bool = True,
        instead: Mapping[int, Any] = {},
        without: Any = None,
    ) -> Any:
        """An answer. ``instead``: status -> what it counts as; ``without``: what any other failure counts as."""
        source = self._follow(path, query, blocks=blocks)
        self.asked.add(source.question)
        if isinstance(source.error, HttpError):
            if source.error.status in instead:
                return instead[source.error.status]
            if source.error.status in FORBIDDEN:
                raise RefusedError(f"{path}: {source.error}")
        if source.known:
            return source.value
        if source.error is not None and without is not None:
            return without
        self.complete = False
        return None

    # What proxies of every kind need

    def material(self, service: str) -> Material | None:
        """The certificate of a service, and what it says about where it is."""
        leaf = self.get(f"/v1/agent/connect/ca/leaf/{quote(service, safe='')}")
        if leaf is None:
            return None
        found = parse_spiffe_id(_text(leaf, "ServiceURI"))
        if not isinstance(found, ServiceId):
            raise RemoteProtocolError("the leaf is not of a service")
        return Material(
            found.trust_domain, found.datacenter, _text(leaf, "CertPEM"), _text(leaf, "PrivateKeyPEM")
        )

    def roots(self) -> str | None:
        """Every root that is trusted, as PEM."""
        answer = self.get("/v1/agent/connect/ca/roots")
        if answer is None:
            return None
        rows = answer.get("Roots") if isinstance(answer, Mapping) else None
        if not isinstance(rows, list) or not rows:
            raise RemoteProtocolError("the answer has no Roots")
        return "".join(_text(row, "RootCert").rstrip() + "\n" for row in rows)

    def intentions(self, service: str) -> tuple[tuple[Intention, ...], DefaultDecision] | None:
        """Those about ``service`` as destination, and what holds where none fits."""
        match = self.get("/v1/connect/intentions/match", (("by", "destination"), ("name", service)))
        both = (("source", service), ("destination", service))
        explained = self.get("/v1/connect/intentions/explain", both)
        if match is None or explained is None:
            return None
        # The answer has them by name.
        rows = match.get(service) if isinstance(match, Mapping) else None
        return tuple(intention_of(row, str(row.get("ID", "")), 0.0) for row in rows or []), _default(
            explained
        )

    def chain(self, service: str, datacenter: str = "") -> Chain | None:
        """The discovery chain of ``service`` in ``datacenter`` (empty: ours).

        One that the token may not read leads straight on: to instances of which it sees none.
        """
        query = (("compile-dc", datacenter),) if datacenter else ()
        refused = {status: {"Chain": None} for status in FORBIDDEN}
        answer = self.get(f"/v1/discovery-chain/{quote(service, safe='')}", query, instead=refused)
        if answer is None:
            return None
        if not isinstance(answer, Mapping) or answer.get("Chain") is None:
            return plain_chain(service, datacenter)
        return parse_chain(answer["Chain"])

    def entries(self, kind: str) -> list[ConfigEntry] | None:
        """Every config entry of a kind: their list can be waited on before there is one."""
        rows = self.get(f"/v1/config/{kind}")
        if rows is None:
            return None
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise RemoteProtocolError(f"the entries of the kind {kind} are no list")
        return [
            parse_entry({name: value for name, value in row.items() if name not in _INDEXES}) for row in rows
        ]

    def proxy_defaults(self) -> Mapping[str, Any]:
        """``Config`` of ``proxy-defaults``."""
        entries = self.entries(PROXY_DEFAULTS) or ()
        return next((one.spec.config for one in entries if isinstance(one.spec, ProxyDefaults)), {})

    def service_defaults(self, service: str) -> ServiceDefaults | None:
        """The ``service-defaults`` of ``service``, empty ones where there are none."""
        entries = self.entries(SERVICE_DEFAULTS)
        if entries is None:
            return None
        found = [one.spec for one in entries if one.name.lower() == service.lower()]
        return found[0] if found and isinstance(found[0], ServiceDefaults) else ServiceDefaults()

    def targets(self, chain: Chain, own: Material) -> dict[str, tuple[Instance, ...]]:
        """The instances of everything that a chain may lead to."""
        return {target.id: self._target(target, own) for target in chain.targets.values()}

    def query(self, upstream: Upstream, own: Material) -> tuple[Instance, ...]:
        """What a prepared query finds."""
        query = (("dc", upstream.datacenter),) if upstream.datacenter else ()
        path = f"/v1/query/{quote(upstream.destination, safe='')}/execute"
        answer = self.get(path, (*query, ("connect", "true")), blocks=False)
        where = upstream.datacenter or own.datacenter
        if answer is None:
            return ()
        return instances_of_query(answer, trust_domain=own.trust_domain, datacenter=where)

    def _target(self, target: Target, own: Material) -> tuple[Instance, ...]:
        where = target.datacenter or own.datacenter
        away = where != own.datacenter
        query = (("dc", where),) if away else ()
        if target.subset.filter:
            query = (*query, ("filter", target.subset.filter))
        # A datacenter that can't be reached is one to go on from, and must hold nobody up.
        path = f"/v1/health/connect/{quote(target.service, safe='')}"
        answer = self.get(path, query, without=[] if away else None)
        if answer is None:
            return ()
        rows = answer if target.subset.only_passing else _forgiving(answer)
        return instances_of_service(rows, target.service, trust_domain=own.trust_domain, datacenter=where)


def _forgiving(rows: Any) -> Any:
    """The rows with warnings taken for passing: only a subset that says so leaves those instances out."""
    if not isinstance(rows, list):
        return rows
    return [
        {**row, "Checks": [_forgiven(check) for check in row.get("Checks") or ()]}
        if isinstance(row, Mapping)
        else row
        for row in rows
    ]


def _forgiven(check: Any) -> Any:
    warns = isinstance(check, Mapping) and check.get("Status") == _WARNING
    return {**check, "Status": _PASSING} if warns else check


def _default(answer: Any) -> DefaultDecision:
    found = answer.get("Default") if isinstance(answer, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(found.get("Allowed"), bool):
        raise RemoteProtocolError("the servers don't say what holds where no intention fits")
    return DefaultDecision(found["Allowed"], str(found.get("Reason", "")))


def _text(answer: Any, name: str) -> str:
    value = answer.get(name) if isinstance(answer, Mapping) else None
    if not isinstance(value, str) or not value:
        raise RemoteProtocolError(f"the answer has no {name}")
    return value
