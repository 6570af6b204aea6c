#!/usr/bin/python
# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_gossip_key
short_description: Keep the gossip keyring of a cluster in the controller's secret store
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Makes the key that seals gossip, once, and keeps the ordered keyring. The first key is the primary one.
  - Runs on the controller. Use C(delegate_to=localhost) and C(run_once=true).
  - Keys are named by fingerprints, the first eight digits of the SHA-256 of a key. The keys themselves are not returned
    unless O(reveal=true).
  - To bring the keys to a node use M(meshnode.lab.mesh_node), which reads the store on the controller itself, so that
    no key becomes an argument, a variable or a fact.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.store
  - meshnode.lab.secret_store
attributes:
  check_mode:
    support: full
    details: Nothing is created; a key that would be made has the fingerprint V((new\)).
  diff_mode:
    support: full
    details: Shows fingerprints, never keys.
  idempotent:
    support: full
    details: O(state=new_key) adds one key only; a key that is waiting behind the primary one is left alone.
options:
  state:
    description:
      - V(present) makes a keyring of one key when there is none.
      - V(new_key) adds a key behind the primary one, the first step of a rotation.
    type: str
    choices: [present, new_key]
    default: present
  size:
    description:
      - Bytes of a key that is made. V(16) is AES-128 and what C(consul keygen) 1.2.3 makes; V(32) is AES-256.
      - An existing key keeps its size.
    type: int
    choices: [16, 24, 32]
    default: 32
  primary:
    description: Fingerprint of the key that is to be the primary one, the second step of a rotation.
    type: str
  remove:
    description:
      - Fingerprints of keys to remove from the keyring, the last step of a rotation. The primary key is refused.
      - Fingerprints that are not in the keyring are left out without an error.
    type: list
    elements: str
    default: []
  key:
    description:
      - A key that comes from elsewhere, for example from Ansible Vault. It is used and never written down.
      - With it, the store is not read, and O(state), O(size), O(primary) and O(remove) have no effect.
    type: str
  reveal:
    description:
      - Return the keys themselves. The task is refused unless it also says C(no_log=true).
      - Not needed by the roles of this collection.
    type: bool
    default: false
seealso:
  - plugin: meshnode.lab.mesh_secret
    plugin_type: lookup
notes:
  - Needs the Python package C(meshnode) on the controller. Let C(localhost) use the interpreter of Ansible itself by
    setting C(ansible_python_interpreter) to C({{ ansible_playbook_python }}).
  - Set C(become=false) on the task. The store belongs to the user who runs the playbook, and another one is refused.
"""

EXAMPLES = r"""
- name: Make the gossip key of the cluster, once
  meshnode.lab.mesh_gossip_key:
    store: "{{ inventory_dir }}/.secrets"
    cluster: dc1
  delegate_to: localhost
  run_once: true
  become: false
  register: mesh_gossip

- name: Add the key that is to replace it
  meshnode.lab.mesh_gossip_key:
    store: "{{ inventory_dir }}/.secrets"
    state: new_key
  delegate_to: localhost
  run_once: true
  become: false

- name: Seal with the new key, after every node has it
  meshnode.lab.mesh_gossip_key:
    store: "{{ inventory_dir }}/.secrets"
    primary: "{{ mesh_gossip.fingerprints[-1] }}"
  delegate_to: localhost
  run_once: true
  become: false
"""

RETURN = r"""
fingerprint:
  description: Fingerprint of the primary key.
  returned: success
  type: str
  sample: 1f3870be
fingerprints:
  description: Fingerprints of all keys, the primary one first.
  returned: success
  type: list
  elements: str
  sample: [1f3870be]
keyring:
  description: What may be shown of each key.
  returned: success
  type: list
  elements: dict
  sample: [{"fingerprint": "1f3870be", "created": "2026-11-21T12:00:00+00:00", "size": 32}]
keys:
  description: The keys, base64, the primary one first. Secret.
  returned: when O(reveal=true)
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils import _controller, _gossip_keyring
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStore, SecretStoreError


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **_controller.STORE_OPTIONS,
            "state": {"type": "str", "choices": ["present", "new_key"], "default": "present"},
            "size": {"type": "int", "choices": [16, 24, 32], "default": 32},
            "primary": {"type": "str"},
            "remove": {"type": "list", "elements": "str", "default": []},
            "key": {"type": "str", "no_log": True},
            "reveal": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if module.params["reveal"] and not module.no_log:
        module.fail_json(msg="reveal=true returns secret keys: set no_log: true on this task")
    try:
        _controller.require_meshnode()
        result = _controller.sentences(ensure, module)
    except (_controller.ControllerError, SecretStoreError) as error:
        module.fail_json(msg=f"gossip key of {module.params['cluster']}: {error}")
    module.exit_json(**result)


def ensure(module: AnsibleModule) -> dict[str, t.Any]:
    """The keyring of the options or of the store, made or changed as the options say."""
    params = module.params
    if params["key"] is not None:
        before: tuple[_gossip_keyring.Key, ...] = (
            _gossip_keyring.describe_key(params["key"], "", "option key"),
        )
        after = before
    else:
        wish = _gossip_keyring.Wish(params["state"] == "new_key", params["primary"], tuple(params["remove"]))
        before, after = _gossip_keyring.ensure_keyring(
            SecretStore(params["store"], params["cluster"]),
            wish,
            lambda: _gossip_keyring.make_key(params["size"], _controller.now(), _controller.entropy),
            check_mode=module.check_mode,
        )
    result: dict[str, t.Any] = {
        "changed": before != after,
        "fingerprint": after[0].fingerprint,
        "fingerprints": [key.fingerprint for key in after],
        "keyring": [
            {"fingerprint": key.fingerprint, "created": key.created, "size": key.size} for key in after
        ],
    }
    if params["reveal"]:
        result["keys"] = [key.text for key in after]
    if before != after:
        result["diff"] = {
            "before": {"keyring": [key.fingerprint for key in before]},
            "after": {"keyring": [key.fingerprint for key in after]},
        }
    return result


if __name__ == "__main__":
    main()
