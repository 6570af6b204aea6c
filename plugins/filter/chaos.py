# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the chaos run: its schedule from a seed, and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.meshnode.lab.plugins.module_utils import _chaos, _chaos_verdict


def chaos_faults(wanted: str | Sequence[str], refused: Mapping[str, str]) -> list[str]:
    """The faults to schedule: those that were named, or all that no node refuses."""
    names = wanted.replace(",", " ").split() if isinstance(wanted, str) else [str(each) for each in wanted]
    try:
        if not names or names == ["all"]:
            return [name for name in _chaos.CATALOGUE if name not in refused]
        if names == ["none"]:
            return []
        chosen = _chaos.check_faults(names)
    except _chaos.ChaosError as error:
        raise AnsibleFilterError(str(error)) from None
    for name in chosen:
        if name in refused:
            raise AnsibleFilterError(f"chaos_faults: {name} is refused: {refused[name]}")
    return chosen


def chaos_schedule(
    faults: Sequence[str],
    seed: object,
    minutes: object,
    servers: Sequence[str],
    clients: Sequence[str],
    etcd: bool,
) -> dict[str, Any]:
    """The steps, a digest of them, and a table for people."""
    try:
        length = float(str(minutes))
    except ValueError:
        raise AnsibleFilterError(
            f"chaos_minutes: {minutes!r} is not a number: write one, such as 5"
        ) from None
    try:
        steps = _chaos.schedule(str(seed), length, faults, list(servers), list(clients), etcd=etcd)
    except _chaos.ChaosError as error:
        raise AnsibleFilterError(str(error)) from None
    rows = [["at", "for", "fault", "of", "on"]]
    rows += [
        [f"{step.start:.1f} s", f"{step.duration:.1f} s", step.fault, step.service, step.node]
        for step in steps
    ]
    return {"digest": _chaos.digest(steps), "rows": rows, "steps": [asdict(step) for step in steps]}


def chaos_verdict(
    faults: Sequence[Mapping[str, Any]],
    reports: Sequence[Mapping[str, Any]],
    bounds: Mapping[str, Any],
    ended: float,
    nodes: Sequence[str],
    clients: Sequence[str],
) -> dict[str, Any]:
    """What was broken, a table by class of fault, and totals."""
    try:
        limits = {subject: float(bounds[subject]) for subject in _chaos_verdict.SUBJECTS}
    except (KeyError, TypeError, ValueError):
        raise AnsibleFilterError(
            f"mesh_chaos_bounds: give seconds for each of {', '.join(_chaos_verdict.SUBJECTS)}"
        ) from None
    targets = _chaos_verdict.watched(reports, list(nodes), list(clients))
    try:
        return _chaos_verdict.verdict(faults, targets, limits, float(ended))
    except _chaos.ChaosError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filters by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "chaos_faults": chaos_faults,
            "chaos_schedule": chaos_schedule,
            "chaos_verdict": chaos_verdict,
        }
