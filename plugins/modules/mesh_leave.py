#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the node's agent out of the mesh."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_leave
short_description: Take the node's agent out of the mesh
version_added: 0.1.0
description:
  - Lets another server lead where this one does, makes the agent leave, waits until its process is gone, disables its
    unit; in one call.
  - Nothing is deleted.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.agent
  - meshnode.lab.node_agent
  - meshnode.lab.node_agent.api
  - meshnode.lab.node_agent.unit
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  graceful:
    description:
      - Whether the others are told. Without, the agent is stopped, and they see that it failed.
    type: bool
    default: true
  timeout:
    description:
      - Seconds until the agent has to be gone.
    type: float
    default: 60
seealso:
  - module: meshnode.lab.mesh_restart
author:
  - The meshnode authors (@meshnode)
"""

EXAMPLES = r"""
- name: This node leaves
  meshnode.lab.mesh_leave:
    node_address: "{{ mesh_address }}"
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [leave, disable]
handed_over:
  description: Whether this server led, and another one did before this one left.
  returned: success
  type: bool
journal:
  description: The last lines of the agent's journal, without its secrets.
  returned: failure
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils._leave import Goodbye
from ansible_collections.meshnode.lab.plugins.module_utils._restart import (
    UNIT_OPTIONS,
    RestartError,
    Wish,
    service_of,
)

ARGUMENT_SPEC = {
    **UNIT_OPTIONS,
    "graceful": {"type": "bool", "default": True},
}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC, required_together=[("cert_file", "key_file")], supports_check_mode=True
    )
    options = module.params
    wish = Wish(node_address=options["node_address"], timeout=options["timeout"])
    service = service_of(module, wish)
    try:
        left = Goodbye(service, graceful=options["graceful"]).run()
    except RestartError as error:
        module.fail_json(msg=f"{error}: see journal", journal=service.journal())
    module.exit_json(changed=bool(left.actions), actions=left.actions, handed_over=left.handed_over)


if __name__ == "__main__":
    main()
