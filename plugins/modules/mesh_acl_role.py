#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a role of the ACLs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_acl_role
short_description: Keep a role of the ACLs
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Makes, changes and removes a role, by its name. A role is policies and service identities under one name.
  - Uses the API of Consul 1.5 and later. O(token) needs C(acl = "write").
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.api
  - meshnode.lab.mesh_api
options:
  name:
    description:
      - Name of the role, of letters, digits, C(-) and C(_).
    type: str
    required: true
  state:
    description:
      - Whether the role is to be there.
    type: str
    choices: [present, absent]
    default: present
  description:
    description:
      - For people who read it. When left out, what is there stays.
    type: str
  policies:
    description:
      - Names of policies, or their ids. When left out, those that are linked stay. V([]) removes all.
    type: list
    elements: str
  service_identities:
    description:
      - Services whose rights it has. When left out, those that are there stay.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - Name of the service.
        type: str
        required: true
      datacenters:
        description:
          - Where that is so. Empty is everywhere.
        type: list
        elements: str
        default: []
seealso:
  - module: meshnode.lab.mesh_acl_policy
  - module: meshnode.lab.mesh_acl_token
"""

EXAMPLES = r"""
- name: The application, wherever it runs
  meshnode.lab.mesh_acl_role:
    name: app
    policies: [app]
    service_identities:
      - name: web
        datacenters: [dc1]
    token: "{{ vault_management_token }}"
"""

RETURN = r"""
id:
  description: Id of the role.
  returned: success, when there is one
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils import _acl, mesh_api

ARGUMENT_SPEC = mesh_api.arguments(
    name={"type": "str", "required": True},
    state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    description={"type": "str"},
    policies={"type": "list", "elements": "str"},
    service_identities={"type": "list", "elements": "dict", "options": _acl.IDENTITY_SPEC},
)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_together=mesh_api.REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    outcome, result = _acl.carry_out(module, _acl.ensure_role, f"role {module.params['name']}")
    module.exit_json(id=outcome.found.get("ID", ""), **result)


if __name__ == "__main__":
    main()
