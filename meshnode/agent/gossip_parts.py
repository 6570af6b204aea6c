"""A gossip pool's shell, put together from its plan."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable

from meshnode.agent.plan import GossipPlan
from meshnode.base.address import Address
from meshnode.gossip.serf.serf import Serf
from meshnode.runtime.gossip_shell import GossipShell
from meshnode.runtime.keyring_file import open_keyring

__all__ = ["first_key", "gossip_shell"]


def gossip_shell(plan: GossipPlan, on_event: Callable[[object], None]) -> GossipShell:
    """The shell that carries out ``plan``; it starts later."""

    def make(address: Address) -> Serf:
        return Serf(
            name=plan.name,
            address=address,
            tags=plan.tags,
            config=plan.serf,
            keyring=open_keyring(plan.keyring_path, first_key(plan)),
            rng=random.Random(secrets.randbits(64)),
            entropy=secrets.token_bytes,
            refuse_member=plan.refuse_member,
        )

    return GossipShell(
        make,
        plan.bind,
        advertise=plan.advertise,
        keyring_path=plan.keyring_path,
        snapshot_path=plan.snapshot_path,
        on_event=on_event,
        logger=logging.getLogger("meshnode.serf.wan" if plan.wan else "meshnode.serf.lan"),
    )


def first_key(plan: GossipPlan) -> bytes | None:
    """``encrypt`` is the LAN's. The WAN's begins with it, unless a keyring is there, which datacenters share."""
    if plan.wan and plan.keyring_path is not None and plan.keyring_path.exists():
        return None
    return plan.encrypt
