# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new root for Connect: the servers rotate by themselves, this begins it and waits with an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import MeshApi, MeshApiError

ROTATION = "/v1/connect/ca/rotation"
POLL_INTERVAL = 0.3
#: What an agent says that has no Connect.
OFF = "Connect must be enabled"


@dataclass(frozen=True)
class Outcome:
    """Root ids, the phases that were seen, and what each node trusts at the end."""

    changed: bool
    before: str
    active: str
    phases: list[str] = field(default_factory=list)
    nodes: dict[str, list[str]] = field(default_factory=dict)


def behind(rotation: dict[str, Any]) -> list[str]:
    """Nodes that do not trust the new root yet, and then those that still use a leaf of the old one."""
    nodes = rotation.get("Nodes") or []
    unaware = [str(one["Node"]) for one in nodes if rotation["NewRootID"] not in one["Roots"]]
    return unaware or [str(one["Node"]) for one in nodes if rotation["OldRootID"] in one["LeafRoots"]]


@dataclass
class ConnectCa:
    """Connect's CA as one agent sees it. C(clock) and C(sleep) are the module's, so that tests need not wait."""

    api: MeshApi
    timeout: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def active(self) -> str:
        """Id of the root that signs; empty when Connect is off."""
        return str((self.api.get("/v1/connect/ca/roots") or {}).get("ActiveRootID") or "")

    def rotation(self) -> dict[str, Any]:
        """The rotation that is under way; C(Phase) is empty without one."""
        found = self.api.get(ROTATION)
        if not isinstance(found, dict):
            raise MeshApiError(
                f"{ROTATION}: there is none: only agents of meshnode rotate Connect's CA by themselves"
            )
        return found

    def ensure(self, *, rotate: bool, pretend: bool) -> Outcome:
        """Begin a rotation unless one is under way, and wait until it is over; raises :class:`MeshApiError`."""
        try:
            before, found = self.active(), self.rotation()
        except MeshApiError as error:
            if rotate or OFF not in error.body:
                raise
            return Outcome(False, "", "")  # without Connect nothing rotates
        if found["Phase"]:
            before = str(found["OldRootID"])
        due = rotate and not found["Phase"]
        if pretend:
            return Outcome(due, before, before)
        if due:
            self.api.put(ROTATION, {"Action": "start"})
        phases: list[str] = []
        begun = self.clock()
        while (found := self.rotation())["Phase"]:
            phases += [found["Phase"]] if found["Phase"] not in phases else []
            if found["Paused"]:
                raise MeshApiError(
                    "the rotation is paused: resume it with 'meshnode connect ca rotation -resume', then run this again"
                )
            if self.clock() - begun >= self.timeout:
                raise MeshApiError(
                    f"the rotation is in the phase {found['Phase']} after {self.timeout:g} s, it waits for "
                    f"{', '.join(behind(found)) or 'old leafs to end'}: it goes on by itself; raise wait_timeout"
                )
            self.sleep(POLL_INTERVAL)
        nodes = {str(one["Node"]): [str(root) for root in one["Roots"]] for one in found.get("Nodes") or []}
        return Outcome(due, before, self.active(), phases, nodes)
