# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One node back to what it had before a roll, by the record that the roll has kept there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils import _before, _release
from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import (
    LAYOUT_OPTIONS,
    Drift,
    Layout,
    drift,
    load_json,
    package_digest_on_disk,
    running,
)
from ansible_collections.meshnode.lab.plugins.module_utils._files import Absent, File, Link, Ownership
from ansible_collections.meshnode.lab.plugins.module_utils._node import NodeError, standing
from ansible_collections.meshnode.lab.plugins.module_utils._redact import masked

#: Options of M(meshnode.lab.mesh_rollback).
ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **LAYOUT_OPTIONS,
    "client_environment_file": {"type": "path", "default": "/etc/meshnode/client.env"},
    "config_file": {"type": "str", "default": "meshnode.json"},
    "group": {"type": "str", "default": "consul"},
    "name": {"type": "str", "default": "consul"},
    "roll": {"type": "str"},
}


@dataclass
class Rollback:
    """C(look) first: it says whether and why not. C(run) puts back, unless C(module) is in check mode."""

    module: Any
    layout: Layout
    places: _before.Places
    group: str
    record: _before.Record | None = None
    #: Parts that are to be put back, and why that can't be.
    due: list[str] = field(default_factory=list)
    problem: str = ""
    changes: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    items: list[File | Absent | Link] = field(default_factory=list)
    package_before: str = ""

    def look(self) -> None:
        """Compare the node with its record; changes nothing."""
        self.package_before = package_digest_on_disk(self.layout)
        found = _before.look(self.layout, self.places)
        self._mask(found.secrets)
        try:
            self.record = _before.read(self.layout.install_dir)
            if self.record:
                self._mask(self.record.secrets)
                self._compare(self.record, found)
        except _before.BeforeError as error:
            self.problem = str(error)

    def _mask(self, secrets: Mapping[str, str]) -> None:
        self.module.no_log_values.update(secrets.values())
        self.module.no_log_values.update(masked(load_json(self.places.config)))

    def _compare(self, record: _before.Record, found: _before.Found) -> None:
        due, void = _before.judge(record, found.digests)
        if void:
            self.problem = (
                f"{' and '.join(void)}: changed by something else since the roll of {record.roll}, and what was before "
                "may bring an old key, CA or phase back: put the inventory back and run roll.yml"
            )
            return
        if not due:
            return
        release = f"{self.layout.releases}/{record.before[_before.RELEASE]}"
        if fault := _release.fault_of(release, record.before[_before.RELEASE]):
            self.problem = (
                f"{release}: the package of before is not whole ({fault}): run roll.yml with the old version, "
                "-e mesh_node_package_source=DIRECTORY"
            )
            return
        texts = _before.whole(record, found)
        self.due, self.items = due, [self._item(name, texts) for name in due]

    def _item(self, name: str, texts: Mapping[str, str | None]) -> File | Absent | Link:
        """A part as it is to be on the node."""
        if name == _before.RELEASE:
            assert self.record
            return Link(self.layout.current, f"releases/{self.record.before[name]}")
        text, path = texts[name], self.places.by_name[name]
        if text is None:
            return Absent(path)
        config = path == self.places.config
        ownership = Ownership("root", self.group, 0o640) if config else Ownership()
        return File(path, text.encode(errors="surrogateescape"), ownership, "json" if config else "text")

    def run(self, roll: str) -> None:
        """Put back what C(roll) has replaced; nothing where another roll was the last one. Raises NodeError."""
        if self.record is None or self.record.roll != roll:
            return
        if self.problem:
            raise NodeError(f"{self.problem}. Nothing was replaced.")
        for item in self.items:
            self.changes.append(f"{item.path}: as before the roll")
            self.diff.append(item.diff())
            if not self.module.check_mode:
                item.put()
        if "unit" in self.due and not self.module.check_mode:
            code, out, err = self.module.run_command(["systemctl", "daemon-reload"])
            if code:
                raise NodeError(
                    f"systemctl daemon-reload failed: {(err or out).strip()}: is systemd running on this node?"
                )

    def result(self) -> dict[str, Any]:
        """What the module returns, without C(changed)."""
        found = drift(self.layout)
        if self.module.check_mode and self.changes and not found.restart:
            found = Drift([f"{item.path} would change" for item in self.items], found.reload)
        return {
            "agent": reach(load_json(self.places.config)),
            "changes": self.changes,
            "diff": self.diff,
            "due": self.due,
            "package_before": self.package_before,
            "package_digest": package_digest_on_disk(self.layout),
            "problem": self.problem,
            "roll": self.record.roll if self.record else "",
            "running": bool(running(self.layout).pid),
            **standing(self.layout, found),
        }


def reach(config: Mapping[str, Any]) -> dict[str, Any]:
    """Where an agent with that configuration answers, which need not be where the inventory says."""
    ports, addresses = _mapping(config.get("ports")), _mapping(config.get("addresses"))
    client = config.get("client_addr") or "127.0.0.1"
    http, https = ports.get("http", 8500), ports.get("https", -1)
    return {
        "address": config.get("advertise_addr") or "",
        "ca_file": config.get("ca_file") or "",
        "cert_file": config.get("cert_file") or "",
        "client_address": client,
        "http": isinstance(http, int) and http > 0,
        "http_address": addresses.get("http") or client,
        "http_port": http,
        "https_port": https,
        "key_file": config.get("key_file") or "",
        "tls": isinstance(https, int) and https > 0 and bool(config.get("cert_file")),
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
