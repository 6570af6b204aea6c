#!/usr/bin/python
# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_procedure
short_description: One procedure at a time changes the mesh, and one that was broken off is finished first
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Keeps a record in the secret store on the controller which procedure is under way, whose it is, since when, and how
    far it came. Needs no agent, so it works when the mesh does not.
  - A record whose run of C(ansible-playbook) is alive is a lock. One whose run has ended is a procedure that was broken
    off. The same procedure takes it over, any other one is refused.
  - A run on another controller counts as alive for an hour after its last phase.
extends_documentation_fragment:
  - meshnode.lab.attributes
  - meshnode.lab.attributes.store
  - meshnode.lab.secret_store
attributes:
  check_mode:
    support: full
    details: Refuses what a real run would, and writes nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
  action:
    description: Has a corresponding action plugin, which does all of it on the controller.
    support: full
options:
  name:
    description: The procedure, named as its playbook.
    type: str
    required: true
  state:
    description:
      - V(begun) takes the turn, V(phase) says how far it is, V(ended) that nothing is under way any more.
    type: str
    choices: [begun, phase, ended]
    required: true
  phase:
    description: Name of the phase.
    type: str
    default: ''
  notes:
    description: Public values that a later run needs in order to go on, such as a fingerprint.
    type: dict
    default: {}
  stop_at:
    description: Fail at this phase, to go on another time; the tests of the procedures are made with it.
    type: str
    default: ''
  force:
    description: Take over from a run that is thought to be alive.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: It is our turn
  meshnode.lab.mesh_procedure:
    store: "{{ inventory_dir }}/.secrets"
    name: gossip_rotate
    state: begun
  run_once: true
"""

RETURN = r"""
phase:
  description: How far the procedure is.
  returned: success
  type: str
notes:
  description: What was noted.
  returned: success
  type: dict
resumed:
  description: Whether an earlier run came to some phase already.
  returned: success
  type: bool
"""

# The work is in plugins/action/mesh_procedure.py and plugins/module_utils/_procedure.py.
