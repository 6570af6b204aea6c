"""What the leader writes into the catalog about gossip's members, so that both say the same.

Source: Consul 1.2.3, agent/consul/leader.go: a member that is alive has its node and a passing ``serfHealth``, one that
failed a critical one, one that left or was forgotten has nothing; servers have the service ``consul`` on top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from meshnode.catalog.model import SERF_CHECK_ID, Node, Service, serf_check
from meshnode.catalog.store import Catalog, Registration
from meshnode.control.command import Command, Deregister, Register

__all__ = ["CONSUL_SERVICE", "MemberView", "reconcile", "reconcile_member"]

#: Name and id of the service that servers have.
CONSUL_SERVICE: Final = "consul"


@dataclass(frozen=True, slots=True)
class MemberView:
    """A member of the LAN pool. ``server_port`` is 0 for a client; ``left`` and ``alive`` both false: it failed."""

    name: str
    address: str
    node_id: str
    alive: bool
    left: bool
    server_port: int
    tagged_addresses: Mapping[str, str]


def reconcile(
    catalog: Catalog,
    members: Iterable[MemberView],
    own_name: str,
    datacenter: str,
    at: float,
    epoch: int,
    *,
    forget: Callable[[str], bool] = lambda _name: True,
) -> list[Command]:
    """The commands after which the catalog agrees with gossip; nodes that gossip never knew are left alone.

    A node whose agent is no member goes with its services if ``forget``, given its name in lower case, says so: a
    server that has just started has not heard of everybody.
    """
    known = {member.name.lower(): member for member in members}
    commands = [
        command
        for member in known.values()
        if (command := reconcile_member(catalog, member, own_name, datacenter, at, epoch)) is not None
    ]
    commands += [
        Deregister(row.node.name, "", "", at, epoch)
        for row in catalog.tables.rows()
        if SERF_CHECK_ID.lower() in row.checks
        and row.node.name.lower() not in known
        and forget(row.node.name.lower())
    ]
    return commands


def reconcile_member(
    catalog: Catalog, member: MemberView, own_name: str, datacenter: str, at: float, epoch: int
) -> Command | None:
    """The command for one member, or ``None`` when the catalog is right already. We never remove ourselves."""
    row = catalog.tables.nodes.get(member.name.lower())
    if member.left:
        if row is None or member.name == own_name:
            return None
        return Deregister(member.name, "", "", at, epoch)
    check = serf_check(member.name, alive=member.alive)
    node = Node(
        name=member.name,
        address=member.address,
        id=member.node_id,
        datacenter=datacenter,
        tagged_addresses=dict(member.tagged_addresses),
    )
    service = Service(CONSUL_SERVICE, CONSUL_SERVICE, port=member.server_port) if member.server_port else None
    if row is not None:
        kept = row.checks.get(SERF_CHECK_ID.lower())
        same_check = kept is not None and kept.status == check.status
        same_node = (row.node.address, row.node.id) == (node.address, node.id)
        known = row.services.get(CONSUL_SERVICE)
        same_service = service is None or (known is not None and known.port == service.port)
        if same_check and same_node and same_service:
            return None
        # The agent itself may have said more of its node (metadata, addresses): that stays.
        node = Node(
            name=row.node.name,
            address=node.address,
            id=node.id or row.node.id,
            datacenter=datacenter,
            tagged_addresses=row.node.tagged_addresses or node.tagged_addresses,
            meta=row.node.meta,
        )
    return Register(Registration(node, service, (check,)), at, epoch)
