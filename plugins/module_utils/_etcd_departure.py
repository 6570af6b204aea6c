# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a member may leave etcd's cluster, and how it does: asked of the servers that stay."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from ansible_collections.meshnode.lab.plugins.module_utils._etcd_control import Control
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_member import (
    Listed,
    MemberError,
    Server,
    own_entry,
)

POLL_INTERVAL = 0.25


def majority(members: int) -> int:
    """How many of so many voters have to be healthy."""
    return members // 2 + 1


def refusal(listed: Iterable[Listed], healthy: Collection[str], leaving: Server) -> str:
    """Why the member has to stay; empty when it may go, or is gone. C(healthy) are names."""
    voters = [entry for entry in listed if not entry.learner]
    rest = sorted(entry.name for entry in voters if entry != own_entry(voters, leaving))
    if not rest:
        return (
            f"{leaving.name} is the last member of etcd, which has the mesh's state: it cannot be taken out"
        )
    well = sorted(entry.name for entry in voters if entry.name in healthy)
    if len(well) < majority(len(voters)):
        return (
            f"etcd has no majority now: of {_count(voters)} {majority(len(voters))} have to be healthy, and "
            f"{_said(well)}: bring the others back first"
        )
    left = [name for name in rest if name in healthy]
    if len(left) < majority(len(rest)):
        return (
            f"without {leaving.name} etcd would have no majority: of the {len(rest)} that would be left "
            f"{majority(len(rest))} have to be healthy, and {_said(left)}: bring "
            f"{', '.join(name for name in rest if name not in healthy)} back, or take that out first"
        )
    return ""


def _count(voters: Collection[Listed]) -> str:
    return f"{len(voters)} members" if len(voters) > 1 else "1 member"


def _said(names: Collection[str]) -> str:
    return f"{len(names)} {'is' if len(names) == 1 else 'are'} ({', '.join(names) or 'none'})"


@dataclass
class Departure:
    """What was, or in check mode would be, done; members are names of voters, healthy those that work."""

    changes: list[str] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    healthy: list[str] = field(default_factory=list)


class Leaver:
    """Takes C(leaving) out of the cluster of C(servers). The clock is the module's, so that tests need not wait."""

    def __init__(
        self,
        control: Control,
        servers: Iterable[Server],
        leaving: Server,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.control = control
        self.stay = [server for server in servers if server != leaving]
        self.leaving = leaving
        self.clock = clock
        self.sleep = sleep
        self.timeout = timeout

    def run(self, *, pretend: bool) -> Departure:
        """Judge, and remove unless pretending; raises MemberError."""
        ends = self.clock() + self.timeout
        report = self.look()
        entry = self.entry
        if entry is None:
            return report
        if trouble := refusal(self.listed, report.healthy, self.leaving):
            raise MemberError(trouble)
        report.changes.append(f"remove the member {self.leaving.name}")
        if pretend:
            return report
        if self.leaving.name in report.healthy and self.hand_over(entry, report.healthy):
            report.changes.append("let another member lead")
        while trouble := self.control.complaint(self.stay, "member", "remove", f"{entry.number:x}"):
            if "not found" in trouble:  # removed by the try before, whose answer did not come
                break
            self.pause(ends, f"etcd does not remove {self.leaving.name}: {trouble}")
        while True:
            after = self.look()
            if self.entry is None and len(after.healthy) >= majority(len(after.members)):
                return Departure(report.changes, after.members, after.healthy)
            self.pause(ends, f"etcd is not well without {self.leaving.name}: {_said(after.healthy)} healthy")

    def look(self) -> Departure:
        """Members and which of them work. Raises MemberError when none of those that stay answers."""
        listed = self.control.members(self.stay)
        if listed is None:
            raise MemberError(
                f"no etcd of {', '.join(server.name for server in self.stay) or 'another server'} answers: "
                "bring a majority of the servers back first"
            )
        self.listed = listed
        self.entry = own_entry(listed, self.leaving)
        voters = sorted((entry for entry in listed if not entry.learner), key=lambda entry: entry.name)
        healthy = [entry.name for entry in voters if entry.clients and self.control.healthy(entry.clients[0])]
        return Departure([], [entry.name for entry in voters], healthy)

    def hand_over(self, entry: Listed, healthy: Collection[str]) -> bool:
        """Let another member lead where this one does: an election would stop writes for a second."""
        url = entry.clients[0]
        code, out, _err = self.control.ask(url, "endpoint", "status", "--write-out=json")
        if code or leader_of(out) != entry.number:
            return False
        others = (one for one in self.listed if one.name in healthy and one != entry)
        return any(self.control.ask(url, "move-leader", f"{one.number:x}")[0] == 0 for one in others)

    def pause(self, ends: float, trouble: str) -> None:
        if self.clock() >= ends:
            raise MemberError(f"{trouble} (given up after {self.timeout:g} s)")
        self.sleep(POLL_INTERVAL)


def leader_of(text: str) -> int:
    """The leader's number in the answer of C(etcdctl endpoint status -w json); 0 when it says none."""
    try:
        return int(json.loads(text)[0]["Status"]["leader"])
    except (ValueError, KeyError, TypeError, IndexError):
        return 0
