#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep keys of the key/value store as a task says."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_kv
short_description: Keep keys of the key/value store
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Sets or deletes one key, deletes all keys below a prefix, or makes a folder what a dictionary says.
  - Reads first, and writes what differs and nothing else. Each key is written only if it is still what was read, so
    that a change that somebody else makes at the same time is never lost.
  - Up to 64 keys (and 512 KiB) are changed in one transaction, whole or not at all. More are changed in several.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.api
  - meshnode.lab.mesh_api
attributes:
  diff_mode:
    details: With O(sensitive=true) the keys are shown, and not their values.
options:
  key:
    description:
      - The key, without a slash at its beginning. With O(recurse=true) it is a prefix.
    type: str
  state:
    description:
      - Whether the key is to be there.
    type: str
    choices: [present, absent]
    default: present
  value:
    description:
      - Value as text.
    type: str
  value_b64:
    description:
      - Value as base64, for one that is not text.
    type: str
  flags:
    description:
      - A number that the store keeps with the value. When left out, a key keeps the flags that it has.
    type: int
  cas:
    description:
      - Change the key only if its C(ModifyIndex) is this one, V(0) for a key that must not be there yet. Else the task
        fails. A key that is as it should be is fine, whatever its index.
    type: int
  recurse:
    description:
      - With O(state=absent), delete all keys that start with O(key).
    type: bool
    default: false
  tree:
    description:
      - Keys and values below O(prefix). A mapping in it is a folder. Numbers are written as they are, booleans as
        V(true) and V(false); lists are refused, write them with the filter P(ansible.builtin.to_json#filter).
    type: dict
  prefix:
    description:
      - Folder that O(tree) is for.
    type: str
  exclusive:
    description:
      - Delete the keys below O(prefix) that are not in O(tree).
    type: bool
    default: false
  sensitive:
    description:
      - The values are secret. They are not shown in the diff, and not returned.
    type: bool
    default: false
seealso:
  - plugin: meshnode.lab.mesh_kv
    plugin_type: lookup
  - module: meshnode.lab.mesh_lock
"""

EXAMPLES = r"""
- name: A key
  meshnode.lab.mesh_kv:
    key: app/motd
    value: Hello

- name: A folder, with nothing else in it
  meshnode.lab.mesh_kv:
    prefix: app/config
    exclusive: true
    tree:
      log_level: info
      limits:
        connections: 100

- name: A password, over HTTPS with a client certificate
  meshnode.lab.mesh_kv:
    address: https://10.1.0.11:10443
    ca_file: /etc/consul.d/ssl/ca.cert
    client_cert: /etc/consul.d/ssl/consul.cert
    client_key: /etc/consul.d/ssl/consul.key
    server_name: server.dc1.consul
    key: app/password
    value: "{{ vault_app_password }}"
    sensitive: true

- name: The folder goes away
  meshnode.lab.mesh_kv:
    key: app/
    recurse: true
    state: absent
"""

RETURN = r"""
keys:
  description: The keys that were changed or deleted, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [app/motd]
modify_index:
  description: C(ModifyIndex) of the key after the change, for O(cas) of a later task.
  returned: when O(state=present) with O(key), outside check mode
  type: int
  sample: 142
"""

import base64
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils import _kv, mesh_api

ARGUMENT_SPEC = mesh_api.arguments(
    key={"type": "str", "no_log": False},
    state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    # Secret until it is known that they are not: the module's arguments are logged before it runs.
    value={"type": "str", "no_log": True},
    value_b64={"type": "str", "no_log": True},
    flags={"type": "int"},
    cas={"type": "int"},
    recurse={"type": "bool", "default": False},
    tree={"type": "dict", "no_log": True},
    prefix={"type": "str"},
    exclusive={"type": "bool", "default": False},
    sensitive={"type": "bool", "default": False},
)


def ensure(module: AnsibleModule) -> dict[str, t.Any]:
    """The result of the task."""
    options = module.params
    api, wish = mesh_api.api_from(options), _kv.wish_from(options)
    change = _kv.plan(api, wish)
    if not module.check_mode:
        _kv.apply(api, change)
    result: dict[str, t.Any] = {"changed": bool(change.keys), "keys": change.keys}
    if change.keys:
        result["diff"] = {
            "before": _shown(
                [change.before[key] for key in change.keys if key in change.before], options["sensitive"]
            ),
            "after": _shown(change.puts, options["sensitive"], new=True),
        }
    if not module.check_mode and options["key"] and options["state"] == "present":
        found = _kv.read_key(api, options["key"])
        result["modify_index"] = found.index if found else 0
    return result


def _shown(pairs: t.Iterable[_kv.Pair], sensitive: bool, new: bool = False) -> dict[str, t.Any]:
    shown: dict[str, t.Any] = {}
    for pair in pairs:
        try:
            value = pair.value.decode()
        except UnicodeDecodeError:
            value = f"(base64) {base64.b64encode(pair.value).decode()}"
        if sensitive:
            value = "(hidden, new)" if new else "(hidden)"
        shown[pair.key] = {"flags": pair.flags, "value": value} if pair.flags else value
    return shown


def _reveal(module: AnsibleModule) -> None:
    """Nothing of the values is secret: let them be shown, the token apart."""
    keep = {module.params["token"]} - {None}
    module.no_log_values.intersection_update(keep)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_one_of=[("key", "tree")],
        mutually_exclusive=[("key", "tree"), ("value", "value_b64", "tree")],
        required_together=mesh_api.REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    if not module.params["sensitive"]:
        _reveal(module)
    values = {module.params[name] for name in ("value", "value_b64")}
    if module.params["key"] is not None and module.params["state"] == "present" and values == {None}:
        module.fail_json(msg="mesh_kv: value: is missing: give value or value_b64, or state=absent")
    try:
        result = ensure(module)
    except mesh_api.MeshApiError as error:
        module.fail_json(msg=f"mesh_kv: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
