# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watchers saw, held against what was done to the mesh: pure.

An outage is a time in which one watcher got no good answer. It is explained by a fault when it begins with it and ends
soon enough after the healing. What a fault elsewhere does is bounded by itself, however long that fault lasts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._chaos import ChaosError

#: What each watcher is about, in the order of the table.
SUBJECTS = ("writes", "pair", "agent", "members")
#: Seconds by which a failed request may have begun before the fault that it met.
MAX_REQUEST_SECONDS = 16.0
#: Broken invariants that are told word for word; all are counted.
MAX_TOLD = 20


@dataclass(frozen=True)
class Window:
    """One fault as it was carried out; times are seconds since the epoch."""

    fault: str
    node: str
    service: str
    began: float
    ended: float

    def __str__(self) -> str:
        return f"{self.fault} of {self.service} on {self.node}"


@dataclass(frozen=True)
class Outage:
    """``watcher`` on ``node``; ``nodes`` are those whose own fault may stop it for as long as that lasts."""

    subject: str
    watcher: str
    node: str
    nodes: frozenset[str]
    began: float
    ended: float
    why: str

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    def __str__(self) -> str:
        return f"{self.node} {self.watcher}: no good answer for {self.seconds:.1f} s ({self.why})"


def windows(faults: Sequence[Mapping[str, Any]]) -> list[Window]:
    """Of what the module mesh_fault returned."""
    try:
        return [
            Window(
                str(one["fault"]),
                str(one["node"]),
                str(one["service"]),
                float(one["began"]),
                float(one["ended"]),
            )
            for one in faults
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ChaosError(f"faults: {error!r}: give what mesh_fault returned, and the node of each") from None


def explain(
    outage: Outage, faults: Sequence[Window], bounds: Mapping[str, float]
) -> tuple[Window | None, str]:
    """The fault that ``outage`` belongs to, and what bound it breaks; an empty text when it breaks none."""
    bound = bounds[outage.subject]
    met = [
        each
        for each in faults
        if each.began - MAX_REQUEST_SECONDS <= outage.began <= each.ended + bound
        and outage.ended >= each.began
    ]
    # One of its own, if there is one; of several the last, since an outage may go on from one fault into the next.
    near = [each for each in met if each.node in outage.nodes] or met
    if not near:
        return None, f"{outage}: no fault explains it"
    fault = near[-1]
    after = outage.ended - fault.ended
    if after > bound:
        return fault, f"{outage}: {after:.1f} s after the healing of {fault}, more than {bound:g} s"
    if fault.node not in outage.nodes and outage.seconds > bound:
        return fault, f"{outage}: under {fault}, which is another node's, more than {bound:g} s"
    return fault, ""


def subject_of(name: str) -> str:
    """What a watcher is about, by the name that the probe gave it."""
    if name.startswith("http ") and "/v1/agent/self" in name:
        return "agent"
    subjects = {"members": "members", "dns": "agent", "keys": "writes", "denied": "denied"}
    return subjects.get(name.split()[0], "pair")


def watched(
    reports: Sequence[Mapping[str, Any]], nodes: Sequence[str], clients: Sequence[str]
) -> list[dict[str, Any]]:
    """Targets of ``reports`` (C(node) and C(targets) each), with what each is about and whose faults may stop it."""
    found = []
    for report in reports:
        node = str(report["node"])
        paths = {"pair": [node, *clients], "members": list(nodes)}
        for target in report["targets"]:
            subject = subject_of(str(target["name"]))
            found.append({**target, "node": node, "subject": subject, "nodes": paths.get(subject, [node])})
    return found


def verdict(
    faults: Sequence[Mapping[str, Any]],
    targets: Sequence[Mapping[str, Any]],
    bounds: Mapping[str, float],
    ended: float,
) -> dict[str, Any]:
    """``broken``: a sentence for each broken invariant; ``rows``: a table by class of fault; ``totals``: lines.

    ``targets`` are those of :func:`watched`; an outage that goes on is taken to end at ``ended``, seconds since the
    epoch. A run that saw nothing is broken too.
    """
    done = windows(faults)
    broken: list[str] = []
    seen: list[tuple[Outage, Window | None]] = []
    for target in targets:
        name = f"{target['node']} {target['name']}"
        if int(target["requests"]) == 0:
            broken.append(f"{name}: nothing was asked: the run proves nothing")
        if target["subject"] == "denied":
            if target["failures"]:
                first = f"first: {target['failures'][0]['why']}"
                broken.append(f"{name}: a denied pair was connected {target['failed']} times, {first}")
            continue
        for each in target["outages"]:
            outage = _outage(target, each, ended)
            fault, why = explain(outage, done, bounds)
            seen.append((outage, fault))
            broken += [why] if why else []
        broken += [f"{name}: {why}" for why in (target.get("verdict") or {}).get("broken", [])]
    told = broken[:MAX_TOLD] + ([f"and {len(broken) - MAX_TOLD} more"] if len(broken) > MAX_TOLD else [])
    return {"broken": told, "rows": _rows(done, seen), "totals": _totals(done, targets)}


def _outage(target: Mapping[str, Any], each: Mapping[str, Any], ended: float) -> Outage:
    until = each.get("ended")
    return Outage(
        subject=str(target["subject"]),
        watcher=str(target["name"]),
        node=str(target["node"]),
        nodes=frozenset(target["nodes"]),
        began=float(each["began"]),
        ended=ended if until is None else float(until),
        why=str(each["why"])[:160],
    )


def _rows(done: Sequence[Window], seen: Sequence[tuple[Outage, Window | None]]) -> list[list[str]]:
    """By class of fault: the longest gap in writes, the longest failure of a pair, and what came after the healing."""
    heads = ["fault", "times", "lasted", "gap in writes", "pair fails", "agent back after", "members after"]
    rows = [heads]
    for kind in dict.fromkeys((each.fault, each.service) for each in done):
        faults = [each for each in done if (each.fault, each.service) == kind]
        row = [
            f"{kind[0]} {kind[1]}",
            str(len(faults)),
            f"{sum(each.ended - each.began for each in faults):.0f} s",
        ]
        for subject in SUBJECTS:
            mine = [(o, w) for o, w in seen if o.subject == subject and w in faults and w is not None]
            late = subject in ("agent", "members")
            longest = max((o.ended - w.ended if late else o.seconds for o, w in mine), default=0.0)
            row.append(f"{max(0.0, longest):.1f} s")
        rows.append(row)
    return rows


def _totals(done: Sequence[Window], targets: Sequence[Mapping[str, Any]]) -> list[str]:
    def sums(subject: str, field: str) -> int:
        return sum(int(each[field]) for each in targets if each["subject"] == subject)

    verdicts = [each.get("verdict") or {} for each in targets if each["subject"] == "writes"]
    operations, acknowledged, lost = (
        sum(int(each.get(field, 0)) for each in verdicts) for field in ("operations", "acknowledged", "lost")
    )
    return [
        f"faults: {len(done)}, which lasted {sum(each.ended - each.began for each in done):.0f} s in all",
        f"{acknowledged} acknowledged writes, {lost} lost; {operations} operations on shared keys, "
        f"{sum(int(each.get('violations', 0)) for each in verdicts)} keys whose history no order explains",
        f"{sums('pair', 'requests')} requests of permitted pairs, {sums('pair', 'failed')} of them failed",
        f"{sums('denied', 'requests')} tries of denied pairs, {sums('denied', 'failed')} connected",
    ]
