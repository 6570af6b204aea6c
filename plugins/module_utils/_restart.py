# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restarting the agent and waiting, in one call and with an end, until it does its work again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._agent_api import (
    API_OPTIONS,
    Api,
    ApiError,
    Cluster,
    api_of,
    look,
)
from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import (
    LAYOUT_OPTIONS,
    NOT_RUNNING,
    OTHER_CONFIG,
    Drift,
    Layout,
    config_files,
    drift,
    layout_of,
    load_json,
    running,
)
from ansible_collections.meshnode.lab.plugins.module_utils._redact import masked

#: Options of modules that start and stop the agent, for C(service_of).
UNIT_OPTIONS: dict[str, dict[str, Any]] = {
    **API_OPTIONS,
    **LAYOUT_OPTIONS,
    "name": {"type": "str", "default": "consul"},
    "node_address": {"type": "str", "default": ""},
    "timeout": {"type": "float", "default": 60.0},
}
POLL_INTERVAL = 0.15
#: Seconds until another server leads, at most; the restart goes on without.
HAND_OVER_TIMEOUT = 10.0
TRANSFER = "/v1/operator/raft/transfer-leader"
#: A unit that systemd had to start again this often while we waited will not come up by waiting longer.
MAX_RESTARTS = 3
PROPERTIES = (
    "ActiveState",
    "SubState",
    "MainPID",
    "NRestarts",
    "NeedDaemonReload",
    "UnitFileState",
    "LoadState",
)


class RestartError(Exception):
    """The agent is not healthy; C(waited_for) names what was missing at the end."""

    def __init__(self, message: str, waited_for: str = "") -> None:
        super().__init__(message)
        self.waited_for = waited_for


@dataclass(frozen=True)
class Wish:
    """What is to be done, and what counts as healthy."""

    when: str = "drift"
    enabled: bool = True
    members: int = 1
    leader: bool = True
    regain: bool = False
    node_address: str = ""
    postpone_leader: bool = False
    hand_over: bool = False
    timeout: float = 60.0
    journal_lines: int = 30


@dataclass
class Report:
    """What was done."""

    actions: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    cluster: Cluster | None = None
    postponed: bool = False
    was_leader: bool = False
    handed_over: bool = False
    process: int = 0
    waited: float = 0.0


def decide(wish: Wish, unit: dict[str, str], found: Drift) -> tuple[list[str], list[str]]:
    """The systemctl verbs that are due, and why; both empty when the unit is as wanted.

    Raises RestartError when a reload was asked for and is not enough.
    """
    if wish.when == "never":
        return [], []
    verbs: list[str] = []
    reasons: list[str] = []
    if wish.enabled and unit["UnitFileState"] not in {"enabled", "enabled-runtime", "static"}:
        verbs.append("enable")
        reasons.append("the unit is not enabled")
    if unit["ActiveState"] not in {"active", "activating", "reloading"}:
        return [*verbs, "start"], [*reasons, f"the unit is {unit['ActiveState']}"]
    if wish.when == "start":
        # It serves nobody, and may be waiting with settings that were put right meanwhile.
        if unit["ActiveState"] == "activating" and NOT_RUNNING in found.restart:
            return [*verbs, "restart"], [*reasons, "the agent has not become ready"]
        return verbs, reasons
    if wish.when == "always":
        return [*verbs, "restart"], [*reasons, "asked for"]
    if wish.when == "reload":
        beyond = [reason for reason in found.restart if reason != OTHER_CONFIG]
        if beyond:
            raise RestartError(
                f"a reload is not enough, {'; '.join(beyond)}: restart it, see playbooks/site.yml"
            )
        due = [*found.restart, *found.reload]
        return ([*verbs, "reload"], [*reasons, *due]) if due else (verbs, reasons)
    if found.restart:
        return [*verbs, "restart"], [*reasons, *found.restart]
    if found.reload:
        return [*verbs, "reload"], [*reasons, *found.reload]
    return verbs, reasons


