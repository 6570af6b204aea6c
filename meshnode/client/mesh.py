"""The agent as what the proxy and the SDK need: certificates, decisions, instances."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

from meshnode.base.errors import MeshError
from meshnode.client.agent import AgentClient
from meshnode.client.answer import ApiError
from meshnode.client.request_rules import EXPLAIN, with_rules
from meshnode.client.routing import Routing, UnsupportedRoutingError
from meshnode.client.settings import path_segment
from meshnode.intentions.model import ServiceName
from meshnode.proxy.authorize import Identity
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import DestinationType, Upstream
from meshnode.proxy.decision_cache import Decision
from meshnode.proxy.instances import instances_of_query, instances_of_service
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["MAX_WATCHED", "AgentAuthorizer", "AgentCertificates", "AgentDiscovery"]

#: Destinations whose instances are followed; the one that was asked for longest ago is forgotten first.
MAX_WATCHED: Final = 1024
#: Seconds between two executions of a prepared query, which can't be waited on.
QUERY_INTERVAL: Final = 10.0

_ROOTS: Final = "/v1/agent/connect/ca/roots"

#: Statuses of an agent that doesn't explain, and won't when it is asked again.
_UNTOLD: Final = frozenset({403, 404, 405})

_log: Final = logging.getLogger("meshnode.client")


class AgentCertificates:
    """:class:`~meshnode.runtime.proxy.interfaces.CertificateProvider`: leaf and roots as the agent has them."""

    def __init__(self, client: AgentClient, service: str) -> None:
        self._client = client
        self._leaf = f"/v1/agent/connect/ca/leaf/{path_segment(service)}"

    async def fetch(self) -> TlsMaterial:
        """The material of this moment; raises :class:`ApiError` or :class:`AgentUnreachable`, saying why not."""
        roots = await self._client.get_json(_ROOTS)
        return _material(await self._client.get_json(self._leaf), roots)

    async def watch(self) -> AsyncGenerator[TlsMaterial, None]:
        """The material now, and each that replaces it. Never raises for an agent that is away: it waits."""
        last: TlsMaterial | None = None
        async with contextlib.aclosing(_followed(self._client, {_ROOTS: (), self._leaf: ()})) as answers:
            async for found in answers:
                if len(found) < 2:
                    continue
                try:
                    material = _material(found[self._leaf], found[_ROOTS])
                except MeshError as error:
                    _log.error("the agent's certificates are not used, the old ones stay: %s", error)
                    continue
                if material != last:
                    last = material
                    yield material


class AgentAuthorizer:
    """:class:`~meshnode.runtime.proxy.interfaces.Authorizer`: the intentions about ``service`` and revoked leafs."""

    def __init__(self, client: AgentClient, service: str) -> None:
        self._client = client
        self._service = service

    async def decide(self, source: Identity) -> Decision:
        """What the agent says of ``source``; raises :class:`ApiError` or :class:`AgentUnreachable`.

        An agent that says no more than Consul's (``Authorized``, ``Reason``) names no rule, and nothing was audited.
        """
        body = {"Target": self._service, "ClientCertURI": source.uri, "ClientCertSerial": source.serial}
        answer = _mapping(await self._client.post_json("/v1/agent/connect/authorize", body), "the decision")
        because, rule = (
            value if isinstance(value := answer.get(name), str) else "" for name in ("Reason", "IntentionID")
        )
        allowed = answer.get("Authorized") is True
        return Decision(allowed, because, rule, audited=allowed and answer.get("Audited") is True)

    async def decide_requests(self, source: Identity) -> Decision:
        """As ``decide``, with rules about requests where an intention has permissions; raises as ``decide`` does.

        An agent that explains nothing (Consul's, or one that forbids it) leaves it at the decision about connections,
        which is a denial where there are permissions.
        """
        decision = await self.decide(source)
        ends = ServiceName(source.service.service, source.service.namespace), ServiceName(self._service)
        query = {"source": str(ends[0]), "destination": str(ends[1])}
        try:
            answer = await self._client.get_json(EXPLAIN, query)
        except ApiError as error:
            if error.status not in _UNTOLD:
                raise
            _log.debug("requests of %s are decided about like connections: %s", source.uri, error)
            return decision
        return with_rules(decision, answer, *ends)

    async def changes(self) -> AsyncGenerator[None, None]:
        """One item at once, and one for each change of the service's intentions, of the roots and of revoked leafs."""
        about = [("by", "destination"), ("name", self._service)]
        followed = {"/v1/connect/intentions/match": about, _ROOTS: ()}
        async with contextlib.aclosing(_followed(self._client, followed)) as answers:
            async for _ in answers:
                yield


class AgentDiscovery:
    """:class:`~meshnode.runtime.proxy.interfaces.Discovery`: asked once, then followed and answered from memory.

    ``datacenter`` is the agent's own, for rows that name none. While the agent is away the last known answer holds.
    """

    def __init__(self, client: AgentClient, datacenter: str) -> None:
        self._client = client
        self._datacenter = datacenter
        self._trust_domain = ""
        self._roots: asyncio.Task[None] | None = None
        self._known: OrderedDict[tuple[str, str, str], Any] = OrderedDict()
        #: What the answers mean, until one of them or the trust domain is another.
        self._instances: dict[tuple[str, str, str], Sequence[Instance]] = {}
        self._watches: dict[tuple[str, str, str], asyncio.Task[None]] = {}
        self._routing = Routing(client)

    async def instances(self, upstream: Upstream) -> Sequence[Instance]:
        """Every instance of the destination, the failing ones too. Raises while the agent never answered.

        Raises :class:`~meshnode.client.routing.UnsupportedRoutingError` where config entries lead elsewhere.
        """
        if not self._trust_domain:
            roots = self._client.known(_ROOTS) or await self._client.get_json(_ROOTS)
            self._learn_trust_domain(roots)
            self._roots = self._roots or spawn(self._follow_roots(), name="client trust domain")
        key = (upstream.destination_type.value, upstream.destination, upstream.datacenter)
        if upstream.destination_type is DestinationType.SERVICE and (
            fault := await self._routing.fault(*key[1:])
        ):
            if key in self._known:
                # After an error the last list would be used on.
                return ()
            raise UnsupportedRoutingError(fault)
        if key not in self._known:
            answer = await self._client.get_json(*_question(key))
            self._learn(key, answer)
            if key not in self._watches:
                self._watches[key] = spawn(
                    self._follow(key), name=f"client instances of {upstream.destination}"
                )
            self._forget_oldest()
        self._known.move_to_end(key)
        found = self._instances.get(key)
        if found is None:
            found = self._instances[key] = self._interpret(key, self._known[key])
        return found

    async def close(self) -> None:
        """Follow nothing any more."""
        tasks = [*self._watches.values(), self._roots]
        self._watches.clear()
        self._known.clear()
        await cancel_and_wait(*tasks)
        await self._routing.close()

    def _interpret(self, key: tuple[str, str, str], answer: Any) -> Sequence[Instance]:
        kind, destination, datacenter = key
        where = datacenter or self._datacenter
        if kind == DestinationType.PREPARED_QUERY:
            return instances_of_query(answer, trust_domain=self._trust_domain, datacenter=where)
        return instances_of_service(answer, destination, trust_domain=self._trust_domain, datacenter=where)

    async def _follow(self, key: tuple[str, str, str]) -> None:
        path, query = _question(key)
        if key[0] == DestinationType.PREPARED_QUERY:
            answers = self._client.poll(path, query, QUERY_INTERVAL)
        else:
            answers = self._client.watch(path, query)
        async for answer in answers:
            try:
                self._learn(key, answer)
            except MeshError as error:
                _log.error("%s: %s; the last list stays", path, error)

    async def _follow_roots(self) -> None:
        async for answer in self._client.follow(_ROOTS):
            try:
                self._learn_trust_domain(answer)
            except MeshError as error:
                _log.error("%s", error)

    def _learn(self, key: tuple[str, str, str], answer: Any) -> None:
        self._instances[key] = self._interpret(key, answer)
        self._known[key] = answer

    def _learn_trust_domain(self, answer: Any) -> None:
        named = _field(answer, "TrustDomain", "the roots")
        if named != self._trust_domain:
            self._trust_domain = named
            self._instances.clear()

    def _forget_oldest(self) -> None:
        while len(self._known) > MAX_WATCHED:
            key, _ = self._known.popitem(last=False)
            self._instances.pop(key, None)
            self._routing.forget(*key[1:])
            if task := self._watches.pop(key, None):
                task.cancel()


async def _followed(
    client: AgentClient, paths: Mapping[str, Sequence[tuple[str, str]]]
) -> AsyncGenerator[Mapping[str, Any], None]:
    """The last answers by path, each time that one of them is new. A path that gives none keeps no other back."""
    latest: dict[str, Any] = {}
    changed = asyncio.Event()

    async def follow(path: str, query: Sequence[tuple[str, str]]) -> None:
        async for answer in client.follow(path, query):
            latest[path] = answer
            changed.set()

    tasks = [spawn(follow(path, query), name=f"client watch of {path}") for path, query in paths.items()]
    try:
        while True:
            await changed.wait()
            changed.clear()
            yield dict(latest)
    finally:
        await cancel_and_wait(*tasks)


def _question(key: tuple[str, str, str]) -> tuple[str, list[tuple[str, str]]]:
    kind, destination, datacenter = key
    query = [("dc", datacenter)] if datacenter else []
    name = path_segment(destination)
    if kind == DestinationType.PREPARED_QUERY:
        return f"/v1/query/{name}/execute", [*query, ("connect", "true")]
    # Failing instances are asked for too: "none of 3 is passing" says more than "there is none".
    return f"/v1/health/connect/{name}", query


def _material(leaf: Any, roots: Any) -> TlsMaterial:
    rows = _mapping(roots, "the roots").get("Roots")
    if not isinstance(rows, list) or not rows:
        raise MeshError("the agent trusts no root: is Connect enabled on the servers (connect.enabled)?")
    return TlsMaterial(
        _field(leaf, "CertPEM", "the leaf"),
        _field(leaf, "PrivateKeyPEM", "the leaf"),
        "".join(_field(row, "RootCert", "a root").rstrip() + "\n" for row in rows),
        tuple(row["Name"] for row in rows if isinstance(row.get("Name"), str)),
        _lowered(roots, "RevokedSerialNumbers"),
        _lowered(roots, "DistrustedRootIDs"),
    )


def _lowered(roots: Mapping[str, Any], name: str) -> frozenset[str]:
    # Agents of Consul's don't tell it.
    told = roots.get(name) or []
    if not isinstance(told, list) or not all(isinstance(text, str) for text in told):
        raise MeshError(f"the roots: {name} of the agent's answer is not a list of texts")
    return frozenset(text.lower() for text in told)


def _mapping(answer: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping):
        raise MeshError(f"{what}: the agent's answer is not an object")
    return answer


def _field(answer: Any, name: str, what: str) -> str:
    value = _mapping(answer, what).get(name)
    if not isinstance(value, str) or not value:
        raise MeshError(f"{what}: the agent's answer has no {name}")
    return value
