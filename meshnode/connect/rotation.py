"""From one root to the next, so that at no moment two services can't verify each other. Pure; the leader drives it.

===============  =========================================================  =====================================
phase            what is true in it                                         it ends when
===============  =========================================================  =====================================
``distribute``   the new root is among those trusted, and signs nothing     at once: whoever asks gets both
``acknowledge``  nodes report that they trust it                            every node that is alive has
``switch``       the new root signs; its certificate that the old one       at once
                 signed goes with each leaf
``reissue``      nodes ask for new leaves; the old root is trusted still    no node has an old leaf, or they have
                                                                            all expired
``retire``       the old root is dropped                                    at once: the rotation is over
===============  =========================================================  =====================================

Who is down is not waited for before the switch: it trusts the old root, which signed the new one. A rotation that is
forced switches without waiting. Before the switch it can be given up; after it the way back is another rotation.
Where the old root's key is in the wrong hands it is distrusted: it is dropped at once, whoever has a leaf of it, and
proxies cut what they have open with a leaf of it. A root that is retired ends nothing.

A pause keeps it in its phase: before the switch the new root signs nothing, after it the old one stays trusted. Agents
go on by themselves with what the phase asks of them: they take over roots, and renew leaves of an old one.

When the root that signs has expired nothing works that could be kept: no leaf of it verifies anywhere, and none can be
signed. Nobody is waited for then, no pause holds the switch, and the old root is dropped with it. A new root that has
expired before it signs is given up.

What is waited for is a *report*. A node that holds leaves and never reports, such as an agent of Consul in the same
pool, is covered by the time limit alone, so the old root stays for that long when there is no report at all.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from meshnode.base.errors import LocalProtocolError
from meshnode.connect.model import (
    DEFAULT_LEAF_TTL,
    CaConfig,
    CaRoot,
    CaState,
    NodeTrust,
    RootKey,
    Rotation,
    time_text,
)

__all__ = [
    "MAX_DISTRUSTED",
    "Phase",
    "Progress",
    "abort",
    "advance",
    "begin",
    "distrust",
    "has_switched",
    "is_root_due",
    "look",
    "next_look",
    "pause",
    "plan",
    "require_settled",
    "retires_by",
]

#: A root that was replaced is trusted for this many lifetimes of a leaf at most (Consul's figure).
RETIRE_LIFETIMES: Final = 2.0
#: A root is replaced when this part of its life is left, or ``RENEW_LIFETIMES`` of a leaf's life if that is more.
RENEW_FRACTION: Final = 0.1
RENEW_LIFETIMES: Final = 4.0
#: Roots that are remembered as distrusted.
MAX_DISTRUSTED: Final = 32
#: But never in the first half of its life, whatever the leaves' lifetime is.
MAX_RENEW_FRACTION: Final = 0.5


class Phase(StrEnum):
    """Where a rotation is."""

    DISTRIBUTE = "distribute"
    ACKNOWLEDGE = "acknowledge"
    SWITCH = "switch"
    REISSUE = "reissue"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class Progress:
    """The state after all that can be done now; ``phase`` is empty when no rotation is left.

    ``done`` of ``total`` nodes have done what is waited for, ``missing`` have not; ``because`` is a sentence.
    """

    ca: CaState
    phase: str
    because: str
    done: int = 0
    total: int = 0
    missing: tuple[str, ...] = ()


def require_settled(ca: CaState) -> CaRoot:
    """The root that can be replaced now. Raises :class:`LocalProtocolError`, as :func:`begin` does."""
    if ca.active is None:
        raise LocalProtocolError("there is no Connect root yet, so there is nothing to rotate")
    if ca.rotation is not None and ca.rotation.phase != Phase.REISSUE:
        raise LocalProtocolError(
            f"a rotation is in phase {ca.rotation.phase}: let it go on, or give it up, before the next one"
        )
    return ca.active


def begin(
    ca: CaState,
    root: CaRoot,
    key: RootKey,
    at: float,
    *,
    forced: bool = False,
    paused: bool = False,
    before: CaConfig | None = None,
) -> CaState:
    """Start to replace the active root by ``root``; ``forced``: switch without waiting for anybody.

    ``paused``: nodes learn the new root, and nothing more happens before it is let go on. ``before`` are the settings
    to go back to when it is given up, if ``ca`` has others by now.

    Raises :class:`LocalProtocolError` when another rotation hasn't switched yet, or there is nothing to replace.
    """
    old = require_settled(ca)
    if root.id == old.id:
        raise LocalProtocolError(f"{root.name} is the active root already")
    kept = tuple(known for known in ca.roots if known.id != root.id)
    return replace(
        ca,
        roots=(*kept, replace(root, active=False, rotated_out_at=0.0)),
        keys=(*(kept for kept in ca.keys if kept.root_id == old.id), key),
        # Who takes a root back has found that its key is where it belongs.
        distrusted=tuple(gone for gone in ca.distrusted if gone != root.id),
        rotation=Rotation(old.id, root.id, Phase.DISTRIBUTE, at, at, paused, forced, before),
    )


def pause(ca: CaState, *, paused: bool) -> CaState:
    """Stop the rotation where it is, or let it go on. Raises :class:`LocalProtocolError` when there is none."""
    return replace(ca, rotation=replace(_running(ca), paused=paused))


def abort(ca: CaState) -> CaState:
    """Give the rotation up, with the new root. Raises :class:`LocalProtocolError` when it has switched already."""
    rotation = _running(ca)
    if has_switched(rotation):
        raise LocalProtocolError("the new root signs already: to go back, rotate to another one")
    return replace(
        ca,
        config=rotation.before or ca.config,
        roots=tuple(root for root in ca.roots if root.id != rotation.new),
        keys=tuple(key for key in ca.keys if key.root_id != rotation.new),
        rotation=None,
    )


def distrust(ca: CaState, at: float) -> CaState:
    """Drop every root but the new one, which signs from now on, paused or not: this ends the rotation.

    Leaves of the others verify nowhere once nodes know of it, and what is open by them is cut: for that the ids of the
    last ``MAX_DISTRUSTED`` that went so are remembered. Raises :class:`LocalProtocolError` when none is running.
    """
    rotation = _running(ca)
    if not has_switched(rotation):
        ca = _switched(ca, rotation, at)
    roots = tuple(root for root in ca.roots if not root.rotated_out_at)
    gone = tuple(root.id for root in ca.roots if root.rotated_out_at and root.id not in ca.distrusted)
    distrusted = (*ca.distrusted, *gone)[-MAX_DISTRUSTED:]
    return replace(ca, roots=roots, rotation=None, distrusted=distrusted)


def advance(ca: CaState, trust: Sequence[NodeTrust], alive: Collection[str], at: float) -> Progress:
    """Go as far as it goes now. ``trust``: what nodes reported; ``alive``: names, in lower case, of nodes that are up.

    With the same arguments it gives the same result, and applied to its own result it changes nothing.
    """
    while True:
        rotation = ca.rotation
        if rotation is None:
            return Progress(ca, "", "no rotation is running")
        if given_up := _hopeless(ca, at):
            return Progress(abort(ca), "", given_up)
        if rotation.paused and _holds_switch(ca, at):
            return look(ca, trust, alive)
        match rotation.phase:
            case Phase.DISTRIBUTE:
                ca = _enter(ca, Phase.ACKNOWLEDGE, at)
            case Phase.ACKNOWLEDGE:
                progress, new = _acknowledged(ca, trust, alive), ca.root(rotation.new)
                if new is not None and not new.is_valid(at):
                    return replace(progress, because=f"the new root begins at {time_text(new.not_before)}")
                # Whoever verifies by a root that is not valid verifies nobody.
                works = ca.active is not None and ca.active.is_valid(at)
                if progress.missing and works and not rotation.forced:
                    return progress
                ca = _enter(ca, Phase.SWITCH, at)
            case Phase.SWITCH:
                ca = _enter(pause(_switched(ca, rotation, at), paused=False), Phase.REISSUE, at)
            case Phase.REISSUE:
                ca = _without_retired(ca, trust, at)
                if any(root.rotated_out_at for root in ca.roots):
                    return _reissued(ca, trust)
                ca = _enter(ca, Phase.RETIRE, at)
            case _:
                ca = replace(ca, rotation=None)


def look(ca: CaState, trust: Sequence[NodeTrust], alive: Collection[str]) -> Progress:
    """How far the rotation is, without a step of it; the arguments are those of :func:`advance`."""
    rotation = ca.rotation
    if rotation is None:
        return Progress(ca, "", "no rotation is running")
    progress = _reissued(ca, trust) if has_switched(rotation) else _acknowledged(ca, trust, alive)
    because = f"paused: {progress.because}" if rotation.paused else progress.because
    return replace(progress, phase=rotation.phase, because=because)


def retires_by(ca: CaState) -> float:
    """When the last root that was replaced goes in any case; 0 while there is none."""
    return max((_ends(ca, root) for root in ca.roots if root.rotated_out_at), default=0.0)


def plan(
    ca: CaState, root: CaRoot, trust: Sequence[NodeTrust], alive: Collection[str], at: float
) -> tuple[str, ...]:
    """What a rotation to ``root`` would do now, a sentence a phase. Raises what :func:`begin` raises."""
    started = begin(ca, root, RootKey(root.id), 0.0)
    old = ca.active
    assert old is not None
    up = [row.node for row in trust if row.node.lower() in alive]
    down = [row.node for row in trust if row.node.lower() not in alive]
    ttl = started.config.leaf_cert_ttl if started.config is not None else DEFAULT_LEAF_TTL
    signed = "signed by the old root too" if root.intermediates else "NOT signed by the old root"
    waits = f"acknowledge: {len(up)} nodes are waited for{_names(up)}; {len(down)} are down{_names(down)}"
    retires = f"when they have, after {RETIRE_LIFETIMES * ttl:g} seconds at the latest"
    if old.is_over(at):
        waits = f"acknowledge: nobody is waited for, as {old.name} ended at {time_text(old.not_after)}"
        retires = "at once"
    return (
        f"distribute: {root.name} is added to the trusted roots, {signed}",
        waits,
        f"switch: {root.name} signs in place of {old.name}",
        f"reissue: {sum(bool(row.leaf_roots) for row in trust)} nodes ask for new leaves",
        f"retire: {old.name} is dropped {retires}",
    )


def is_root_due(ca: CaState, at: float) -> bool:
    """Whether the active root should be replaced because its end is near, or past.

    Past it, another rotation may begin although nodes replace the leaves of the one before still.
    """
    root, due_at = ca.active, _due_at(ca)
    if root is None or due_at is None:
        return False
    if ca.rotation is not None:
        return ca.rotation.phase == Phase.REISSUE and root.is_over(at)
    return at >= due_at


def next_look(ca: CaState, at: float) -> float:
    """Seconds from ``at`` until time alone changes what is to be done: a root comes due, or ends; else infinity."""
    instants = {root.not_after for root in ca.roots}
    if (due_at := _due_at(ca)) is not None:
        instants.add(due_at)
    return min((each - at for each in instants if each > at), default=math.inf)


def _due_at(ca: CaState) -> float | None:
    root = ca.active
    if root is None or ca.config is None:
        return None
    life = root.not_after - root.not_before
    wanted = max(life * RENEW_FRACTION, ca.config.leaf_cert_ttl * RENEW_LIFETIMES)
    return root.not_after - min(wanted, life * MAX_RENEW_FRACTION)


def has_switched(rotation: Rotation) -> bool:
    """Whether the new root signs already."""
    return rotation.phase not in (Phase.DISTRIBUTE, Phase.ACKNOWLEDGE, Phase.SWITCH)


def _holds_switch(ca: CaState, at: float) -> bool:
    """Whether a pause is to be kept: what it keeps before the switch is the old root, which may be over."""
    return has_switched(_running(ca)) or ca.active is None or not ca.active.is_over(at)


def _hopeless(ca: CaState, at: float) -> str:
    """Why the new root can't take the place of the old one; empty when it can."""
    rotation = _running(ca)
    new = ca.root(rotation.new)
    if has_switched(rotation) or new is None:
        return ""
    if new.is_over(at):
        return (
            f"the new root {new.name} ended at {time_text(new.not_after)}, before it signed: it was given up"
        )
    if not new.is_valid(at) and ca.active is not None and ca.active.is_over(at):
        return f"the new root {new.name} begins at {time_text(new.not_before)}, after the end of the old one: given up"
    return ""


