"""One proxy as Envoy is told of it: what it needs to know is followed, and made into a snapshot at each change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from meshnode.agent.xds_sources import Question, Source, Sources
from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.base.spiffe import ServiceId, parse_spiffe_id
from meshnode.client.catalog import instances_of_query, instances_of_service
from meshnode.control.endpoints.intention_fields import intention_of
from meshnode.http.errors import HttpError
from meshnode.intentions.decide import DefaultDecision
from meshnode.intentions.model import Intention
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import DestinationType, ProxyConfig, Upstream
from meshnode.proxy.definition import parse_service
from meshnode.xds.compile import Snapshot, compile_snapshot
from meshnode.xds.state import ProxyState

__all__ = ["ProxyFeed"]

_log: Final = logging.getLogger("meshnode.xds")
#: Statuses with which the API refuses a token.
FORBIDDEN: Final = frozenset({401, 403})


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
        self._last: ProxyState | None = None
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
        except MeshError as error:
            if str(error) != self.problem:
                self.problem = str(error)
                _log.error("%s: Envoy keeps what it has: %s", self.proxy_id, error)
        if (self.snapshot, self.refusal) != before:
            for each in [*self.listeners]:
                each()

    def _state(self) -> ProxyState | None:
        """Everything at this moment; ``None`` while something was never told."""
        if not self._is_known(self._own):
            return None
        config = parse_service(self._own.value)
        self.service = config.service
        name = quote(config.service, safe="")
        leaf = self._hold(f"/v1/agent/connect/ca/leaf/{name}")
        roots = self._hold("/v1/agent/connect/ca/roots")
        match = self._hold("/v1/connect/intentions/match", (("by", "destination"), ("name", config.service)))
        default = self._hold(
            "/v1/connect/intentions/explain", (("source", config.service), ("destination", config.service))
        )
        upstreams = {one.name: self._upstream(one) for one in config.upstreams}
        needed = [leaf, roots, match, default, *upstreams.values()]
        self._let_go([self._own, *needed])
        told = [self._is_known(each) for each in needed]
        if not all(told):
            return None
        identity = _identity(leaf.value)
        return ProxyState(
            proxy_id=self.proxy_id,
            config=config,
            trust_domain=identity.trust_domain,
            datacenter=identity.datacenter,
            certificate_pem=_text(leaf.value, "CertPEM"),
            key_pem=_text(leaf.value, "PrivateKeyPEM"),
            roots_pem="".join(_text(row, "RootCert").rstrip() + "\n" for row in _rows(roots.value, "Roots")),
            intentions=_intentions(match.value, config.service),
            default=_default(default.value),
            instances=_instances(config, upstreams, identity),
        )

    def _upstream(self, one: Upstream) -> Source:
        query = (("dc", one.datacenter),) if one.datacenter else ()
        name = quote(one.destination, safe="")
        if one.destination_type is DestinationType.PREPARED_QUERY:
            return self._hold(f"/v1/query/{name}/execute", (*query, ("connect", "true")), blocks=False)
        return self._hold(f"/v1/health/connect/{name}", query)

    def _let_go(self, needed: Sequence[Source]) -> None:
        kept = {source.question for source in needed}
        for question in [each for each in self._held if each not in kept]:
            del self._held[question]
            self._sources.release(question, self._wake)

    def _is_known(self, source: Source) -> bool:
        """Whether it was told; a refusal of the token ends the feed, for what this token may not know any more."""
        if isinstance(source.error, HttpError) and source.error.status in FORBIDDEN:
            self.refusal = MeshError(f"{source.question.path}: {source.error}")
        elif source is self._own and isinstance(source.error, HttpError) and source.error.status == 404:
            self.refusal = MeshError(
                f"this agent has no proxy {self.proxy_id}: register it, or connect to the agent that has it"
            )
        return source.known


def _identity(leaf: Any) -> ServiceId:
    found = parse_spiffe_id(_text(leaf, "ServiceURI"))
    if not isinstance(found, ServiceId):
        raise RemoteProtocolError("the leaf is not of a service")
    return found


def _intentions(answer: Any, service: str) -> tuple[Intention, ...]:
    """The answer has them by name."""
    rows = answer.get(service) if isinstance(answer, Mapping) else None
    return tuple(intention_of(row, str(row.get("ID", "")), 0.0) for row in rows or [])


def _default(answer: Any) -> DefaultDecision:
    found = answer.get("Default") if isinstance(answer, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(found.get("Allowed"), bool):
        raise RemoteProtocolError("the servers don't say what holds where no intention fits")
    return DefaultDecision(found["Allowed"], str(found.get("Reason", "")))


def _instances(
    config: ProxyConfig, upstreams: Mapping[str, Source], identity: ServiceId
) -> dict[str, tuple[Instance, ...]]:
    found = {}
    for one in config.upstreams:
        where = one.datacenter or identity.datacenter
        answer = upstreams[one.name].value
        if one.destination_type is DestinationType.PREPARED_QUERY:
            found[one.name] = instances_of_query(answer, trust_domain=identity.trust_domain, datacenter=where)
        else:
            found[one.name] = instances_of_service(
                answer, one.destination, trust_domain=identity.trust_domain, datacenter=where
            )
    return found


def _rows(answer: Any, name: str) -> list[Any]:
    rows = answer.get(name) if isinstance(answer, Mapping) else None
    if not isinstance(rows, list) or not rows:
        raise RemoteProtocolError(f"the answer has no {name}")
    return rows


def _text(answer: Any, name: str) -> str:
    value = answer.get(name) if isinstance(answer, Mapping) else None
    if not isinstance(value, str) or not value:
        raise RemoteProtocolError(f"the answer has no {name}")
    return value
