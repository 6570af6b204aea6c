#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a policy of the ACLs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_acl_policy
short_description: Keep a policy of the ACLs
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Makes, changes and removes a policy, by its name.
  - Uses the API of Consul 1.4 and later. O(token) needs C(acl = "write").
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.api
  - meshnode.lab.mesh_api
options:
  name:
    description:
      - Name of the policy, of letters, digits, C(-) and C(_).
    type: str
    required: true
  state:
    description:
      - Whether the policy is to be there.
    type: str
    choices: [present, absent]
    default: present
  description:
    description:
      - For people who read it. When left out, what is there stays.
    type: str
  rules:
    description:
      - Rules, in HCL or JSON. When left out, those that are there stay.
    type: str
  datacenters:
    description:
      - Where the policy is valid. V([]) is everywhere. When left out, what is there stays.
    type: list
    elements: str
seealso:
  - module: meshnode.lab.mesh_acl_role
  - module: meshnode.lab.mesh_acl_token
"""

EXAMPLES = r"""
- name: What the application may do
  meshnode.lab.mesh_acl_policy:
    name: app
    rules: |
      key_prefix "app/" { policy = "write" }
      service "web" { policy = "write" }
    token: "{{ vault_management_token }}"
"""

RETURN = r"""
id:
  description: Id of the policy.
  returned: success, when there is one
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils import _acl, mesh_api

ARGUMENT_SPEC = mesh_api.arguments(
    name={"type": "str", "required": True},
    state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    description={"type": "str"},
    rules={"type": "str"},
    datacenters={"type": "list", "elements": "str"},
)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_together=mesh_api.REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    outcome, result = _acl.carry_out(module, _acl.ensure_policy, f"policy {module.params['name']}")
    module.exit_json(id=outcome.found.get("ID", ""), **result)


if __name__ == "__main__":
    main()
