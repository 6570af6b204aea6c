# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of M(meshnode.lab.mesh_tls_proxy): asks once, sends package and programs where they are missing."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.meshnode.lab.plugins.module_utils._program import digest_of
from ansible_collections.meshnode.lab.plugins.module_utils._tls_proxy import ARGUMENT_SPEC, PACKAGE
from ansible_collections.meshnode.lab.plugins.plugin_utils._transfer import sent

MODULE = "meshnode.lab.mesh_tls_proxy"


class ActionModule(ActionBase):
    """One remote call on a node that has everything; a transfer of each thing and a second call on one that has not."""

    TRANSFERS_FILES = False  # else a directory is made on the node for each run, needed or not

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        sources = {PACKAGE: (options["package"] or {}).get("path", "")}
        for entry in options["files"]:
            if not entry["source"]:
                continue
            sources[entry["path"]] = entry["source"]
            entry["digest"] = digest_of(entry["source"])
            if not entry["digest"]:
                raise AnsibleActionFail(f"files: {entry['path']}: source: there is no {entry['source']} here")
        result = self._ask(options, task_vars)
        needed = result.pop("needed", [])
        if not needed:
            return result
        there = {what: sent(self, sources[what], what) for what in needed}
        return self._ask({**options, "_sent": there}, task_vars)

    def _ask(self, options: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._execute_module(
            module_name=MODULE, module_args=options, task_vars=task_vars
        )
        return found
