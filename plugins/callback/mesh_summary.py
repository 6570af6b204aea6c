# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the phases of a run while it goes on, and the mesh in a table when it ends."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mesh_summary
type: aggregate
author: The meshnode authors (@meshnode)
short_description: The phases of a run, and the mesh in a table at its end
version_added: 0.1.0
description:
  - Prints a line for each play with its number, and at the end a row for each node and the commands that come next.
  - The rows come from M(ansible.builtin.set_stats).
    Its data holds C(mesh_summary), by node, or with C(per_host) the node's own row.
    A row may have C(role), C(state), C(address), C(log), C(services), C(encrypted), C(gossip_key) (a fingerprint)
    and C(certificate_expires).
  - Who may talk to whom comes from C(mesh_flows) in the same data, a list of lines, and what to try from C(mesh_try).
  - What a procedure changed comes from C(mesh_before_after), what its probes saw from C(mesh_probes), lists of lines.
  - What faults cost comes from C(mesh_chaos), a list of lines.
  - The next commands come from C(mesh_next) in the same data, a list of lines, or from C(mesh_if_failed) when a node
    has failed.
  - What looks like a key, a token or a PEM block is never shown.
requirements:
  - Enabled in the configuration, with C(callbacks_enabled = meshnode.lab.mesh_summary).
"""

EXAMPLES = r"""
- name: Note the node for the final table
  ansible.builtin.set_stats:
    per_host: true
    data:
      mesh_summary:
        role: server
        state: alive
        gossip_key: 7f83b165
        certificate_expires: 2027-01-31
"""

import time
from typing import Any

from ansible import constants as C  # noqa: N812
from ansible.plugins.callback import CallbackBase
from ansible_collections.meshnode.lab.plugins.plugin_utils._summary import Run, collect, lines_of, table


class CallbackModule(CallbackBase):
    """Listens to a run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "meshnode.lab.mesh_summary"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._plays = 0
        self._play = 0
        self._phases: list[tuple[str, float]] = []
        self._started: dict[tuple[str, str], float] = {}
        self._seconds: dict[str, float] = {}

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._plays = len(playbook.get_plays())

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play += 1
        name = play.get_name().strip() or "unnamed play"
        self._phases.append((name, time.monotonic()))
        self._display.display(
            f"\n[{self._play}/{max(self._plays, self._play)}] {name}", color=C.COLOR_HIGHLIGHT
        )

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._started[host.get_name(), task._uuid] = time.monotonic()  # noqa: SLF001

    def _note_end(self, result: Any) -> None:
        host, task = result._host.get_name(), result._task._uuid  # noqa: SLF001
        if (started := self._started.pop((host, task), None)) is not None:
            self._seconds[host] = self._seconds.get(host, 0.0) + time.monotonic() - started

    def v2_runner_on_ok(self, result: Any) -> None:
        self._note_end(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._note_end(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._note_end(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._note_end(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        rows, commands = collect(stats.custom)
        runs = {host: self._run_of(stats.summarize(host), host) for host in stats.processed}
        lines = table(rows, runs)
        if lines:
            self._display.banner("MESH")
            for line in lines:
                troubled = any(run.trouble and line.startswith(f"{host} ") for host, run in runs.items())
                self._display.display(line, color=C.COLOR_ERROR if troubled else None)
        self._listed("Before and after:", lines_of(stats.custom, "mesh_before_after"))
        self._listed("Faults and what they cost:", lines_of(stats.custom, "mesh_chaos"))
        self._listed("Probes:", lines_of(stats.custom, "mesh_probes"))
        self._listed("Who may talk to whom:", lines_of(stats.custom, "mesh_flows"))
        if self._phases:
            ends = [started for _name, started in self._phases[1:]] + [time.monotonic()]
            # A play in batches starts once for each batch: it is one phase all the same.
            spent: dict[str, float] = {}
            for (name, begun), end in zip(self._phases, ends, strict=True):
                spent[name] = spent.get(name, 0.0) + end - begun
            took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in spent.items())
            self._display.display(f"\nTook {ends[-1] - self._phases[0][1]:.1f} s: {took}.")
        if not any(run.trouble for run in runs.values()):
            self._listed("Try:", lines_of(stats.custom, "mesh_try"))
            self._listed("Next:", commands)
        else:
            self._listed("Next:", lines_of(stats.custom, "mesh_if_failed"))

    def _listed(self, title: str, lines: list[str]) -> None:
        if lines:
            self._display.display(f"\n{title}")
        for line in lines:
            self._display.display(f"  {line}")

    def _run_of(self, summary: dict[str, int], host: str) -> Run:
        trouble = "FAILED" if summary["failures"] else "UNREACHABLE" if summary["unreachable"] else ""
        return Run(changed=summary["changed"], seconds=self._seconds.get(host, 0.0), trouble=trouble)
