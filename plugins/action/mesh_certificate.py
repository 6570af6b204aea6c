# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action M(meshnode.lab.mesh_certificate): the certificate is issued in this process, so that no call goes anywhere."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.meshnode.lab.plugins.module_utils import _certificate, _controller
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStoreError


class ActionModule(ActionBase):
    """Issue the certificate of one node; uses no connection and no become."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        facts = task_vars or {}
        _checked, options = self.validate_argument_spec(
            argument_spec=_certificate.ARGUMENT_SPEC, required_together=_certificate.REQUIRED_TOGETHER
        )
        options["node"] = options["node"] or facts.get("inventory_hostname")
        if not options["store"]:
            options["store"] = os.path.join(facts.get("inventory_dir") or os.getcwd(), ".secrets")
        try:
            _controller.require_meshnode()
            result.update(self._issue(options))
        except (_controller.ControllerError, SecretStoreError) as error:
            raise AnsibleActionFail(f"certificate of {options['node']}: {error}") from None
        return result

    def _issue(self, options: dict[str, Any]) -> dict[str, Any]:
        from meshnode.base.errors import MeshError

        try:
            return _certificate.issue(options, check_mode=self._task.check_mode)
        except MeshError as error:
            raise SecretStoreError(str(error)) from None
