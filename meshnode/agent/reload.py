"""What a reload puts in force: of a new configuration the reloadable keys, of the old one everything else."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from meshnode.agent.config.model import AgentConfig

__all__ = ["reloaded"]


def reloaded(old: AgentConfig, new: AgentConfig, gossip_keys: Collection[bytes] = ()) -> AgentConfig:
    """The configuration that an agent started with ``old`` runs with after it has read ``new``.

    ``gossip_keys`` are those of its keyring: ``encrypt`` names one of them, and a start with it gives the same ring.
    """
    return replace(
        old,
        identity=replace(old.identity, node_meta=new.identity.node_meta),
        gossip=replace(
            old.gossip,
            encrypt=new.gossip.encrypt if new.gossip.encrypt in gossip_keys else old.gossip.encrypt,
            verify_incoming=new.gossip.verify_incoming,
            verify_outgoing=new.gossip.verify_outgoing,
        ),
        tls=replace(new.tls, server_name=old.tls.server_name),
        http=replace(new.http, ui=old.http.ui),
        local=replace(
            old.local,
            services=new.local.services,
            checks=new.local.checks,
            watches=new.local.watches,
            discard_check_output=new.local.discard_check_output,
        ),
        acls=replace(
            old.acls,
            master_token=new.acls.master_token,
            agent_master_token=new.acls.agent_master_token,
            agent_token=new.acls.agent_token,
            default_token=new.acls.default_token,
        ),
        limits=replace(new.limits, rpc_hold_timeout=old.limits.rpc_hold_timeout),
        logging=replace(old.logging, level=new.logging.level),
        telemetry=replace(old.telemetry, prefix_filter=new.telemetry.prefix_filter),
    )
