"""``ConnectCA.*`` where the state is enough: roots, settings, the rotation; what nodes report, and revoked leaves.

Signing needs a key, a clock and entropy: ``agent/connect_ca`` has those methods. Source: Consul 1.2.3, ``structs``;
``Rotation``, ``Report``, ``Reported`` and ``Revoke`` are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, Resource, require
from meshnode.catalog.model import CRITICAL, SERF_CHECK_ID, Check
from meshnode.connect import rotation
from meshnode.connect.model import CaConfig, CaRoot, NodeTrust, Revoked, time_text
from meshnode.connect.secondary import is_datacenter
from meshnode.connect.settings import shown_settings
from meshnode.connect.store import CONNECT_CONFIG, CONNECT_ROOTS, CONNECT_TRUST
from meshnode.control.body import Body, text, texts
from meshnode.control.command import Command, ConnectReport, ConnectRevoke
from meshnode.control.machine import Result, StateMachine
from meshnode.control.method import Method, Moment, ReadMethod, WriteMethod, accepted
from meshnode.control.watch import WatchKey, check_state
from meshnode.rpc.method import RpcError

__all__ = ["METHODS", "NOT_ENABLED", "config_of", "root_fields"]

#: Consul's sentence.
NOT_ENABLED: Final = "Connect must be enabled in order to use this endpoint"
#: Roots that a node may report: far more than ever are trusted at once.
MAX_REPORTED: Final = 32


def root_fields(root: CaRoot) -> dict[str, Any]:
    """A root as Consul's ``CARoot``."""
    return {
        "ID": root.id,
        "Name": root.name,
        "SerialNumber": root.serial_number,
        "SigningKeyID": root.signing_key_id,
        "NotBefore": time_text(root.not_before),
        "NotAfter": time_text(root.not_after),
        "RootCert": root.root_cert,
        # A Go list without elements that was never made is null.
        "IntermediateCerts": list(root.intermediates) or None,
        "Active": root.active,
        "CreateIndex": root.create_index,
        "ModifyIndex": root.modify_index,
    }


def config_of(state: StateMachine) -> CaConfig:
    """The settings of the CA. Raises :class:`RpcError` when there is no CA."""
    config = state.connect.ca.config
    if config is None:
        raise RpcError(NOT_ENABLED)
    return config


