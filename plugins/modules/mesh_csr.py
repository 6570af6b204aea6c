#!/usr/bin/python
# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_csr
short_description: Make a node's private key on the node and ask for its certificate
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Makes the private key when there is none. A key of another type than wanted is replaced.
  - Returns a certificate signing request, the certificate that the node has, and facts that save further calls.
  - The private key is made on the node, with mode 0600, and never leaves it.
extends_documentation_fragment:
  - meshnode.lab.attributes
attributes:
  check_mode:
    support: full
    details: Makes nothing. When a key would be made, RV(csr) is V(null).
  diff_mode:
    support: full
    details: Shows type, mode and public fingerprint of the key.
  idempotent:
    support: full
    details: The request is made anew each time, which is no change to the node.
options:
  common_name:
    description: Name of the node, the subject of the request. The CA decides about every other name.
    type: str
    required: true
  key_path:
    description: File of the private key, an absolute path. Missing directories are made, the last one with mode 0750.
    type: path
    required: true
  certificate_path:
    description: File of the node's certificate. It is read when it exists.
    type: path
  key_type:
    description: Kind of the key.
    type: str
    choices: [ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096]
    default: ec-p256
  owner:
    description:
      - Owner of the key. An account that does not exist yet is no error, for it may be made later in the run; the key
        stays with the user who runs the module and RV(owner_pending) is V(true).
    type: str
  group:
    description: Group of the key, as O(owner).
    type: str
  others:
    description:
      - Further keys of this node in the same call, such as that of another service on it. Each is made and returned as
        the first one, with the same O(key_type).
    type: list
    elements: dict
    default: []
    suboptions:
      common_name:
        description: As O(common_name).
        type: str
        required: true
      key_path:
        description: As O(key_path).
        type: path
        required: true
      certificate_path:
        description: As O(certificate_path).
        type: path
      owner:
        description: As O(owner).
        type: str
      group:
        description: As O(group).
        type: str
  digest_of:
    description: Files whose SHA-256 is returned in RV(digests).
    type: list
    elements: path
    default: []
  link_of:
    description: Symbolic links whose targets are returned in RV(links).
    type: list
    elements: path
    default: []
requirements:
  - The C(openssl) command 1.1.1 or later, or the Python package C(cryptography) 38 or later, on the node.
seealso:
  - module: meshnode.lab.mesh_certificate
"""

EXAMPLES = r"""
- name: Make the key of the node, with file names as in many Consul guides
  meshnode.lab.mesh_csr:
    common_name: "{{ inventory_hostname }}"
    key_path: /etc/consul.d/ssl/consul.key
    certificate_path: /etc/consul.d/ssl/consul.cert
    owner: consul
    digest_of: [/etc/consul.d/ssl/ca.cert]
    link_of: [/opt/meshnode/current]
  register: mesh_csr
"""

RETURN = r"""
csr:
  description: The certificate signing request, PEM. V(null) in check mode when the key would be made.
  returned: success
  type: str
public_key:
  description: The public key, PEM. V(null) in check mode when the key would be made.
  returned: success
  type: str
public_key_fingerprint:
  description: SHA-256 of the public key in DER, hexadecimal.
  returned: success
  type: str
certificate:
  description: The certificate in O(certificate_path), V(null) when there is none.
  returned: success
  type: str
reason:
  description: Why the key was made, V(null) when it was there.
  returned: success
  type: str
  sample: there is no key yet
owner_pending:
  description: Whether O(owner) or O(group) does not exist on the node yet.
  returned: success
  type: bool
python_version:
  description: Version of the Python that ran the module.
  returned: success
  type: str
  sample: 3.11.2
others:
  description:
    - What is returned of the key, for each one of O(others) and in their order, such as C(csr) and C(certificate).
  returned: success
  type: list
  elements: dict
digests:
  description: SHA-256 of each file of O(digest_of), V(null) for a missing one.
  returned: success
  type: dict