def _running(ca: CaState) -> Rotation:
    if ca.rotation is None:
        raise LocalProtocolError("no rotation is running")
    return ca.rotation


def _enter(ca: CaState, phase: Phase, at: float) -> CaState:
    return replace(ca, rotation=replace(_running(ca), phase=phase.value, since=at))


def _acknowledged(ca: CaState, trust: Sequence[NodeTrust], alive: Collection[str]) -> Progress:
    rotation = _running(ca)
    new = ca.root(rotation.new)
    # Without a certificate by the old root, a node that is down can't be left behind.
    waited = [
        row for row in trust if row.node.lower() in alive or (new is not None and not new.intermediates)
    ]
    missing = tuple(row.node for row in waited if rotation.new not in row.roots)
    done = len(waited) - len(missing)
    because = f"{done} of {len(waited)} nodes trust the new root{_names(missing, ', waiting for ')}"
    return Progress(ca, Phase.ACKNOWLEDGE, because, done, len(waited), missing)


def _switched(ca: CaState, rotation: Rotation, at: float) -> CaState:
    roots = []
    for root in ca.roots:
        if root.id == rotation.new:
            roots.append(replace(root, active=True, rotated_out_at=0.0))
        elif root.active:
            roots.append(replace(root, active=False, rotated_out_at=at))
        else:
            roots.append(root)
    # The old key has done what it is for: what is not there can't be stolen.
    keys = tuple(key for key in ca.keys if key.root_id == rotation.new)
    return replace(ca, roots=tuple(roots), keys=keys)


