#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one node to its wanted state."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_node
short_description: Put package, configuration, certificates and unit of the agent on a node
version_added: 0.1.0
description:
  - Takes the whole wanted state of a node and puts it there in one call. Files are rendered on the controller.
    The package is sent only to a node that lacks it, so a node that is as wanted costs one remote call.
  - The agent itself validates the new configuration, with the new package, before anything is replaced.
    When it refuses, nothing is replaced and its words are returned.
  - Files are written beside their target with their final mode and renamed. Files that were tampered with are repaired,
    those of the package, too.
  - Nothing is restarted, M(meshnode.lab.mesh_restart) does that. RV(restart_required) compares what the agent runs with
    against what is on disk, so a run that was interrupted is completed by the next one.
  - The node needs systemd and the Python that the package was built for.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.agent
  - meshnode.lab.node_agent
attributes:
  check_mode:
    support: full
    details:
      - On a node that lacks the package, or the certificates, the configuration is not validated.
  diff_mode:
    support: full
    details:
      - Secrets are shown as fingerprints, certificates as digests.
  idempotent:
    support: full
  action:
    description: Has a corresponding action plugin, so some parts of the options are handled on the controller.
    support: full
options:
  _archive:
    description:
      - Not for users. The controller says with it where on the node the package was put.
    type: path
  _files:
    description:
      - Not for users. The files that the controller rendered, with placeholders for secrets.
    type: raw
  _secrets:
    description:
      - Not for users. The secrets by their placeholders.
    type: raw
  package:
    description:
      - The package as RV(meshnode.lab.mesh_package#module:package) of M(meshnode.lab.mesh_package) describes it.
    type: dict
    required: true
    suboptions:
      architecture:
        description:
          - Machine that it was built for. A node that differs is refused.
        type: str
      digest:
        description:
          - Names the content, and the release's directory on the node.
        type: str
        required: true
      distributions:
        description:
          - Dependencies in it.
        type: list
        elements: str
      path:
        description:
          - The archive on the controller.
        type: path
        required: true
      python_version:
        description:
          - Python that it was built for. A node that differs is refused.
        type: str
      version:
        description:
          - Version of meshnode.
        type: str
  config:
    description:
      - The agent's configuration. Required.
      - Written with sorted keys, as C(to_nice_json) writes it.
    type: dict
  config_file:
    description:
      - Name of the file in O(config_dir) that this module writes. Other files there are left alone.
    type: str
    default: meshnode.json
  config_alias:
    description:
      - Link to O(config_dir) for those who look there. Empty for none.
    type: str
    default: /consul/config
  data_dir:
    description:
      - The agent's data directory.
    type: path
    default: /var/lib/consul
  gossip_cluster:
    description:
      - Name of the cluster whose primary gossip key becomes C(encrypt) in the configuration.
        The key is read from the controller's secret store, see M(meshnode.lab.mesh_gossip_key).
      - C(encrypt) in O(config) wins over it.
    type: str
  gossip_store:
    description:
      - The secret store on the controller. By default C(.secrets) beside the inventory.
    type: path
  gossip_wan_cluster:
    description:
      - On servers of several datacenters, the name in the secret store of the keyring of WAN gossip, which all of them
        share. It becomes C(serf/remote.keyring) below O(data_dir), for the agent's next start. Keys that the agent has
        taken up since are left there.
      - Without it the WAN begins with the key of the LAN.
    type: str
  tls:
    description:
      - The agent's certificates. The private key is made on the node and stays there, see M(meshnode.lab.mesh_csr).
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
          - The node's certificate as PEM. Without it the file is left alone.
        type: str
      cert_file:
        description:
          - Path for O(tls.certificate).
        type: path
        required: true
      key_file:
        description:
          - Path of the private key, which gets mode 0600 and O(user) as its owner.
        type: path
        required: true
  client_environment:
    description:
      - Variables that the command line takes as its own when they are unset, such as C(CONSUL_HTTP_ADDR).
    type: dict
    default: {}
  client_environment_file:
    description:
      - File for O(client_environment), removed when there are none.
    type: path
    default: /etc/meshnode/client.env
  roll:
    description:
      - Id of a roll, for M(meshnode.lab.mesh_rollback). When package, configuration, unit or O(client_environment) are
        to be replaced, what was there before is kept in C(before.json) below O(install_dir), for root alone.
      - The first time counts. What a later call with the same id finds may be half of the new.
      - Without it nothing is kept.
    type: str
  unit:
    description:
      - Text of the systemd unit. Without it no unit is written.
    type: str
  installed:
    description:
      - Digest of the release that the node is known to have, empty when it is known to have none.
        When it is not the wanted one the package is sent at once, which saves the call that would ask.
    type: str
  name:
    description:
      - Name of the unit, without C(.service).
    type: str
    default: consul
  user:
    description:
      - User that the agent runs as, created when there is none.
    type: str
    default: consul
  group:
    description:
      - The user's group. By default named as the user.
    type: str
  install_dir:
    description:
      - Where releases are unpacked. The current one, the one before and the one that O(roll) kept stay.
    type: path
    default: /opt/meshnode
seealso:
  - module: meshnode.lab.mesh_package
  - module: meshnode.lab.mesh_restart
  - module: meshnode.lab.mesh_csr
  - module: meshnode.lab.mesh_rollback
author:
  - The meshnode authors (@meshnode)
"""

EXAMPLES = r"""
- name: Build the package
  meshnode.lab.mesh_package:
  register: build

- name: Put the agent on the node
  meshnode.lab.mesh_node:
    package: "{{ build.package }}"
    config:
      node_name: "{{ inventory_hostname }}"
      data_dir: /var/lib/consul
      retry_join: [192.0.2.10]
    gossip_cluster: lab
    unit: "{{ lookup('ansible.builtin.template', 'consul.service.j2') }}"
"""

RETURN = r"""
changes:
  description: A line for each thing that was changed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ['/etc/consul.d/meshnode.json: mode 0644 -> 0640']
config_digest:
  description: SHA-256 over the configuration files on the node, as the agent reports it once it runs with them.
  returned: success
  type: str
package_digest:
  description: Digest of the package.
  returned: success
  type: str
restart_required:
  description: Whether the agent runs with something else than what is on disk, or does not run.
  returned: success
  type: bool
reload_required:
  description: Whether only the certificates differ, which an agent takes up without a restart.
  returned: success
  type: bool
restart_pending:
  description: Whether an agent runs, but with something else than what is on disk. It should be restarted in its turn.
  returned: success
  type: bool
restart_reasons:
  description: Why.
  returned: success
  type: list
  elements: str
  sample: [the agent is not running]
"""

import contextlib
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils._files import ConflictError
from ansible_collections.meshnode.lab.plugins.module_utils._node import Node, NodeError, plan_from, summary_of
from ansible_collections.meshnode.lab.plugins.module_utils._node_spec import ARGUMENT_SPEC, PRIVATE_SPEC
from ansible_collections.meshnode.lab.plugins.module_utils._release import ReleaseError


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec={**ARGUMENT_SPEC, **PRIVATE_SPEC}, supports_check_mode=True)
    if module.params["_files"] is None:
        module.fail_json(msg="mesh_node works through its action plugin: call it as meshnode.lab.mesh_node")
    node = Node(module, plan_from(module.params), module.params["_archive"])
    try:
        outcome = node.run()
        if outcome.package_needed:
            module.exit_json(changed=False, package_needed=True)
        result = summary_of(node)
    except (ConflictError, NodeError, ReleaseError) as error:
        module.fail_json(msg=str(error), changed=bool(node.outcome.changes), changes=node.outcome.changes)
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}", changes=node.outcome.changes)
    finally:
        if node.archive:
            with contextlib.suppress(OSError):
                os.unlink(node.archive)
    if not module._diff:  # noqa: SLF001 - the only way to know, and what ansible-core's own modules do
        del result["diff"]
    module.exit_json(changed=bool(outcome.changes), **result)


if __name__ == "__main__":
    main()
