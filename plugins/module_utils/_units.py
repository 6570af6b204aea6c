# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of systemd brought to what is wanted: files put, units started or restarted where due, and waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import UNIT_DIGEST
from ansible_collections.meshnode.lab.plugins.module_utils._files import Absent, Directory, File, Link
from ansible_collections.meshnode.lab.plugins.module_utils._service_units import ServicesError, Unit

POLL_INTERVAL = 0.2
#: A unit that systemd had to start again this often while we waited will not come up by waiting longer.
MAX_RESTARTS = 3
JOURNAL_LINES = 20
PROPERTIES = ("Id", "ActiveState", "MainPID", "NRestarts", "UnitFileState")

Item = File | Directory | Absent | Link


@dataclass
class Report:
    """What was, or in check mode would be, done; and what is not well."""

    changes: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    unhealthy: list[str] = field(default_factory=list)
    #: Units that run on with an older package -> that package.
    kept: dict[str, str] = field(default_factory=dict)


class Units:
    """Runs ``units``. In check mode it looks, and changes nothing."""

    def __init__(
        self,
        module: Any,
        units: list[Unit],
        *,
        timeout: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.module = module
        self.units = units
        self.pretend: bool = module.check_mode
        self.clock = clock
        self.sleep = sleep
        self.ends = clock() + timeout
        self.timeout = timeout
        self.report = Report()

    def put(self, item: Item, *, quiet: bool = False) -> None:
        """``quiet``: a record of what else is reported."""
        if not (words := item.differences()):
            return
        if not quiet:
            self.report.changes.append(f"{item.path}: {', '.join(words)}")
            self.report.diff.append(item.diff())
        if not self.pretend:
            item.put()

    def properties(self, names: list[str]) -> dict[str, dict[str, str]]:
        """What systemd knows about the units, by name."""
        if not names:
            return {}
        code, out, err = self.module.run_command(
            ["systemctl", "show", *names, *(f"--property={name}" for name in PROPERTIES)]
        )
        if code:
            raise ServicesError(
                f"systemctl show failed: {(err or out).strip()}: is systemd running on this node?"
            )
        shown = [
            dict(line.partition("=")[::2] for line in block.splitlines())
            for block in out.strip().split("\n\n")
        ]
        return {one.get("Id", ""): dict.fromkeys(PROPERTIES, "") | one for one in shown}

    def start(self) -> dict[str, int]:
        """Enable, start, restart where that is due; the restarts that systemd has counted until now, by unit."""
        shown = self.properties([unit.name for unit in self.units])
        counted: dict[str, int] = {}
        for unit in self.units:
            found = shown.get(unit.name) or dict.fromkeys(PROPERTIES, "")
            if found["UnitFileState"] != "enabled":
                self.change(f"{unit.name}: enable", ["systemctl", "enable", unit.name])
            verb = ""
            if found["ActiveState"] not in {"active", "reloading"}:
                verb = "start"
            elif not self.runs(unit, found["MainPID"]):
                verb = "restart"
            if (
                verb and not self.pretend
            ):  # a unit that failed too often is refused a start until this is said
                self.module.run_command(["systemctl", "reset-failed", unit.name])
            if verb:
                self.change(f"{unit.name}: {verb}", ["systemctl", verb, "--no-block", unit.name])
            counted[unit.name] = 0 if verb else int(found["NRestarts"] or 0)
        return counted

    def runs(self, unit: Unit, pid: str) -> bool:
        """Whether the process is one of the unit as it is wanted, or of one that may run on."""
        carried = self.carried(pid)
        return carried == unit.digest or carried in unit.kept

    def packages_kept(self) -> dict[str, str]:
        """The older package of each unit whose process runs on with it."""
        watched = [unit for unit in self.units if unit.kept]
        shown = self.properties([unit.name for unit in watched])
        carried = {unit.name: self.carried(shown.get(unit.name, {}).get("MainPID", "")) for unit in watched}
        return {
            unit.name: unit.kept[carried[unit.name]]
            for unit in watched
            if carried[unit.name] != unit.digest and carried[unit.name] in unit.kept
        }

    def carried(self, pid: str) -> str:
        """The digest that a process was started with; empty when it has none."""
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
        except OSError:
            return ""
        pairs = dict(entry.partition("=")[::2] for entry in environment.split("\0"))
        return pairs.get(UNIT_DIGEST, "")

    def not_running(self, restarts: dict[str, int]) -> list[str]:
        """Units that don't run what is on disk, in words; gives up where waiting is no use."""
        shown = self.properties([unit.name for unit in self.units])
        lacking = []
        for unit in self.units:
            found = shown.get(unit.name) or dict.fromkeys(PROPERTIES, "")
            again = int(found["NRestarts"] or 0) - restarts.get(unit.name, 0)
            if restarts and (found["ActiveState"] == "failed" or again >= MAX_RESTARTS):
                self.give_up(f"{unit.name} does not stay up", unit.name)
            if found["ActiveState"] != "active" or not self.runs(unit, found["MainPID"]):
                lacking.append(f"{unit.name} is {found['ActiveState'] or 'not there'}")
        return lacking

    # Commands

    def pause(self, trouble: str, *units: str) -> None:
        if self.clock() >= self.ends:
            self.give_up(f"not well after {self.timeout:g} s: {trouble}", *units)
        self.sleep(POLL_INTERVAL)

    def give_up(self, trouble: str, *units: str) -> None:
        lines = []
        if units:
            words = ["journalctl", "--no-pager", "--output=short-precise", f"--lines={JOURNAL_LINES}"]
            lines = self.module.run_command([*words, *(f"--unit={name}" for name in units)])[1].splitlines()
        raise ServicesError("\n".join([trouble, *lines]))

    def change(self, words: str, command: list[str]) -> None:
        self.report.changes.append(words)
        self.do(command)

    def do(self, command: list[str]) -> None:
        if self.pretend:
            return
        code, out, err = self.module.run_command(command)
        if code:
            raise ServicesError(f"{' '.join(command[:2])} failed: {(err or out).strip()}")
