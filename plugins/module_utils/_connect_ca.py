# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new root for Connect: the servers rotate by themselves, this begins it and waits with an end."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import MeshApi, MeshApiError

ROTATION = "/v1/connect/ca/rotation"
POLL_INTERVAL = 0.3
#: What an agent says that has no Connect.
OFF = "Connect must be enabled"
NO_LEAF = " has no valid certificate"
#: What an agent says while no server leads, as after all of them were off.
NO_SERVERS = ("No cluster leader", "No known Consul servers")
#: Seconds that a leader is given to replace an expired root by itself, before it is asked, and says what keeps it.
REPLACES_WITHIN = 10.0


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


def _seconds(text: str) -> float:
    """Unix seconds of C(2027-01-15T08:00:00Z)."""
    return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))


@dataclass
class ConnectCa:
    """Connect's CA as one agent sees it. C(clock) and C(sleep) are the module's, so that tests need not wait."""

    api: MeshApi
    timeout: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    wall: Callable[[], float] = time.time

    def active(self) -> str:
        """Id of the root that signs; empty when Connect is off."""
        return str(self._roots().get("ActiveRootID") or "")

    def _roots(self) -> dict[str, Any]:
        """What the servers say, as soon as there is a leader."""
        begun = self.clock()
        while True:
            try:
                return self.api.get("/v1/connect/ca/roots") or {}
            except MeshApiError as error:
                is_away = any(words in error.body for words in NO_SERVERS)
                if not is_away or self.clock() - begun >= self.timeout:
                    raise
            self.sleep(POLL_INTERVAL)

    def _expired(self) -> bool:
        """Whether the root that signs has expired."""
        roots = self._roots()
        ends = [
            str(row["NotAfter"]) for row in roots.get("Roots") or [] if row["ID"] == roots["ActiveRootID"]
        ]
        return any(_seconds(text) <= self.wall() for text in ends)

    def _is_replaced(self) -> bool:
        """Whether an expired root gives way to another one, which the leader sees to by itself."""
        begun = self.clock()
        while self._expired():
            if self.clock() - begun >= REPLACES_WITHIN:
                return False
            self.sleep(POLL_INTERVAL)
        return True

    def troubles(self, root: str = "") -> list[str]:
        """What keeps the sidecars of this node from connecting, sentences. Only the node's own agent is asked.

        C(root) is the id of a root that the agent has to trust.
        """
        try:
            services = self.api.get("/v1/agent/services") or {}
            certificates = self.api.get("/v1/agent/certs")
            trusted = self.api.get("/v1/agent/connect/ca/roots") if root else {}
        except MeshApiError as error:
            # What the token may not see is no trouble of the sidecars.
            return [] if error.status == 403 else [str(error)]
        proxies = [one["Proxy"] for one in services.values() if one.get("Kind") == "connect-proxy"]
        # An agent of Consul tells nothing of its certificates.
        good, found = [row for row in certificates or [] if row.get("DaysLeft", 0) > 0], []
        if root and root not in [row["ID"] for row in (trusted or {}).get("Roots") or []]:
            found.append(f"the root {root} is not trusted")
        if certificates is None or not proxies:
            return found
        if "root" not in [row["Kind"] for row in good]:
            found.append("no root that is trusted is valid now")
        leafs = {row["Name"] for row in good if row["Kind"] == "leaf"}
        wanted = {str(proxy["DestinationServiceName"]) for proxy in proxies}
        # A sidecar that is registered and does not run asks for none: it is one that has none among others.
        missing = [] if wanted & leafs else sorted(wanted)
        return found + [f"{name}{NO_LEAF}" for name in missing]

    def ensure_well(self, root: str) -> None:
        """Wait until nothing keeps the sidecars of this node from connecting; raises :class:`MeshApiError`.

        Certificates that nobody has asked for in that time are no error: no sidecar may be running.
        """
        begun = self.clock()
        while found := self.troubles(root):
            if self.clock() - begun >= self.timeout:
                if all(trouble.endswith(NO_LEAF) for trouble in found):
                    return
                raise MeshApiError(
                    f"sidecars can't connect after {self.timeout:g} s: {'; '.join(found)}: look at the agent's journal"
                )
            self.sleep(POLL_INTERVAL)

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
        if due and not (self._expired() and self._is_replaced()):
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
