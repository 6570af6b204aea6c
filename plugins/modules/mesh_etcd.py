#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring etcd on one server to its wanted state, as a member of the cluster of all servers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_etcd
short_description: Run Debian's etcd on a server, as a member of the cluster of all servers
version_added: 0.1.0
description:
  - Installs the packages where they are missing, writes settings, certificates and unit, makes the server a member,
    starts etcd and waits until it is healthy. All of it is one call.
  - A server without data asks the others first. A cluster that is there is joined. One that knows this server as a
    member that has run before gets its old entry removed and a new one added, for the data are gone and its promises
    with them.
  - Who joins is a learner at first, and gets its vote when it has the data of the others (etcd 3.4 and later). Nothing
    waits for it.
  - A cluster is begun only with O(may_begin), when no other server answers and this one was never a member.
  - Nobody is removed who is not this server, see M(meshnode.lab.mesh_etcd_member).
  - Before a restart the others have to be well, as many as etcd needs without this one. Where its URL for peers is to
    be another one, such as with C(https), the others are told both before the restart, and the one that is left after.
  - The node needs systemd, and apt where the packages are missing.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.etcd_servers
attributes:
  check_mode:
    support: full
    details:
      - Whether a server without data would begin or join is not found out.
  diff_mode:
    support: full
    details:
      - Certificates are shown as digests.
  idempotent:
    support: full
options:
  name:
    description:
      - This server, one of O(servers).
    type: str
    required: true
  settings:
    description:
      - Etcd's settings, named as its flags. A change is in force after a restart of etcd.
      - What says how the cluster begins (C(initial-cluster) and its like) is not among them, the module finds that out.
    type: dict
    required: true
  unit:
    description:
      - Text of the systemd unit.
    type: str
    required: true
  tls:
    description:
      - Etcd's certificates. Without them it is asked in clear.
    type: dict
    suboptions:
      ca:
        description:
          - CA certificates as PEM. Without them the file is left alone.
        type: str
      ca_file:
        description:
          - Path for O(tls.ca).
        type: path
        required: true
      certificate:
        description:
          - The certificate as PEM. Without it the file is left alone.
        type: str
      cert_file:
        description:
          - Path for O(tls.certificate).
        type: path
        required: true
      key_file:
        description:
          - Path of the private key, see M(meshnode.lab.mesh_csr). It gets mode 0600 and O(user) as its owner.
        type: path
        required: true
  token:
    description:
      - Name of the cluster, so that members of two clusters never mix.
    type: str
    default: mesh
  may_begin:
    description:
      - Whether no server of the cluster was ever a member, so that one may be begun.
    type: bool
    default: false
  embedded_log:
    description:
      - File of the agent's embedded log. Where it exists, none is begun without O(begin_empty), for state would be
        lost.
    type: path
  begin_empty:
    description:
      - Whether a cluster may begin although there is an embedded log.
    type: bool
    default: false
  clear_members:
    description:
      - Whether other members are asked in clear where they speak that, although O(servers) says C(https). For the time
        in which TLS comes to one after the other.
    type: bool
    default: false
  config_dir:
    description:
      - Directory of the settings.
    type: path
    default: /etc/etcd
  data_dir:
    description:
      - Etcd's data.
    type: path
    default: /var/lib/etcd/mesh
  service:
    description:
      - Name of the unit, without C(.service).
    type: str
    default: etcd
  user:
    description:
      - User and group that etcd runs as.
    type: str
    default: etcd
  packages:
    description:
      - Packages that are installed where the programs are missing.
    type: list
    elements: str
    default: [etcd-server, etcd-client]
  restart:
    description:
      - V(drift) restarts an etcd that runs with something else than what is on disk. V(start) leaves that for a turn of
        its own.
    type: str
    choices: [drift, start]
    default: drift
  wait:
    description:
      - Whether to wait until etcd is healthy, which takes a majority of the servers.
    type: bool
    default: true
  timeout:
    description:
      - Seconds for becoming a member and for the wait.
    type: float
    default: 60
seealso:
  - module: meshnode.lab.mesh_csr
  - module: meshnode.lab.mesh_node
author:
  - The meshnode authors (@meshnode)
