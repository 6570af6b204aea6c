# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting and ending a probe on this node, as a unit that outlives the play, and reading what it saw."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import load_json
from ansible_collections.meshnode.lab.plugins.module_utils._files import Directory, File, Ownership

KINDS = {
    "http": "url",
    "tcp": "address",
    "kv": "agents",
    "members": "agents",
    "dns": "address",
    "denied": "address",
}
#: What is told of a target, in each report of a probe.
TOLD = ("name", "requests", "failed", "asked_again", "longest", "failures")
MAX_TARGETS = 20
#: A probe that nobody ends, since its play was killed, ends by itself.
DEFAULT_MAX_SECONDS = 3600
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")


class ProbeError(Exception):
    """The probe can't do what was asked; C(str()) says what to change."""


@dataclass(frozen=True)
class Layout:
    """Where a probe's files are: in memory, below a directory of its own."""

    name: str
    user: str
    group: str

    @property
    def directory(self) -> str:
        return f"/run/{self.name}"

    @property
    def report(self) -> str:
        return f"{self.directory}/report.json"


def check_targets(targets: list[Mapping[str, Any]]) -> None:
    """Raises :class:`ProbeError` for a target that can't be probed."""
    if len(targets) > MAX_TARGETS:
        raise ProbeError(f"targets: {len(targets)} are too many: at most {MAX_TARGETS}")
    for place, target in enumerate(targets):
        wanted = KINDS.get(str(target.get("kind")))
        if wanted is None:
            raise ProbeError(
                f"targets[{place}].kind: {target.get('kind')!r} is not known: write {', '.join(KINDS)}"
            )
        if not target.get(wanted):
            raise ProbeError(f"targets[{place}]: has no {wanted}: a target of kind {target['kind']} needs it")


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """What is told about a report: sums, and each failure in a line with its time."""
    targets = [target for target in report.get("targets") or [] if isinstance(target, Mapping)]
    failures = [
        f"{target['name']}: {failure['why']}"
        for target in targets
        for failure in target.get("failures") or []
    ]
    return {
        "requests": sum(int(target["requests"]) for target in targets),
        "failed_requests": sum(int(target["failed"]) for target in targets),
        "asked_again": sum(int(target["asked_again"]) for target in targets),
        "longest": max((float(target["longest"]) for target in targets), default=0.0),
        "seconds": float(report.get("seconds") or 0.0),
        "failures": failures,
        "targets": [
            {
                **{key: target[key] for key in TOLD},
                "outages": target.get("outages") or [],
                "verdict": target.get("verdict") or {},
            }
            for target in targets
        ],
    }


class Probe:
    """The probe's unit on this node."""

    def __init__(self, module: Any, layout: Layout) -> None:
        if not _UNIT.fullmatch(layout.name):
            raise ProbeError(f"name: {layout.name!r} can't be a unit: use letters, digits, '-', '_', '.'")
        self.module = module
        self.layout = layout

    def running(self) -> bool:
        """Whether the unit is up."""
        code, _out, _err = self.module.run_command(["systemctl", "is-active", "--quiet", self.layout.name])
        return bool(code == 0)

    def start(self, script: str, config: Mapping[str, Any], python: str) -> bool:
        """Start it unless it runs: a play that is resumed goes on with the probe that the broken one left."""
        check_targets(list(config["targets"]))
        if not config["targets"] or self.running():
            return False
        if self.module.check_mode:
            return True
        own = Ownership(self.layout.user, self.layout.group, 0o700)
        Directory(self.layout.directory, own).put()
        private = Ownership(self.layout.user, self.layout.group, 0o600)
        path = f"{self.layout.directory}/probe.py"
        settings = f"{self.layout.directory}/config.json"
        File(path, script.encode(), private).put()
        File(settings, json.dumps({**config, "report": self.layout.report}).encode(), private).put()
        Path(self.layout.report).unlink(missing_ok=True)
        self._run(["systemctl", "reset-failed", f"{self.layout.name}.service"], may_fail=True)
        self._run(
            ["systemd-run", f"--unit={self.layout.name}", "--collect", "--quiet",
             f"--property=User={self.layout.user}", f"--property=Group={self.layout.group}",
             "--property=TimeoutStopSec=120", "--description=Probe of the mesh", python, path, settings]
        )  # fmt: skip
        return True

    def stop(self) -> bool:
        """End it; waits for the requests that are under way."""
        if not self.running():
            return False
        if not self.module.check_mode:
            self._run(["systemctl", "stop", self.layout.name])
        return True

    def report(self) -> dict[str, Any]:
        """What it saw so far; without a report nothing."""
        return summary(load_json(self.layout.report))

    def forget(self) -> None:
        """Remove the files, once they were read."""
        for name in ("probe.py", "config.json", "report.json", "report.json.new"):
            Path(f"{self.layout.directory}/{name}").unlink(missing_ok=True)
        if os.path.isdir(self.layout.directory):
            os.rmdir(self.layout.directory)

    def _run(self, command: list[str], *, may_fail: bool = False) -> None:
        code, out, err = self.module.run_command(command)
        if code and not may_fail:
            raise ProbeError(f"{command[0]} failed: {(err or out).strip()}: is systemd running on this node?")
