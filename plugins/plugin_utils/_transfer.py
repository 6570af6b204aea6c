# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on their way from the controller to a node."""

from __future__ import annotations

import os
from secrets import token_hex

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


def sent(action: ActionBase, path: str, option: str) -> str:
    """Put the file on the node and say where; the module removes it. C(option) is what named it, for the error."""
    if not os.path.isfile(path):
        raise AnsibleActionFail(f"{option}: {path}: is not there: run mesh_package before")
    # A name that nobody can guess, in place of a directory of Ansible's own: that costs three calls.
    remote = f"/tmp/meshnode-{token_hex(16)}"  # nodes run Linux
    action._transfer_file(path, remote)  # noqa: SLF001 - what actions have for it
    return remote