links:
  description: Target of each link of O(link_of), V(null) for what is no link.
  returned: success
  type: dict
  sample: {/opt/meshnode/current: releases/3f2a}
"""

import os
import platform
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils import _node_key

KEY_TYPES = list(_node_key.KEY_TYPES)
KEY_SPEC: dict[str, dict[str, t.Any]] = {
    "common_name": {"type": "str", "required": True},
    "key_path": {"type": "path", "required": True, "no_log": False},
    "certificate_path": {"type": "path"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
}


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **KEY_SPEC,
            "key_type": {"type": "str", "choices": KEY_TYPES, "default": "ec-p256", "no_log": False},
            "others": {"type": "list", "elements": "dict", "options": KEY_SPEC, "default": []},
            "digest_of": {"type": "list", "elements": "path", "default": []},
            "link_of": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    params = module.params
    wanted = [{name: params[name] for name in KEY_SPEC}, *params["others"]]
    for one in wanted:
        check(module, one)
    path = params["key_path"]
    try:
        tool = _node_key.choose_tool(module.get_bin_path("openssl"), module.run_command, module.tmpdir)
        results = [ensure(module, tool, one) for one in wanted]
    except _node_key.NodeKeyError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or path}: {error.strerror}")
    diffs = [result.pop("diff") for result in results if "diff" in result]  # of each that was changed
    facts: dict[str, t.Any] = {
        "python_version": platform.python_version(),
        "digests": {name: _node_key.file_digest(name) for name in params["digest_of"]},
        "links": {name: _node_key.link_target(name) for name in params["link_of"]},
    }
    if diffs:
        facts["diff"] = diffs[0] if len(wanted) == 1 else diffs
    module.exit_json(changed=bool(diffs), **results[0], others=results[1:], **facts)


def check(module: AnsibleModule, one: dict[str, t.Any]) -> None:
    """Fail with the option's name when a key could not be what it is asked to be."""
    if not os.path.isabs(one["key_path"]):
        module.fail_json(msg=f"key_path: {one['key_path']!r} is not an absolute path")
    if not _node_key.COMMON_NAME.fullmatch(one["common_name"]):
        module.fail_json(msg=f"common_name: {one['common_name']!r} must be letters, digits, '.', '-' or '_'")


def ensure(module: AnsibleModule, tool: _node_key.KeyTool, one: dict[str, t.Any]) -> dict[str, t.Any]:
    """Make the key when that is needed, put its owner and mode right, and say what the controller is to know."""
    path, key_type = one["key_path"], module.params["key_type"]
    account = _node_key.Account.of(one["owner"], one["group"])
    reason = _node_key.defect(tool, path, key_type)
    before = describe(tool, path)
    changed = reason is not None or account.differs(path, 0o600)
    if changed and not module.check_mode:
        if reason is not None:
            _node_key.make_key(tool, path, key_type, account)
        account.apply(path, 0o600)
    usable = reason is None or not module.check_mode
    public_key = tool.public_key(path) if usable else None
    result: dict[str, t.Any] = {
        "csr": tool.request(path, one["common_name"]) if usable else None,
        "public_key": public_key,
        "public_key_fingerprint": _node_key.public_key_fingerprint(public_key) if public_key else None,
        "certificate": _node_key.read_text(one["certificate_path"]),
        "reason": reason,
        "owner_pending": account.pending,
    }
    if changed:
        planned = {"path": path, "type": key_type, "mode": "0600"}
        after = describe(tool, path) if not module.check_mode else {**before, **planned}
        result["diff"] = {"before": before, "after": after}
    return result


def describe(tool: _node_key.KeyTool, path: str) -> dict[str, str]:
    """What may be shown of the key in a diff."""
    if not os.path.exists(path):
        return {}
    public_key = tool.public_key(path)
    return {
        "path": path,
        "type": tool.key_type(public_key),
        "mode": f"{os.stat(path).st_mode & 0o7777:04o}",
        "public_key_fingerprint": _node_key.public_key_fingerprint(public_key),
    }


if __name__ == "__main__":
    main()