"""

EXAMPLES = r"""
- name: Have etcd on three servers
  meshnode.lab.mesh_etcd:
    name: "{{ inventory_hostname }}"
    servers:
      - {name: server1, client: "https://192.0.2.11:2379", peer: "https://192.0.2.11:2380"}
      - {name: server2, client: "https://192.0.2.12:2379", peer: "https://192.0.2.12:2380"}
      - {name: server3, client: "https://192.0.2.13:2379", peer: "https://192.0.2.13:2380"}
    settings:
      listen-client-urls: "https://{{ mesh_address }}:2379"
    unit: "{{ lookup('ansible.builtin.template', 'etcd.service.j2') }}"
    may_begin: true
"""

RETURN = r"""
changes:
  description: A line for each thing that was changed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ['join the cluster', 'etcd.service: start']
restart_pending:
  description: Whether etcd runs with something else than what is on disk, and was left alone.
  returned: success
  type: bool
restart_reasons:
  description: Why.
  returned: success
  type: list
  elements: str
members:
  description: Members that have run, by name. Empty when nobody waited, or in check mode on a server without data.
  returned: success
  type: list
  elements: str
healthy:
  description: Whether reads and writes work.
  returned: success
  type: bool
speaks:
  description: What its ports speak now, seen by knocking and not by what is configured. Empty where nobody answers.
  returned: success
  type: dict
  contains:
    clients:
      description: The port for clients.
      type: str
      sample: https
    peers:
      description: The port for the other members.
      type: str
      sample: https
journal:
  description: The last lines of etcd's journal.
  returned: failure
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils._etcd import Etcd, Plan
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_member import (
    SERVERS_OPTION,
    MemberError,
    server_named,
)
from ansible_collections.meshnode.lab.plugins.module_utils._files import ConflictError

ARGUMENT_SPEC = {
    "begin_empty": {"type": "bool", "default": False},
    "clear_members": {"type": "bool", "default": False},
    "config_dir": {"type": "path", "default": "/etc/etcd"},
    "data_dir": {"type": "path", "default": "/var/lib/etcd/mesh"},
    "embedded_log": {"type": "path"},
    "may_begin": {"type": "bool", "default": False},
    "name": {"type": "str", "required": True},
    "packages": {"type": "list", "elements": "str", "default": ["etcd-server", "etcd-client"]},
    "restart": {"type": "str", "choices": ["drift", "start"], "default": "drift"},
    **SERVERS_OPTION,
    "service": {"type": "str", "default": "etcd"},
    "settings": {"type": "dict", "required": True},
    "timeout": {"type": "float", "default": 60},
    "tls": {
        "type": "dict",
        "options": {
            "ca": {"type": "str"},
            "ca_file": {"type": "path", "required": True},
            "cert_file": {"type": "path", "required": True},
            "certificate": {"type": "str"},
            "key_file": {"type": "path", "required": True, "no_log": False},
        },
    },
    "token": {"type": "str", "default": "mesh", "no_log": False},
    "unit": {"type": "str", "required": True},
    "user": {"type": "str", "default": "etcd"},
    "wait": {"type": "bool", "default": True},
}


def plan_from(options: dict[str, object]) -> Plan:
    """The plan that the module's parameters describe; raises MemberError when the server is not one of the servers."""
    wanted = dict(options)
    servers, me = server_named(wanted.pop("servers"), wanted.pop("name"))
    wanted["tls"] = wanted["tls"] or {}
    wanted["embedded_log"] = wanted["embedded_log"] or ""
    wanted["packages"] = tuple(wanted["packages"])
    return Plan(me=me, servers=servers, group=wanted["user"], **wanted)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        etcd = Etcd(module, plan_from(module.params))
    except MemberError as error:
        module.fail_json(msg=str(error))
    try:
        report = etcd.run()
    except (ConflictError, MemberError) as error:
        changes = etcd.report.changes
        module.fail_json(msg=str(error), changed=bool(changes), changes=changes, journal=etcd.journal())
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}", changes=etcd.report.changes)
    result = {"changes": report.changes, "restart_reasons": report.pending, "members": report.members}
    result |= {"restart_pending": bool(report.pending), "healthy": report.healthy}
    result["speaks"] = {"clients": report.speaks[0], "peers": report.speaks[1]}
    if module._diff:  # noqa: SLF001 - the only way to know, and what ansible-core's own modules do
        result["diff"] = report.diff
    module.exit_json(changed=bool(report.changes), **result)


if __name__ == "__main__":
    main()
