#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new root for Connect."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_connect_ca
short_description: A new root for Connect
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Begins a rotation of Connect's CA and waits until it is over. The servers do the work. Every node trusts the new
    root before a certificate of it is used, and the old root goes when nobody uses one of its certificates.
  - A rotation that is under way is waited for, and no second one is begun.
  - A root that has expired is replaced by the leader itself. That is waited for, and for servers that are starting.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.api
  - meshnode.lab.mesh_api
attributes:
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - With O(state=settled). Each O(state=rotated) makes a new root.
options:
  state:
    description:
      - V(rotated) makes a new root, V(settled) only waits for the end of a rotation.
      - V(seen) says what keeps the sidecars of the node from connecting, and V(well) waits until nothing does. Both ask
        the agent for what it knows, and no server.
    type: str
    choices: [rotated, settled, seen, well]
    default: settled
  root:
    description: With O(state=seen) and O(state=well), the id of a root that the agent has to trust.
    type: str
    default: ""
  wait_timeout:
    description: Seconds until the wait is given up. The rotation goes on then.
    type: float
    default: 300
"""

EXAMPLES = r"""
- name: No rotation is under way
  meshnode.lab.mesh_connect_ca:
  run_once: true

- name: A new root
  meshnode.lab.mesh_connect_ca:
    state: rotated
  run_once: true
"""

RETURN = r"""
before:
  description: Id of the root that signed before.
  returned: with O(state=rotated) and O(state=settled)
  type: str
active:
  description: Id of the root that signs now.
  returned: with O(state=rotated) and O(state=settled)
  type: str
phases:
  description: The phases that were seen.
  returned: with O(state=rotated) and O(state=settled)
  type: list
  elements: str
nodes:
  description: The roots that each node trusts at the end.
  returned: with O(state=rotated) and O(state=settled), outside check mode
  type: dict
troubles:
  description: What keeps the sidecars of the node from connecting.
  returned: with O(state=seen) and O(state=well)
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils import mesh_api
from ansible_collections.meshnode.lab.plugins.module_utils._connect_ca import ConnectCa

ARGUMENT_SPEC = mesh_api.arguments(
    state={"type": "str", "choices": ["rotated", "settled", "seen", "well"], "default": "settled"},
    root={"type": "str", "default": ""},
    wait_timeout={"type": "float", "default": 300.0},
)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC, required_together=mesh_api.REQUIRED_TOGETHER, supports_check_mode=True
    )
    try:
        authority = ConnectCa(mesh_api.api_from(module.params), module.params["wait_timeout"])
        if module.params["state"] == "well" and not module.check_mode:
            authority.ensure_well(module.params["root"])
        if module.params["state"] in ("seen", "well"):
            module.exit_json(changed=False, troubles=authority.troubles(module.params["root"]))
        outcome = authority.ensure(rotate=module.params["state"] == "rotated", pretend=module.check_mode)
    except mesh_api.MeshApiError as error:
        module.fail_json(msg=f"mesh_connect_ca: {error}")
    module.exit_json(
        changed=outcome.changed,
        before=outcome.before,
        active=outcome.active,
        phases=outcome.phases,
        nodes=outcome.nodes,
    )


if __name__ == "__main__":
    main()
