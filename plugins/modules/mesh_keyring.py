#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install, use or remove a gossip key in the running cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_keyring
short_description: Install, use or remove a gossip key in the running cluster
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Changes the keyring of all members at once, through a server. Each member has to acknowledge. Otherwise the task
    fails and names those that did not.
  - Keys are named by fingerprints. The key to install comes from the controller's secret store, see
    M(meshnode.lab.mesh_gossip_key), and is never an argument.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.api
  - meshnode.lab.mesh_api
  - meshnode.lab.secret_store.gossip
attributes:
  diff_mode:
    support: none
  action:
    description: Has a corresponding action plugin, which reads the key from the secret store.
    support: full
options:
  state:
    description:
      - V(present) installs the key, V(primary) seals with it, V(absent) removes it. V(listed) looks only.
    type: str
    choices: [listed, present, primary, absent]
    default: listed
  key:
    description: Fingerprint of the key. Needed unless O(state=listed).
    type: str
  pool:
    description:
      - Which gossip pools of the server are meant. V(all) is what C(consul keyring) changes.
      - V(lan) or V(wan) is that pool alone, for a mesh of several datacenters, whose pools have keys of their own. An
        agent that does not know this is refused before anything is changed.
    type: str
    choices: [all, lan, wan]
    default: all
seealso:
  - module: meshnode.lab.mesh_gossip_key
  - module: meshnode.lab.mesh_gossip
"""

EXAMPLES = r"""
- name: Bring the new key to every member
  meshnode.lab.mesh_keyring:
    state: present
    key: 1f3870be
"""

RETURN = r"""
pools:
  description: For each pool how many members there are, and how many have each key.
  returned: success
  type: list
  elements: dict
  sample: [{"pool": "dc1 (LAN)", "members": 5, "keys": {"1f3870be": 5}}]
primary:
  description: Fingerprint of the key that the asked server seals with, in its LAN unless O(pool=wan).
  returned: success
  type: str
failed_members:
  description:
    - Members that can't be reached now, so that they acknowledge nothing. They are in no count.
    - With O(pool=wan) their names without the datacenter.
  returned: success
  type: list
  elements: str
lacking:
  description: Pools in which some member lacks O(key), in words.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils import _keyring, mesh_api
from ansible_collections.meshnode.lab.plugins.module_utils._gossip_spec import PRIVATE_SPEC, STORE_SPEC

ARGUMENT_SPEC = mesh_api.arguments(
    **PRIVATE_SPEC,
    **STORE_SPEC,
    pool={"type": "str", "choices": ["all", "lan", "wan"], "default": "all"},
    state={"type": "str", "choices": ["listed", "present", "primary", "absent"], "default": "listed"},
)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_if=[("state", state, ["key"]) for state in _keyring.VERBS],
        required_together=mesh_api.REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    options = module.params
    if options["state"] == "present" and not options["_key"]:
        module.fail_json(
            msg="mesh_keyring works through its action plugin: call it as meshnode.lab.mesh_keyring"
        )
    changed = False
    try:
        keyring = _keyring.Keyring(mesh_api.api_from(options), options["pool"])
        if options["state"] == "listed":
            pools = keyring.look()
        else:
            changed, pools = keyring.ensure(
                options["state"], options["key"], options["_key"], pretend=module.check_mode
            )
        primary, failed_members = keyring.primary(), keyring.failed_members()
    except mesh_api.MeshApiError as error:
        module.fail_json(msg=f"mesh_keyring: {error}")
    module.no_log_values.update(keyring.secrets())
    module.exit_json(
        changed=changed,
        pools=[pool.told() for pool in pools],
        primary=primary,
        failed_members=failed_members,
        lacking=_keyring.lacking(pools, options["key"]) if options["key"] else [],
    )


if __name__ == "__main__":
    main()
