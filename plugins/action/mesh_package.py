# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of M(meshnode.lab.mesh_package); all of it, for a node has no part in building."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.meshnode.lab.plugins.module_utils._package import build, load_project
from ansible_collections.meshnode.lab.plugins.module_utils._wheels import PackageError, Target

#: The collection, which is the repository: plugins/action/<this file>, symlinks followed.
COLLECTION = Path(os.path.realpath(__file__)).parents[2]


class ActionModule(ActionBase):
    """Build the archive in this process: no connection is used and no become applies."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(
            argument_spec={
                "architecture": {"type": "str", "default": "x86_64"},
                "cache_dir": {"type": "path"},
                "interpreter": {"type": "path", "default": "/usr/bin/python3"},
                "python_version": {"type": "str", "default": "3.11"},
                "source": {"type": "path"},
            }
        )
        begun = time.monotonic()
        try:
            target = Target(options["python_version"], options["architecture"], options["interpreter"])
            project = load_project(Path(options["source"] or COLLECTION))
            package = build(project, target, _cache(options["cache_dir"]), pretend=self._task.check_mode)
        except PackageError as error:
            raise AnsibleActionFail(f"cannot build the package of the agent: {error}") from None
        except OSError as error:
            raise AnsibleActionFail(
                f"cannot build the package of the agent: {error.filename}: {error.strerror}"
            ) from None
        return {
            "changed": package.built,
            "package": {
                "architecture": target.architecture,
                "digest": package.digest,
                "distributions": list(package.distributions),
                "path": str(package.path),
                "python_version": target.python_version,
                "version": package.version,
            },
            "seconds": round(time.monotonic() - begun, 2),
        }


def _cache(configured: str | None) -> Path:
    if configured:
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "meshnode"
