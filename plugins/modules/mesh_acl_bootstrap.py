#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the first token of a cluster, once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_acl_bootstrap
short_description: Make the first token of a cluster, once
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Asks the cluster for its first token, which may do everything, and writes its secret to a file on the controller.
  - A cluster gives this token once. That the file can be written is tried before the cluster is asked.
  - The file is made with mode 0600 and never overwritten. When it is there, nothing is asked.
  - The secret is not returned. Read it with P(ansible.builtin.file#lookup) in a task with C(no_log=true), or keep the
    file in Ansible Vault.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.api
  - meshnode.lab.mesh_api
attributes:
  check_mode:
    details: Says that it would ask when there is no file. Whether the cluster would answer is not known before.
  diff_mode:
    support: none
  action:
    description: Has a corresponding action plugin, which writes the file on the controller.
    support: full
options:
  dest:
    description:
      - File on the controller for the secret. Its directory is made with mode 0700 when it is not there.
    type: path
    required: true
seealso:
  - module: meshnode.lab.mesh_acl_policy
  - module: meshnode.lab.mesh_acl_token
"""

EXAMPLES = r"""
- name: The first token
  meshnode.lab.mesh_acl_bootstrap:
    dest: "{{ inventory_dir }}/.secrets/dc1/acl_bootstrap"
  run_once: true

- name: Use it
  meshnode.lab.mesh_acl_policy:
    name: app
    rules: 'key_prefix "app/" { policy = "write" }'
    token: "{{ lookup('ansible.builtin.file', inventory_dir ~ '/.secrets/dc1/acl_bootstrap') }}"
  run_once: true
  no_log: true
"""

RETURN = r"""
dest:
  description: The file.
  returned: success
  type: str
accessor_id:
  description: Accessor of the token.
  returned: when it was made
  type: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils import _acl, mesh_api

ARGUMENT_SPEC = mesh_api.arguments(dest={"type": "path", "required": True})


def main() -> None:
    """Entry point; what it returns is for the action plugin."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_together=mesh_api.REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    result: dict[str, t.Any] = {"changed": True, "dest": module.params["dest"]}
    if module.check_mode:
        module.exit_json(**result)
    try:
        made = _acl.bootstrap(mesh_api.api_from(module.params))
    except mesh_api.MeshApiError as error:
        module.fail_json(msg=f"mesh_acl_bootstrap: {error}")
    result["accessor_id"] = made.get("AccessorID", "")
    result["_secret"] = made.get("SecretID") or made.get("ID")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
