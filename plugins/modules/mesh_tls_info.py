#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which certificates do the ports of the node present?"""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_tls_info
short_description: Which certificates do the ports of the node present?
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Shakes hands with ports of the node and says whose certificate each of them presents, and who issued it.
  - Trusts O(ca_file) and nothing else, so an answer without RV(served[].problem) proves that the certificate is from
    there.
extends_documentation_fragment:
  - meshnode.lab.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  address:
    description: Address of the node that the ports are bound to.
    type: str
    required: true
  ports:
    description: The ports.
    type: list
    elements: dict
    required: true
    suboptions:
      port:
        description: The port.
        type: int
        required: true
      kind:
        description: V(rpc) for the server port of an agent, which speaks TLS after a first byte; else V(tls).
        type: str
        choices: [tls, rpc]
        default: tls
      cert_file:
        description: Certificate on the node to show there. By default O(cert_file).
        type: path
      key_file:
        description: Its key.
        type: path
  ca_file:
    description: CA certificates on the node.
    type: path
    default: /etc/consul.d/ssl/ca.cert
  cert_file:
    description: Certificate on the node to show.
    type: path
    default: /etc/consul.d/ssl/consul.cert
  key_file:
    description: Its key.
    type: path
    default: /etc/consul.d/ssl/consul.key
"""

EXAMPLES = r"""
- name: Who issued what is served?
  meshnode.lab.mesh_tls_info:
    address: "{{ mesh_address }}"
    ports:
      - {port: 8300, kind: rpc}
      - {port: 10443}
"""

RETURN = r"""
served:
  description: What each port presents.
  returned: success
  type: list
  elements: dict
  contains:
    port:
      description: The port.
      type: int
    subject:
      description: Common name of the certificate.
      type: str
      sample: CN=server1
    issuer:
      description: Common name of its issuer.
      type: str
      sample: CN=meshnode CA dc1 g2
    not_after:
      description: End of its life.
      type: str
    fingerprint:
      description: SHA-256 of it, hexadecimal.
      type: str
    problem:
      description: Why it is not trusted, or why there was no handshake; empty when all is well.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils._tls_info import look

PORT = {
    "cert_file": {"type": "path"},
    "key_file": {"type": "path", "no_log": False},
    "kind": {"type": "str", "choices": ["tls", "rpc"], "default": "tls"},
    "port": {"type": "int", "required": True},
}
ARGUMENT_SPEC = {
    "address": {"type": "str", "required": True},
    "ca_file": {"type": "path", "default": "/etc/consul.d/ssl/ca.cert"},
    "cert_file": {"type": "path", "default": "/etc/consul.d/ssl/consul.cert"},
    "key_file": {"type": "path", "default": "/etc/consul.d/ssl/consul.key", "no_log": False},
    "ports": {
        "type": "list",
        "elements": "dict",
        "options": PORT,
        "required": True,
        "required_together": [("cert_file", "key_file")],
    },
}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    options = module.params
    own = (options["cert_file"], options["key_file"])
    served = [
        look(
            options["address"],
            one["port"],
            one["kind"],
            options["ca_file"],
            (one["cert_file"], one["key_file"]) if one["cert_file"] else own,
        )
        for one in options["ports"]
    ]
    module.exit_json(changed=False, served=[one.told() for one in served])


if __name__ == "__main__":
    main()