class Service:
    """The agent's unit on this node. C(clock) and C(sleep) are the module's, so that tests need not wait."""

    def __init__(
        self,
        module: Any,
        name: str,
        layout: Layout,
        api: Api,
        wish: Wish,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.module = module
        self.unit = f"{name}.service"
        self.layout = layout
        self.api = api
        self.wish = wish
        self.clock = clock
        self.sleep = sleep
        #: Whether the agent may go on with something else than what is on disk: it was not asked to be restarted.
        self.tolerated = False

    def run(self) -> Report:
        """Do what is due and wait until the agent is healthy; raises RestartError."""
        begun = self.clock()
        unit = self.properties()
        report = Report()
        if self.module.check_mode and unit["LoadState"] == "not-found":
            return Report(
                [] if self.wish.when == "never" else ["enable", "start"], ["the unit is not there yet"]
            )
        if unit["LoadState"] != "loaded":
            raise RestartError(
                f"{self.unit}: {unit['LoadState']}: run the role mesh_node, which writes the unit"
            )
        found = drift(self.layout)
        report.actions, report.reasons = decide(self.wish, unit, found)
        started = {"start", "restart"} & set(report.actions)
        self.tolerated = self.wish.when in {"never", "start"} and not started
        report.pending = [*found.restart, *found.reload] if self.tolerated else []
        if self.module.check_mode:
            return report
        if self.wish.regain and "restart" in report.actions:
            report.was_leader = self.look_before()
            if report.was_leader and self.wish.postpone_leader:
                return Report(reasons=report.reasons, postponed=True, was_leader=True)
            report.handed_over = report.was_leader and self.wish.hand_over and self.hand_over()
        if report.actions and unit["NeedDaemonReload"] == "yes":
            self.systemctl("daemon-reload")
        for verb in report.actions:
            self.systemctl(verb)
        report.cluster = self.wait(begun, int(unit["NRestarts"] or 0))
        report.process = running(self.layout).pid
        report.waited = round(self.clock() - begun, 2)
        return report

    def look_before(self) -> bool:
        """Raise the bar to what is true before the restart; says whether this is the leader.

        A cluster that is broken already raises no bar, or its repair would wait for what only the repair brings.
        """
        try:
            before = look(self.api, leader=True)
        except ApiError:
            before = Cluster((), (), "")
        members, leader = max(self.wish.members, len(before.alive)), self.wish.leader and bool(before.leader)
        self.wish = replace(self.wish, members=members, leader=leader)
        return bool(self.wish.node_address) and before.leader.startswith(f"{self.wish.node_address}:")

    def leads(self) -> bool:
        """Whether this agent says that it leads."""
        leader = look(self.api, leader=True).leader
        return bool(self.wish.node_address) and leader.startswith(f"{self.wish.node_address}:")

    def hand_over(self) -> bool:
        """Let another server lead, so that nobody waits for this one; false where no other can, or none would."""
        begun = self.clock()
        try:
            self.api.call("POST", TRANSFER)
            while self.leads() or not look(self.api, leader=True).leader:
                if self.clock() - begun >= HAND_OVER_TIMEOUT:
                    return False
                self.sleep(POLL_INTERVAL)
        except ApiError:
            return False  # one server, the embedded log, or Consul before 1.10: it is restarted all the same
        return True

    def systemctl(self, verb: str) -> None:
        """Run one verb; a start does not wait, for the waiting here has an end and knows what it waits for."""
        if verb in {"start", "restart"}:
            # A unit that failed too often is refused a start until this is said.
            self.module.run_command(["systemctl", "reset-failed", self.unit])
        blocking = ["--no-block"] if verb in {"start", "restart"} else []
        command = ["systemctl", verb, *blocking, *([] if verb == "daemon-reload" else [self.unit])]
        code, out, err = self.module.run_command(command)
        if code:
            raise RestartError(f"systemctl {verb} failed: {(err or out).strip()}")

    def properties(self) -> dict[str, str]:
        """What systemd knows about the unit."""
        command = ["systemctl", "show", self.unit, *(f"--property={name}" for name in PROPERTIES)]
        code, out, err = self.module.run_command(command)
        if code:
            raise RestartError(
                f"systemctl show failed: {(err or out).strip()}: is systemd running on this node?"
            )
        return dict.fromkeys(PROPERTIES, "") | dict(line.partition("=")[::2] for line in out.splitlines())

    def wait(self, begun: float, restarts: int) -> Cluster:
        """Poll until nothing is missing."""
        up = False
        while True:
            missing, cluster = "", None
            if not up:
                missing = self.unit_lacks(restarts)
                up = not missing
            if up:
                missing, cluster = self.cluster_lacks()
            if cluster and not missing:
                return cluster
            if self.clock() - begun >= self.wish.timeout:
                raise RestartError(
                    f"{self.unit} is not healthy after {self.wish.timeout:g} s: {missing}", missing
                )
            self.sleep(POLL_INTERVAL)

    def unit_lacks(self, restarts: int) -> str:
        """Why the unit does not run with what is on disk, or an empty string."""
        unit = self.properties()
        again = int(unit["NRestarts"] or 0) - restarts
        if unit["ActiveState"] == "failed" or again >= MAX_RESTARTS:
            seen = f"the unit is {unit['ActiveState']} ({unit['SubState']})"
            raise RestartError(f"{self.unit} does not stay up with what is on disk", seen)
        if unit["ActiveState"] != "active":
            return f"the unit is {unit['ActiveState']} ({unit['SubState']})"
        agent = running(self.layout)
        if str(agent.pid) != unit["MainPID"]:
            return f"{self.layout.state_file} is not from the unit's process {unit['MainPID']}"
        found = drift(self.layout, agent)
        return "" if self.tolerated else "; ".join([*found.restart, *found.reload])

    def cluster_lacks(self) -> tuple[str, Cluster | None]:
        """What the agent's own view of the cluster lacks."""
        try:
            cluster = look(self.api, leader=self.wish.leader)
        except ApiError as error:
            return f"the API does not answer: {error}", None
        return cluster.lacks(self.wish.members, leader=self.wish.leader), cluster

    def journal(self) -> list[str]:
        """The unit's last lines."""
        command = ["journalctl", "--no-pager", "--output=short-precise", f"--unit={self.unit}"]
        _code, out, _err = self.module.run_command([*command, f"--lines={self.wish.journal_lines}"])
        return out.splitlines()


def service_of(module: Any, wish: Wish) -> Service:
    """The unit that the module's parameters name; nothing secret of its configuration is printed from now on."""
    options = module.params
    service = Service(module, options["name"], layout_of(options, options["name"]), api_of(options), wish)
    for path in config_files(service.layout.config_dir):
        module.no_log_values.update(masked(load_json(path)))
    return service
