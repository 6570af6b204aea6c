# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action M(meshnode.lab.mesh_procedure): a record in the controller's store, so no call goes anywhere."""

from __future__ import annotations

import getpass
import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.meshnode.lab.plugins.module_utils import _procedure
from ansible_collections.meshnode.lab.plugins.module_utils._controller import STORE_OPTIONS
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStore, SecretStoreError

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **STORE_OPTIONS,
    "force": {"type": "bool", "default": False},
    "name": {"type": "str", "required": True},
    "notes": {"type": "dict", "default": {}},
    "phase": {"type": "str", "default": ""},
    "state": {"type": "str", "choices": ["begun", "phase", "ended"], "required": True},
    "stop_at": {"type": "str", "default": ""},
}


class ActionModule(ActionBase):
    """Keeps the record; uses no connection and no become."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, options = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        try:
            record = self._keep(options)
        except (_procedure.ProcedureError, SecretStoreError) as error:
            raise AnsibleActionFail(str(error)) from None
        if options["phase"] and options["phase"] == options["stop_at"]:
            raise AnsibleActionFail(
                f"stopped at {options['phase']}, as mesh_procedure_stop_at says: run the playbook again, and it goes on"
            )
        told = record or _procedure.Record(options["name"], own_run(), 0.0, 0.0, "", {})
        return {
            **result,
            "changed": False,
            "phase": told.phase,
            "notes": told.notes,
            "resumed": bool(told.phase),
        }

    def _keep(self, options: dict[str, Any]) -> _procedure.Record | None:
        store, now = SecretStore(options["store"], options["cluster"]), time.time()
        if self._task.check_mode:
            return self._next(_procedure.read(store), options, now)
        with store.lock():
            record = self._next(_procedure.read(store), options, now)
            _procedure.write(store, None if options["state"] == "ended" else record)
        return record

    def _next(
        self, found: _procedure.Record | None, options: dict[str, Any], now: float
    ) -> _procedure.Record:
        alive = found is not None and is_alive(found.run)
        record = _procedure.decide(found, options["name"], own_run(), alive, now, force=options["force"])
        if options["state"] != "phase":
            return record
        notes = {str(name): str(value) for name, value in options["notes"].items()}
        return replace(record, phase=options["phase"] or record.phase, notes={**record.notes, **notes})


def own_run() -> _procedure.Run:
    """The run of ansible-playbook: an action lives in a process forked from it."""
    pid = os.getppid()
    return _procedure.Run(getpass.getuser(), socket.gethostname(), pid, birth(pid))


def birth(pid: int) -> str:
    """When the process started, in clock ticks since boot (proc(5), field 22); empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def is_alive(run: _procedure.Run) -> bool:
    """Whether the run still is; one on another host is taken to be."""
    return run.host != socket.gethostname() or (bool(run.born) and birth(run.pid) == run.born)
