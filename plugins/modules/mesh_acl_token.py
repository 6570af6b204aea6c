#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a token of the ACLs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_acl_token
short_description: Keep a token of the ACLs
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Makes, changes and removes a token. It is found by O(accessor_id), its public name, or by O(secret_id).
  - With a secret from Ansible Vault, the token has the same secret in every cluster that the play is run on.
  - Uses the API of Consul 1.4 and later (1.5 for O(accessor_id), O(secret_id) and O(roles) of new tokens).
    O(token) needs C(acl = "write").
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.api
  - meshnode.lab.mesh_api
attributes:
  diff_mode:
    details: Never shows secrets.
options:
  accessor_id:
    description:
      - Accessor of the token, a UUID. A new token gets it.
    type: str
  secret_id:
    description:
      - Secret of the token, a UUID. A new token gets it. That of a token that is there can't be changed.
      - When left out, the cluster makes the secret. See O(reveal).
    type: str
  state:
    description:
      - Whether the token is to be there.
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
  roles:
    description:
      - Names of roles, or their ids. When left out, those that are linked stay. V([]) removes all.
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
  local:
    description:
      - Valid in this datacenter only. Can't be changed later.
    type: bool
  expiration_ttl:
    description:
      - How long a new token is valid, from V(1m) to V(24h). One that is there keeps its end.
    type: str
  reveal:
    description:
      - Return the secret. The task is refused unless it also says C(no_log=true).
    type: bool
    default: false
seealso:
  - module: meshnode.lab.mesh_acl_policy
  - module: meshnode.lab.mesh_acl_role
  - module: meshnode.lab.mesh_acl_bootstrap
"""

EXAMPLES = r"""
- name: A token with a secret from the vault
  meshnode.lab.mesh_acl_token:
    secret_id: "{{ vault_app_token }}"
    description: The application
    policies: [app]
    token: "{{ vault_management_token }}"

- name: A token whose secret the cluster makes
  meshnode.lab.mesh_acl_token:
    accessor_id: 6a1253d2-1785-24fd-91c2-f8e78c745511
    roles: [app]
    reveal: true
    token: "{{ vault_management_token }}"
  no_log: true
  register: app_token
"""

RETURN = r"""
accessor_id:
  description: Accessor of the token.
  returned: success, when there is one
  type: str
secret_id:
  description: Secret of the token.
  returned: when O(reveal=true)
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils import _acl, mesh_api

ARGUMENT_SPEC = mesh_api.arguments(
    accessor_id={"type": "str"},
    secret_id={"type": "str", "no_log": True},
    state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    description={"type": "str"},
    policies={"type": "list", "elements": "str"},
    roles={"type": "list", "elements": "str"},
    service_identities={"type": "list", "elements": "dict", "options": _acl.IDENTITY_SPEC},
    local={"type": "bool"},
    expiration_ttl={"type": "str"},
    reveal={"type": "bool", "default": False},
)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_one_of=[("accessor_id", "secret_id")],
        required_together=mesh_api.REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    if module.params["reveal"] and not module.no_log:
        module.fail_json(msg="reveal=true returns the secret: set no_log: true on this task")
    name = module.params["accessor_id"] or "by secret_id"
    outcome, result = _acl.carry_out(module, _acl.ensure_token, f"token {name}")
    result["accessor_id"] = outcome.found.get("AccessorID", "")
    if module.params["reveal"]:
        module.no_log_values.discard(module.params["secret_id"])
        result["secret_id"] = outcome.found.get("SecretID", "")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