def _roots(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    """Roots are no secret: whoever opens a connection is shown certificates that they signed."""
    del body, authorizer
    config, store = config_of(state), state.connect
    active = store.ca.active
    return store.roots_index, {
        "ActiveRootID": active.id if active is not None else "",
        "TrustDomain": config.trust_domain,
        "Roots": [root_fields(root) for root in store.ca.roots],
        "Revoked": [row.serial for row in store.revoked()],
        "Distrusted": list(store.ca.distrusted),
    }


def _configuration(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    del body
    require(authorizer, Resource.OPERATOR, "", Access.READ)
    config = config_of(state)
    return config.modify_index, {
        "Provider": config.provider,
        "Config": shown_settings(config),
        "CreateIndex": config.create_index,
        "ModifyIndex": config.modify_index,
    }


def _rotation(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    """``Phase`` is empty while none is running; ``Nodes`` says for each node what it trusts and what it uses.

    ``Done`` of ``Total`` nodes have done what the phase waits for, ``Waiting`` have not, and ``Status`` says it in a
    sentence. Whether a node is alive is what the catalog says, which follows the leader's view by a moment.
    """
    del body
    require(authorizer, Resource.OPERATOR, "", Access.READ)
    config_of(state)
    store = state.connect
    running, trust = store.ca.rotation, store.trust()
    health = {row.node: _serf_check(state, row.node) for row in trust}
    alive = {node.lower() for node, check in health.items() if is_datacenter(node) or _is_up(check)}
    progress, active = rotation.look(store.ca, trust, alive), store.ca.active
    moved = (check.modify_index for check in health.values() if check is not None)
    retires = rotation.retires_by(store.ca) if running is not None else 0.0
    return max(store.index, store.trust_index, *moved), {
        "Phase": progress.phase,
        "Paused": running is not None and running.paused,
        "Forced": running is not None and running.forced,
        "Status": progress.because,
        "Done": progress.done,
        "Total": progress.total,
        "Waiting": list(progress.missing),
        "OldRootID": running.old if running is not None else "",
        "NewRootID": running.new if running is not None else "",
        "Started": time_text(running.started) if running is not None else "",
        "Since": time_text(running.since) if running is not None else "",
        "RetiresBy": time_text(retires) if retires else "",
        "ActiveRoot": active.name if active is not None else "",
        "ActiveRootEnds": time_text(active.not_after) if active is not None else "",
        "Nodes": [
            {
                "Node": row.node,
                "Alive": row.node.lower() in alive,
                "Roots": list(row.roots),
                "LeafRoots": list(row.leaf_roots),
            }
            for row in trust
        ],
    }


def _serf_check(state: StateMachine, node: str) -> Check | None:
    row = state.catalog.tables.nodes.get(node.lower())
    return row.checks.get(SERF_CHECK_ID.lower()) if row is not None else None


def _is_up(check: Check | None) -> bool:
    return check is not None and check.status != CRITICAL


def _report(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    """``Node`` trusts ``Roots`` and has leaves of ``LeafRoots``."""
    del moment
    config_of(state)
    node, roots, leaves = text(body, "Node"), texts(body, "Roots"), texts(body, "LeafRoots")
    if not node:
        raise RpcError("Must provide Node")
    require(authorizer, Resource.NODE, node, Access.WRITE)
    if len(roots) > MAX_REPORTED or len(leaves) > MAX_REPORTED:
        raise RpcError(f"a node reports at most {MAX_REPORTED} roots")
    return ConnectReport(NodeTrust(node, tuple(sorted(roots)), tuple(sorted(leaves))))


def _reported(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    """Whether ``Node`` has reported, so that rotations wait for it. That is no secret, with or without Connect."""
    del authorizer
    node = text(body, "Node").lower()
    known = any(row.node.lower() == node for row in state.connect.trust())
    return state.connect.trust_index, {"Reported": known}


def _revoke(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    """The leaf with ``SerialNumber`` is trusted no more; it is remembered for as long as a leaf may live."""
    require(authorizer, Resource.OPERATOR, "", Access.WRITE)
    serial, ttl = text(body, "SerialNumber").lower(), config_of(state).leaf_cert_ttl
    if not serial or len(serial) > 64 or not set(serial) <= set("0123456789abcdef:"):
        raise RpcError("SerialNumber must be that of a leaf, as in 1f:8b:02")
    return ConnectRevoke(Revoked(serial, moment.at + ttl, text(body, "Reason")[:512], moment.at))


def _done(state: StateMachine, result: Result) -> bool:
    del state
    return bool(accepted(result))


def _on_roots(body: Body) -> tuple[WatchKey, ...]:
    del body
    return (CONNECT_ROOTS,)


def _on_config(body: Body) -> tuple[WatchKey, ...]:
    del body
    return (CONNECT_CONFIG,)


def _on_trust(body: Body) -> tuple[WatchKey, ...]:
    del body
    # A node that goes down is waited for no longer.
    return CONNECT_TRUST, check_state(CRITICAL)


METHODS: Final[Mapping[str, Method]] = {
    "ConnectCA.Roots": ReadMethod(_on_roots, _roots),
    "ConnectCA.ConfigurationGet": ReadMethod(_on_config, _configuration),
    "ConnectCA.Rotation": ReadMethod(_on_trust, _rotation),
    "ConnectCA.Report": WriteMethod(_report, _done),
    "ConnectCA.Reported": ReadMethod(_on_trust, _reported),
    "ConnectCA.Revoke": WriteMethod(_revoke, _done),
}
