#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a server out of etcd's cluster, asked of one that stays."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_etcd_member
short_description: Take a server out of etcd's cluster
version_added: 0.1.0
description:
  - Runs on a server that stays, so it works for one that is dead as well. When the one that goes leads, another member
    is made to lead before.
  - Refuses when the majority would be lost, and says the sum. In check mode that is all it does.
  - A server becomes a member by M(meshnode.lab.mesh_etcd).
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.etcd_servers
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  name:
    description:
      - The server that goes, one of O(servers).
    type: str
    required: true
  tls:
    description:
      - Certificates on this server to ask etcd with. Without them it is asked in clear.
    type: dict
    suboptions:
      ca_file:
        description:
          - CA certificates.
        type: path
        required: true
      cert_file:
        description:
          - This server's certificate.
        type: path
        required: true
      key_file:
        description:
          - Its private key.
        type: path
        required: true
  timeout:
    description:
      - Seconds until the others have to be well without it.
    type: float
    default: 60
seealso:
  - module: meshnode.lab.mesh_etcd
author:
  - The meshnode authors (@meshnode)
"""

EXAMPLES = r"""
- name: May server3 go?
  meshnode.lab.mesh_etcd_member:
    name: server3
    servers: "{{ etcd_servers }}"
  check_mode: true
  delegate_to: server1
"""

RETURN = r"""
changes:
  description: A line for each thing that was changed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ['let another member lead', 'remove the member server3']
members:
  description: Members with a vote, by name.
  returned: success
  type: list
  elements: str
healthy:
  description: Those of them by which reads and writes work.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_control import Control
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_departure import Leaver
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_member import (
    SERVERS_OPTION,
    MemberError,
    server_named,
)

ARGUMENT_SPEC = {
    "name": {"type": "str", "required": True},
    **SERVERS_OPTION,
    "timeout": {"type": "float", "default": 60},
    "tls": {
        "type": "dict",
        "options": {
            "ca_file": {"type": "path", "required": True},
            "cert_file": {"type": "path", "required": True},
            "key_file": {"type": "path", "required": True, "no_log": False},
        },
    },
}
PROGRAM = "/usr/bin/etcdctl"


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    options = module.params
    try:
        servers, leaving = server_named(options["servers"], options["name"])
        control = Control(module, PROGRAM, options["tls"] or {})
        report = Leaver(control, servers, leaving, options["timeout"]).run(pretend=module.check_mode)
    except MemberError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(report.changes),
        changes=report.changes,
        members=report.members,
        healthy=report.healthy,
    )


if __name__ == "__main__":
    main()