def _without_retired(ca: CaState, trust: Sequence[NodeTrust], at: float) -> CaState:
    in_use = {root_id for row in trust for root_id in row.leaf_roots}
    active = ca.active
    # Whoever trusts only the old root could not verify a leaf without the certificate that goes with it.
    behind = any(active is not None and active.id not in row.roots for row in trust)

    def is_over(root: CaRoot) -> bool:
        if not root.rotated_out_at:
            return False
        if at >= _ends(ca, root):
            return True
        return bool(trust) and root.id not in in_use and not behind

    return replace(ca, roots=tuple(root for root in ca.roots if not is_over(root)))


def _ends(ca: CaState, root: CaRoot) -> float:
    """When a root that was replaced is dropped, whoever uses it still."""
    ttl = ca.config.leaf_cert_ttl if ca.config is not None else DEFAULT_LEAF_TTL
    return min(root.not_after, root.rotated_out_at + RETIRE_LIFETIMES * ttl)


def _reissued(ca: CaState, trust: Sequence[NodeTrust]) -> Progress:
    old = {root.id for root in ca.roots if root.rotated_out_at}
    missing = tuple(row.node for row in trust if old.intersection(row.leaf_roots))
    done = len(trust) - len(missing)
    because = f"{done} of {len(trust)} nodes have no leaf of an old root{_names(missing, ', waiting for ')}"
    return Progress(ca, Phase.REISSUE, because, done, len(trust), missing)


def _names(names: Sequence[str], before: str = ": ") -> str:
    shown = ", ".join(names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{before}{shown}{more}" if names else ""
