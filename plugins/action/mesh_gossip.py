# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of M(meshnode.lab.mesh_gossip): the key goes from the store to the node, and nowhere else."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.meshnode.lab.plugins.module_utils._gossip_spec import ARGUMENT_SPEC, key_of
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStoreError

MODULE = "meshnode.lab.mesh_gossip"


class ActionModule(ActionBase):
    """One call."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _checked, options = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        try:
            key = key_of(options, (task_vars or {}).get("inventory_dir")) if options["key"] else None
        except SecretStoreError as error:
            raise AnsibleActionFail(f"mesh_gossip: {error}") from None
        given = {name: value for name, value in {**options, "_key": key}.items() if value is not None}
        answer: dict[str, Any] = self._execute_module(
            module_name=MODULE, module_args=given, task_vars=task_vars
        )
        return answer
