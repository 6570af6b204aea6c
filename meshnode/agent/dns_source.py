"""What the DNS interface knows: a server's memory, or a server's answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from meshnode.acl.authorizer import Authorizer
from meshnode.agent.pool import Pool
from meshnode.base.duration import parse_duration
from meshnode.base.errors import ConfigError, MeshError
from meshnode.catalog import queries
from meshnode.catalog.model import Instance, Node
from meshnode.catalog.wire_parse import ReplyFields, parse_instance, parse_node, parse_service
from meshnode.control.body import NANOSECONDS
from meshnode.control.endpoints.sight import Sight
from meshnode.dns.effects import Effect, ExecuteQuery, Fetch, Fetched, QueryOutcome, UnknownDatacenterError
from meshnode.dns.view import (
    PENDING,
    AddressLookup,
    Lookup,
    NodeLookup,
    Owner,
    Pending,
    ServerName,
    ServiceLookup,
)

if TYPE_CHECKING:
    from meshnode.agent.server_role import ServerRole
    from meshnode.catalog.store import Catalog
    from meshnode.control.machine import StateMachine

__all__ = ["DnsSource", "ServerCall"]


class ServerCall(Protocol):
    """Asks a server of ``datacenter``, empty: of ours."""

    def __call__(self, method: str, body: Mapping[str, Any], datacenter: str) -> Awaitable[Any]:
        """The reply; raises :class:`MeshError`."""


class DnsSource:
    """A :class:`~meshnode.dns.view.DnsView`, and who performs its effects.

    ``token`` is what questions are asked with; ``allow_stale`` says whether a server that doesn't lead may answer.
    """

    def __init__(
        self,
        server: ServerRole | None,
        lan: Pool,
        call: ServerCall,
        *,
        datacenter: str,
        token: Callable[[], str],
        allow_stale: Callable[[], bool],
    ) -> None:
        self._server = server
        self._lan = lan
        self._call = call
        self._datacenter = datacenter
        self._token = token
        self._allow_stale = allow_stale

    # Memory

    def _memory(self, datacenter: str) -> StateMachine | None:
        server = self._server
        if server is None or server.state is None or datacenter != self._datacenter:
            return None
        if server.state.halted is not None or not (server.may_answer() or self._allow_stale()):
            return None
        return server.state.machine

    def _sight(self) -> Sight:
        assert self._server is not None
        assert self._server.state is not None
        return Sight(self._authorizer(self._server.state.authorizer))

    def _authorizer(self, authorizer_of: Callable[[str], Authorizer]) -> Authorizer:
        try:
            return authorizer_of(self._token())
        except MeshError:  # the agent's token is gone: what nobody in particular may see
            return authorizer_of("")

    def generation(self, lookup: Lookup) -> int:
        """See ``DnsView``. With access control answers are not kept: a token's rights may end by themselves."""
        here = self._datacenter if isinstance(lookup, AddressLookup) else lookup.datacenter
        machine = self._memory(here)
        if machine is None or (self._server is not None and self._server.acl_settings().enabled):
            return -1
        tables = machine.catalog.tables
        if isinstance(lookup, ServiceLookup):
            return (tables.connect_index if lookup.connect else tables.name_index).get(lookup.name, -1)
        if isinstance(lookup, NodeLookup):
            return tables.nodes_index
        return max(tables.nodes_index, tables.services_index)

    def node(self, lookup: NodeLookup) -> Node | Pending | None:
        """See ``DnsView``."""
        machine = self._memory(lookup.datacenter)
        if machine is None:
            return PENDING
        row = machine.catalog.tables.nodes.get(lookup.name)
        return row.node if row is not None and self._sight().node(row.node.name) else None

    def instances(self, lookup: ServiceLookup) -> Sequence[Instance] | Pending:
        """See ``DnsView``."""
        machine = self._memory(lookup.datacenter)
        if machine is None:
            return PENDING
        find = queries.connect_instances if lookup.connect else queries.service_instances
        return self._sight().instances(find(machine.catalog, lookup.name, tag=lookup.tag)[1])

    def owner(self, lookup: AddressLookup) -> Owner | Pending:
        """See ``DnsView``."""
        machine = self._memory(self._datacenter)
        return PENDING if machine is None else _owner(machine.catalog, lookup.address, self._sight())

    def servers(self) -> Sequence[ServerName]:
        """See ``DnsView``."""
        return [
            ServerName(server.name, server.rpc.host)
            for server in self._lan.servers
            if server.alive and server.datacenter == self._datacenter
        ]

    # A server

    async def perform(self, effect: Effect[Any]) -> Any:
        """Carry out what the core asks for. Raises :class:`MeshError`."""
        if isinstance(effect, Fetch):
            return await self._fetch(effect.lookup, allow_stale=effect.allow_stale)
        if isinstance(effect, ExecuteQuery):
            return await self._execute(effect)
        raise MeshError(f"this agent can't perform {type(effect).__name__}")

    async def _ask(self, method: str, body: Mapping[str, Any], datacenter: str) -> ReplyFields:
        try:
            reply = await self._call(method, {**body, "Token": self._token()}, datacenter)
        except MeshError as error:
            if "No path to datacenter" in str(error):
                raise UnknownDatacenterError(str(error)) from None
            raise
        return ReplyFields.of(reply)

    async def _fetch(self, lookup: Lookup, *, allow_stale: bool) -> Fetched[Any]:
        body: dict[str, Any] = {"AllowStale": allow_stale}
        if isinstance(lookup, ServiceLookup):
            body |= {"ServiceName": lookup.name, "ServiceTag": lookup.tag, "TagFilter": bool(lookup.tag)}
            body["Connect"] = lookup.connect
            reply = await self._ask("Health.ServiceNodes", body, lookup.datacenter)
            return Fetched([parse_instance(row) for row in reply.objects("Nodes")], _staleness(reply))
        if isinstance(lookup, NodeLookup):
            reply = await self._ask("Catalog.ListNodes", body, lookup.datacenter)
            named = (row for row in reply.objects("Nodes") if row.text("Node").lower() == lookup.name)
            return Fetched(next(map(parse_node, named), None), _staleness(reply))
        reply = await self._ask("Internal.NodeDump", body, self._datacenter)
        return Fetched(_dumped_owner(reply, lookup.address), _staleness(reply))

    async def _execute(self, effect: ExecuteQuery) -> QueryOutcome | None:
        body = {
            "QueryIDOrName": effect.name,
            "Limit": effect.limit,
            "AllowStale": True,
            "Source": {"Datacenter": self._datacenter, "Ip": effect.source},
        }
        try:
            reply = await self._ask("PreparedQuery.Execute", body, effect.datacenter)
        except MeshError as error:
            if "Query not found" in str(error):
                return None
            raise
        dns = reply.object("DNS")
        return QueryOutcome(
            [parse_instance(row) for row in reply.objects("Nodes")],
            reply.text("Datacenter"),
            reply.text("Service"),
            _seconds(dns.text("TTL")) if dns is not None else None,
        )


def _seconds(ttl: str) -> float | None:
    try:
        return parse_duration(ttl) if ttl else None
    except ConfigError:
        return None


def _staleness(reply: ReplyFields) -> float:
    contact = reply.value("LastContact")
    return contact / NANOSECONDS if isinstance(contact, int) else 0.0


def _owner(catalog: Catalog, address: str, sight: Sight) -> Owner:
    for row in catalog.tables.rows():
        if row.node.address == address and sight.node(row.node.name):
            return row.node
    for row in catalog.tables.rows():
        for service in row.services.values():
            if service.address == address:
                return next(iter(sight.instances([Instance(row.node, service)])), None)
    return None


def _dumped_owner(reply: ReplyFields, address: str) -> Owner:
    dump = reply.objects("Dump")
    for row in dump:
        if row.text("Address") == address:
            return parse_node(row)
    for row in dump:
        for service in row.objects("Services"):
            if service.text("Address") == address:
                return Instance(parse_node(row), parse_service(service))
    return None
