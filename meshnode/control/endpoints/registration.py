"""``Catalog.Register`` and ``Catalog.Deregister``: who may ask for them.

Source: Consul 1.2.3, agent/consul/acl.go.
"""

from __future__ import annotations

from dataclasses import replace

from meshnode.acl.authorizer import Access, Authorizer, Resource, require
from meshnode.base.json_fields import JsonFields
from meshnode.catalog import wire_parse
from meshnode.catalog.model import Check, Node, Service
from meshnode.catalog.store import Registration
from meshnode.catalog.tables import NodeRow, Tables
from meshnode.control.body import Body
from meshnode.rpc.method import RpcError

__all__ = [
    "BodyFields",
    "parse_registration",
    "require_node",
    "vet_deregistration",
    "vet_registration",
]


class BodyFields(JsonFields):
    """An object in the body of a call: what can't be read is the caller's :class:`RpcError`."""

    __slots__ = ()

    def error(self, message: str) -> Exception:
        """The sentence that the caller gets."""
        return RpcError(message)


def parse_registration(body: Body) -> Registration:
    """A ``RegisterRequest``. Raises :class:`RpcError`."""
    return wire_parse.parse_registration(BodyFields(body))


def require_node(
    tables: Tables, authorizer: Authorizer, resource: Resource, name: str, access: Access
) -> None:
    """As ``require`` for a node or its sessions, by the name that is asked for and by the one that is registered.

    The catalog ignores case and rules don't: a rule on ``n1`` must hold for who writes ``N1`` as well.
    """
    if authorizer.unrestricted:
        return
    require(authorizer, resource, name, access)
    row = tables.nodes.get(name.lower())
    if row is not None and row.node.name != name:
        require(authorizer, resource, row.node.name, access)


def vet_registration(tables: Tables, wanted: Registration, authorizer: Authorizer) -> None:
    """Raise ``PermissionDeniedError`` unless all that ``wanted`` would change may be written.

    node:write for a node that is new or changes, and for its checks; service:write for the service, for the one that it
    replaces, and for those whose checks are registered. Beyond Consul, a node that takes over the id of another one,
    which then goes, needs node:write of both. Raises :class:`RpcError` for a check that can't be placed.
    """
    if authorizer.unrestricted:
        return
    node, service = wanted.node, wanted.service
    row = tables.nodes.get(node.name.lower())
    if row is None or (not wanted.skip_node_update and _changes(node, row)):
        require_node(tables, authorizer, Resource.NODE, node.name, Access.WRITE)
        taken = tables.node_ids.get(node.id.lower())
        if taken is not None and taken != node.name.lower():
            require(authorizer, Resource.NODE, tables.nodes[taken].node.name, Access.WRITE)
    if service is not None:
        require(authorizer, Resource.SERVICE, service.name, Access.WRITE)
        replaced = row.services.get(service.id.lower()) if row is not None else None
        if replaced is not None:
            require(authorizer, Resource.SERVICE, replaced.name, Access.WRITE)
    for check in wanted.checks:
        _vet_check(node, service, row, check, authorizer)


def _changes(node: Node, row: NodeRow) -> bool:
    return not row.node.same_as(replace(node, id=node.id or row.node.id))


def _vet_check(
    node: Node, service: Service | None, row: NodeRow | None, check: Check, authorizer: Authorizer
) -> None:
    if check.node.lower() != node.name.lower():
        raise RpcError(
            f"Node '{check.node}' for check '{check.check_id}' doesn't match register request node '{node.name}'"
        )
    replaced = row.checks.get(check.check_id.lower()) if row is not None else None
    if replaced is not None and replaced.service_id.lower() != check.service_id.lower():
        _vet_owner(replaced, authorizer)
    if not check.service_id:
        name = row.node.name if row is not None else node.name
        require(authorizer, Resource.NODE, name, Access.WRITE)
    elif service is None or service.id.lower() != check.service_id.lower():
        owner = row.services.get(check.service_id.lower()) if row is not None else None
        if owner is None:
            raise RpcError(f"Unknown service '{check.service_id}' for check '{check.check_id}'")
        require(authorizer, Resource.SERVICE, owner.name, Access.WRITE)


def vet_deregistration(
    tables: Tables, node: str, service_id: str, check_id: str, authorizer: Authorizer
) -> None:
    """Raise ``PermissionDeniedError`` unless the service, the check or the node may be removed.

    Who may write a node may remove what is on it; else it takes service:write. Raises :class:`RpcError` for a service
    or check that isn't there, as Consul does, since nobody can say who may remove it.
    """
    row = tables.nodes.get(node.lower())
    spellings = {node, row.node.name} if row is not None else {node}
    if all(authorizer.decide(Resource.NODE, name, Access.WRITE).allowed for name in spellings):
        return
    if service_id:
        service = row.services.get(service_id.lower()) if row is not None else None
        if service is None:
            raise RpcError(f"Unknown service '{service_id}'")
        require(authorizer, Resource.SERVICE, service.name, Access.WRITE)
    elif check_id:
        check = row.checks.get(check_id.lower()) if row is not None else None
        if check is None:
            raise RpcError(f"Unknown check '{check_id}'")
        _vet_owner(check, authorizer)
    else:
        require_node(tables, authorizer, Resource.NODE, node, Access.WRITE)


def _vet_owner(check: Check, authorizer: Authorizer) -> None:
    if check.service_name:
        require(authorizer, Resource.SERVICE, check.service_name, Access.WRITE)
    else:
        require(authorizer, Resource.NODE, check.node, Access.WRITE)
