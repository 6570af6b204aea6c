# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of M(meshnode.lab.mesh_keyring): the key goes from the store to the server, and nowhere else."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.meshnode.lab.plugins.module_utils._gossip_spec import key_of
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStoreError

MODULE = "meshnode.lab.mesh_keyring"


class ActionModule(ActionBase):
    """One call; only an installation needs the key, the other verbs find it in the cluster by its fingerprint."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        options = {"gossip_cluster": None, "gossip_store": None, "key": None, **self._task.args}
        key = None
        if options["key"] and options.get("state") == "present":
            try:
                key = key_of(options, (task_vars or {}).get("inventory_dir"))
            except SecretStoreError as error:
                raise AnsibleActionFail(f"mesh_keyring: {error}") from None
        answer: dict[str, Any] = self._execute_module(
            module_name=MODULE, module_args={**self._task.args, "_key": key}, task_vars=task_vars
        )
        return answer
