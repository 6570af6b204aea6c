#!/usr/bin/python
# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gossip encryption of a node: look at it, or change its part of the agent's configuration."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_gossip
short_description: Look at a node's gossip encryption, or change its part of the agent's configuration
version_added: 0.1.0
description:
  - Says which gossip keys the running agent has, which one its configuration names, and how far encryption is in force.
  - Changes the keys C(encrypt), C(encrypt_verify_incoming) and C(encrypt_verify_outgoing) of the configuration that
    M(meshnode.lab.mesh_node) wrote, and nothing else. M(meshnode.lab.mesh_restart) brings them into force.
  - Keys are named by fingerprints. The key itself comes from the controller's secret store, and is never an argument.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.agent
  - meshnode.lab.node_agent
  - meshnode.lab.node_agent.api
  - meshnode.lab.secret_store.gossip
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Keys are shown as fingerprints.
  idempotent:
    support: full
  action:
    description: Has a corresponding action plugin, which reads the key from the secret store.
    support: full
options:
  encrypted:
    description:
      - With V(false) key, keyring and settings are removed. They go with the next restart.
    type: bool
  key:
    description:
      - Fingerprint of the key in the secret store that the configuration is to name. V(primary) is the first one there.
    type: str
  verify_incoming:
    description:
      - C(encrypt_verify_incoming). With V(false) gossip in clear is accepted, too.
    type: bool
  verify_outgoing:
    description:
      - C(encrypt_verify_outgoing). With V(false) gossip is sent in clear although there is a key.
    type: bool
  config_file:
    description:
      - Name of the file in O(config_dir).
    type: str
    default: meshnode.json
  data_dir:
    description:
      - The agent's data directory.
    type: path
    default: /var/lib/consul
  group:
    description:
      - Group that may read the configuration.
    type: str
    default: consul
  pool:
    description:
      - Whose keys are looked at, those of the LAN or, on a server, of the WAN. The WAN has keys of its own in its
        keyring's file, and none in the configuration.
    type: str
    choices: [lan, wan]
    default: lan
  name:
    description:
      - Name of the agent's unit, without C(.service).
    type: str
    default: consul
seealso:
  - module: meshnode.lab.mesh_gossip_key
  - module: meshnode.lab.mesh_keyring
author:
  - The meshnode authors (@meshnode)
"""

EXAMPLES = r"""
- name: Which keys does the node have?
  meshnode.lab.mesh_gossip:
  register: gossip

- name: Send sealed gossip from now on
  meshnode.lab.mesh_gossip:
    verify_outgoing: true
"""

RETURN = r"""
seen:
  description: What was found before any change.
  returned: success
  type: dict
  contains:
    configured:
      description: Fingerprint of the key that the configuration names; with O(pool=wan) the keyring file's first one.
      type: str
    keys:
      description: Fingerprints of the running agent's keys, the primary one first.
      type: list
      elements: str
    files:
      description: The same of the keyring files.
      type: dict
    verify_incoming:
      description: Whether the running agent refuses gossip in clear.
      type: bool
    verify_outgoing:
      description: Whether the running agent seals what it sends.
      type: bool
    running:
      description: Whether the agent answers.
      type: bool
    phase:
      description: V(clear), V(key), V(outgoing) or V(encrypted).
      type: str
restart_pending:
  description: Whether the agent runs with something else than what is on disk.
  returned: success
  type: bool
restart_reasons:
  description: Why.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshnode.lab.plugins.module_utils._agent_api import api_of
from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import layout_of, load_json
from ansible_collections.meshnode.lab.plugins.module_utils._files import ConflictError
from ansible_collections.meshnode.lab.plugins.module_utils._gossip_node import (
    GossipError,
    Wish,
    look,
    pending,
    plan,
)
from ansible_collections.meshnode.lab.plugins.module_utils._gossip_spec import ARGUMENT_SPEC, PRIVATE_SPEC
from ansible_collections.meshnode.lab.plugins.module_utils._redact import masked


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={**ARGUMENT_SPEC, **PRIVATE_SPEC},
        required_together=[("cert_file", "key_file")],
        mutually_exclusive=[
            ("encrypted", "key"),
            ("encrypted", "verify_incoming"),
            ("encrypted", "verify_outgoing"),
        ],
        supports_check_mode=True,
    )
    options = module.params
    if options["key"] and not options["_key"]:
        module.fail_json(
            msg="mesh_gossip works through its action plugin: call it as meshnode.lab.mesh_gossip"
        )
    if options["pool"] == "wan" and options["key"]:
        module.fail_json(
            msg="mesh_gossip: pool: the configuration has no key of the WAN: mesh_keyring changes its keyring"
        )
    path = f"{options['config_dir']}/{options['config_file']}"
    module.no_log_values.update(masked(load_json(path)))
    wish = Wish(options["encrypted"], options["_key"], options["verify_incoming"], options["verify_outgoing"])
    try:
        seen = look(api_of(options), path, options["data_dir"], options["pool"])
        items = plan(wish, path, options["data_dir"], options["group"]) if wish != Wish() else []
        diff = [item.diff() for item in items]
        if not module.check_mode:
            for item in items:
                item.put()
    except (ConflictError, GossipError) as error:
        module.fail_json(msg=f"mesh_gossip: {error}")
    except OSError as error:
        module.fail_json(msg=f"mesh_gossip: {error.filename}: {error.strerror}")
    result = {"seen": seen.told(), **pending(layout_of(options, options["name"]))}
    if module._diff:  # noqa: SLF001 - the only way to know, and what ansible-core's own modules do
        result["diff"] = diff
    module.exit_json(changed=bool(items), **result)


if __name__ == "__main__":
    main()
