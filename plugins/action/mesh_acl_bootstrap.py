# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of M(meshnode.lab.mesh_acl_bootstrap): the secret goes from the answer to a file, nowhere else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

MODULE = "meshnode.lab.mesh_acl_bootstrap"


class ActionModule(ActionBase):
    """No call when the file is there; else the place is made sure of before the one call that can't be repeated."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        dest = self._task.args.get("dest")
        if not isinstance(dest, str) or not dest:
            raise AnsibleActionFail("dest: is missing: name the file on the controller for the secret")
        path = Path(dest).expanduser()
        try:
            if path.exists():
                if not path.stat().st_size:
                    raise AnsibleActionFail(
                        f"dest: {path} is empty, an earlier run was broken off: delete it to try again"
                    )
                return {**result, "changed": False, "dest": str(path)}
            if self._task.check_mode:
                return {**result, **self._ask(task_vars), "dest": str(path)}
            return {**result, **self._bootstrap(path, task_vars)}
        except OSError as error:
            raise AnsibleActionFail(
                f"dest: {error.filename}: {error.strerror}: name a place to write to"
            ) from None

    def _ask(self, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name=MODULE, module_args=dict(self._task.args), task_vars=task_vars
        )
        return answer

    def _bootstrap(self, path: Path, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # O_EXCL: of two plays at once, one gets the place and asks.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        written = False
        try:
            answer = self._ask(task_vars)
            secret = answer.pop("_secret", None)
            if secret:
                os.write(handle, f"{secret}\n".encode())
                os.fsync(handle)
                written = True
        finally:
            os.close(handle)
            if not written:
                path.unlink(missing_ok=True)
        return {**answer, "dest": str(path)}
