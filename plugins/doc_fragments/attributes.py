# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation shared by the modules of this collection."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes that every module states."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying the target.
  diff_mode:
    description: Returns details on what has changed, or would change in C(check_mode), when in diff mode.
  idempotent:
    description: When run twice in a row with the same arguments, the second run reports no change.
"""

    LAB = r"""
options: {}
requirements:
  - A container engine that speaks Docker's API 1.41 or later.
  - The Docker SDK for Python (docker >= 7) in the interpreter that runs the module.
"""

    STORE = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/meshnode.lab.store) in C(module_defaults) to set O(store) and O(cluster) for this module.
    support: full
    membership:
      - meshnode.lab.store
"""

    AGENT = r"""
options: {}
attributes:
  action_group:
    description: >-
      Use C(group/meshnode.lab.agent) in C(module_defaults) to set O(name), O(config_dir), O(install_dir) and
      O(state_file) for this module.
    support: full
    membership:
      - meshnode.lab.agent
"""

    #: Of the modules that ask an agent; a module says what there is to add.
    API = r"""
options: {}
attributes:
  action_group:
    description: >-
      Use C(group/meshnode.lab.api) in C(module_defaults) to set O(address), O(token), O(ca_file), O(client_cert),
      O(client_key) and the other options of the API for this module.
    support: full
    membership:
      - meshnode.lab.api
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
"""
