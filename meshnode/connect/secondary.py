"""The CA of a secondary datacenter: the primary's roots, and an intermediate of its own that signs the leaves.

A root is active here only when there is an intermediate of it: until then the last one signs, which the primary trusts
for as long as a node here uses it. For that, a secondary is one more node to the primary's rotation, see ``report_of``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from meshnode.connect.model import CaConfig, CaRoot, CaState, NodeTrust, RootKey

__all__ = ["Told", "datacenter_node", "followed", "is_datacenter", "report_of"]

_DATACENTER: Final = "datacenter "


@dataclass(frozen=True, slots=True)
class Told:
    """What the primary says of its CA; ``config`` has the cluster id that the trust domain is made of."""

    config: CaConfig
    active_id: str
    roots: tuple[CaRoot, ...]
    revoked: tuple[str, ...] = ()
    distrusted: tuple[str, ...] = ()


def datacenter_node(datacenter: str) -> str:
    """How a secondary is called where nodes are: no node has a blank in its name."""
    return f"{_DATACENTER}{datacenter}"


def is_datacenter(node: str) -> bool:
    """Whether a report of ``node`` is that of a secondary."""
    return node.startswith(_DATACENTER)


def followed(ca: CaState, told: Told, key: RootKey | None) -> CaState:
    """The state once ``told`` holds here and ``key`` signs; ``None``: nobody does yet.

    It equals ``ca`` when that says the same already.
    """
    signer = key.root_id if key is not None else ""
    known = {root.id: root for root in ca.roots}
    roots = []
    for root in told.roots:
        row = replace(root, active=root.id == signer, rotated_out_at=0.0)
        was = known.get(root.id)
        roots.append(
            replace(row, create_index=was.create_index, modify_index=was.modify_index) if was else row
        )
    config = told.config
    if ca.config is not None:
        indexes = ca.config.create_index, ca.config.modify_index
        config = replace(config, create_index=indexes[0], modify_index=indexes[1])
    keys = (key,) if key is not None else ()
    return CaState(config, tuple(roots), keys, distrusted=told.distrusted)


def report_of(
    datacenter: str, ca: CaState, trust: Sequence[NodeTrust], alive: Collection[str]
) -> NodeTrust | None:
    """What all nodes that are ``alive`` here trust, and what any node uses, or will use by what is signed now.

    ``None`` while there is nothing that all trust: a report of nothing would say that the datacenter has left.
    """
    up = [row.roots for row in trust if row.node.lower() in alive]
    trusted = {root.id for root in ca.roots}.intersection(*up)
    if not trusted:
        return None
    used = {root_id for row in trust for root_id in row.leaf_roots}
    used |= {key.root_id for key in ca.keys}
    return NodeTrust(datacenter_node(datacenter), tuple(sorted(trusted)), tuple(sorted(used)))
