# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of M(meshnode.lab.mesh_node): renders, asks once, sends the package only to a node that lacks it."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.meshnode.lab.plugins.module_utils._node_spec import (
    ARGUMENT_SPEC,
    render_files,
    separate_secrets,
)
from ansible_collections.meshnode.lab.plugins.module_utils._redact import placeholder
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import (
    SecretStore,
    SecretStoreError,
    read_gossip_keyring,
)
from ansible_collections.meshnode.lab.plugins.plugin_utils._transfer import sent

MODULE = "meshnode.lab.mesh_node"


class ActionModule(ActionBase):
    """One remote call on a node that has the package; a transfer and a second call on one that has not."""

    TRANSFERS_FILES = False  # else a directory is made on the node for each run, needed or not

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        if not options["config"]:
            raise AnsibleActionFail("config: is missing: give the agent's configuration as a dictionary")
        options["config"] = {**options["config"], **self._gossip_key(options, task_vars)}
        wan_keys = self._wan_keys(options, task_vars)
        try:
            files = render_files(options, wan_keys)
            _config, secrets = separate_secrets(options["config"])
        except (TypeError, ValueError) as error:
            raise AnsibleActionFail(f"cannot render the node's files: {error}") from None
        options |= {
            "config": None,
            "unit": None,
            "client_environment": {},
            "_files": files,
            "_secrets": {**secrets, **{placeholder(key): key for key in wan_keys}},
        }
        options["tls"] = options["tls"] and {**options["tls"], "ca": None, "certificate": None}

        lacks_it = options["installed"] not in {None, options["package"]["digest"]}
        if lacks_it and not self._task.check_mode:
            return self._with_archive(options, task_vars)
        result = self._execute_module(module_name=MODULE, module_args=options, task_vars=task_vars)
        if result.pop("package_needed", False):
            result = self._with_archive(options, task_vars)
            result.pop("package_needed", None)
        return result

    def _with_archive(self, options: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        archive = sent(self, options["package"]["path"], "package.path")
        return self._execute_module(
            module_name=MODULE, module_args={**options, "_archive": archive}, task_vars=task_vars
        )

    def _gossip_key(self, options: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, str]:
        """The primary key of the cluster's keyring as C(encrypt); it goes to the node and nowhere else."""
        cluster = options["gossip_cluster"]
        if not cluster or options["config"].get("encrypt"):
            return {}
        keys = self._keys_of(cluster, options, task_vars)
        return {"encrypt": keys[0] if keys else ""}

    def _wan_keys(self, options: dict[str, Any], task_vars: dict[str, Any]) -> tuple[str, ...]:
        """The keys of the WAN's own keyring; none where the node has none of its own."""
        cluster = options["gossip_wan_cluster"]
        if not cluster:
            return ()
        return self._keys_of(cluster, options, task_vars) or ("",)

    def _keys_of(self, cluster: str, options: dict[str, Any], task_vars: dict[str, Any]) -> tuple[str, ...]:
        """The keyring of the store, the primary key first; empty in check mode when the real run makes it."""
        folder = options["gossip_store"] or os.path.join(task_vars.get("inventory_dir") or ".", ".secrets")
        try:
            keyring = read_gossip_keyring(SecretStore(folder, cluster))
        except SecretStoreError as error:
            raise AnsibleActionFail(f"cannot read the gossip key: {error}") from None
        if keyring:
            return keyring.keys
        if self._task.check_mode:
            return ()
        raise AnsibleActionFail(
            f"{folder}/{cluster} holds no gossip key: run the role mesh_gossip before mesh_node"
        )
