#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put back on one node what it had before a roll."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_rollback
short_description: Put back on a node the package and configuration that it had before a roll
version_added: 0.1.0
description:
  - Puts back what M(meshnode.lab.mesh_node) has kept on the node when it was called with a roll's id, which are the
    package, the configuration, the unit and the settings of the command line. Needs nothing of the controller.
  - What is neither as before the roll nor as the roll has put it was changed by something else since, a new gossip key
    for instance. Then nothing is put back, and RV(problem) says so. The same goes for the CA certificates, which are
    looked at only.
  - Nothing is restarted, M(meshnode.lab.mesh_restart) does that.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.agent
  - meshnode.lab.node_agent
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Secrets are shown as fingerprints.
  idempotent:
    support: full
options:
  roll:
    description:
      - Id of the roll to take back. A node whose last roll was another one is left as it is.
      - Without it nothing is changed, and RV(roll) says which one the node has.
    type: str
  client_environment_file:
    description:
      - File of the command line's settings, as for M(meshnode.lab.mesh_node).
    type: path
    default: /etc/meshnode/client.env
  config_file:
    description:
      - Name of the file in O(config_dir) that M(meshnode.lab.mesh_node) writes.
    type: str
    default: meshnode.json
  group:
    description:
      - The agent's group, which may read the configuration.
    type: str
    default: consul
  name:
    description:
      - Name of the unit, without C(.service).
    type: str
    default: consul
seealso:
  - module: meshnode.lab.mesh_node
  - module: meshnode.lab.mesh_restart
author:
  - The meshnode authors (@meshnode)
"""

EXAMPLES = r"""
- name: See which roll was the last one here
  meshnode.lab.mesh_rollback:
  register: found

- name: Take it back
  meshnode.lab.mesh_rollback:
    roll: "{{ found.roll }}"
"""

RETURN = r"""
agent:
  description: Where an agent with the configuration on disk answers, which need not be where the inventory says.
  returned: success
  type: dict
  contains:
    address:
      description: The address that it advertises.
      type: str
    ca_file:
      description: CA certificates.
      type: str
    cert_file:
      description: Its certificate.
      type: str
    client_address:
      description: Address of HTTPS.
      type: str
    http:
      description: Whether it serves plain HTTP.
      type: bool
    http_address:
      description: Address of plain HTTP.
      type: str
    http_port:
      description: Port of plain HTTP.
      type: int
    https_port:
      description: Port of HTTPS, -1 for none.
      type: int
    key_file:
      description: Its key.
      type: str
    tls:
      description: Whether it serves HTTPS.
      type: bool
changes:
  description: A line for each thing that was put back, or would be in check mode.
  returned: success
  type: list
  elements: str
config_digest:
  description: SHA-256 over the configuration files on the node.
  returned: success
  type: str
due:
  description: What was not as before the roll when the module began.
  returned: success
  type: list
  elements: str
  sample: [configuration, package]
package_before:
  description: Digest of the package when the module began.
  returned: success
  type: str
package_digest:
  description: Digest of the package when it ended.
  returned: success
  type: str
problem:
  description: Why the roll can't be taken back on this node, and what to do instead. Empty when it can.
  returned: success
  type: str
reload_required:
  description: Whether only the certificates differ, which an agent takes up without a restart.
  returned: success
  type: bool
restart_pending:
  description: Whether an agent runs, but with something else than what is on disk.
  returned: success
  type: bool
restart_reasons:
  description: Why.
  returned: success
  type: list
  elements: str
restart_required:
  description: Whether the agent runs with something else than what is on disk, or does not run.
  returned: success
  type: bool
running:
  description: Whether the agent runs.
  returned: success
  type: bool
roll:
  description: Id of the last roll that replaced something on this node, empty when there is none.
  returned: success
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import layout_of
from ansible_collections.meshnode.lab.plugins.module_utils._files import ConflictError
from ansible_collections.meshnode.lab.plugins.module_utils._node import NodeError, places_of
from ansible_collections.meshnode.lab.plugins.module_utils._rollback import ARGUMENT_SPEC, Rollback


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    layout = layout_of(module.params, module.params["name"])
    rollback = Rollback(module, layout, places_of(module.params, layout), module.params["group"])
    try:
        rollback.look()
        if module.params["roll"]:
            rollback.run(module.params["roll"])
        result = rollback.result()
    except (ConflictError, NodeError) as error:
        module.fail_json(msg=str(error), changed=bool(rollback.changes), changes=rollback.changes)
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}", changes=rollback.changes)
    if not module._diff:  # noqa: SLF001 - the only way to know, and what ansible-core's own modules do
        del result["diff"]
    module.exit_json(changed=bool(rollback.changes), **result)


if __name__ == "__main__":
    main()
