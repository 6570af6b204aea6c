#!/usr/bin/python

# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_package
short_description: Build the archive that brings the agent to nodes
description:
  - Packs the agent and its run-time dependencies into one archive for the Python of the nodes.
    A node needs that Python and nothing else, neither pip nor a network.
  - Works on the controller, without a connection and without become.
  - The digest in the name covers sources, dependency versions and target; an archive that exists is not built again.
    Dependencies are cached apart from the sources, so that a changed source line costs well under two seconds.
  - Dependencies come in the versions installed on the controller, where they were tested, and else as pip chooses
    within the bounds of C(pyproject.toml).
extends_documentation_fragment:
  - meshnode.lab.attributes
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
options:
  architecture:
    description: Machine of the nodes, as C(uname -m) has it there.
    type: str
    default: x86_64
  cache_dir:
    description:
      - Where archives are kept, the newest six. By default C($XDG_CACHE_HOME/meshnode) or C(~/.cache/meshnode).
    type: path
  interpreter:
    description: Absolute path of the Python on the nodes that runs the agent and its command line.
    type: path
    default: /usr/bin/python3
  python_version:
    description: Minor version of that Python, quoted. Wheels with machine code are chosen by it.
    type: str
    default: '3.11'
  source:
    description: Directory that holds C(pyproject.toml) and C(meshnode/). By default the collection itself.
    type: path
attributes:
  check_mode:
    support: full
    details: Reports the digest and whether the archive would be built.
  diff_mode:
    support: none
  idempotent:
    support: full
  action:
    description: Has a corresponding action plugin, so some parts of the options are handled on the controller.
    support: full
"""

EXAMPLES = r"""
- name: Build the package
  meshnode.lab.mesh_package:
  register: build

- name: Build it for other nodes
  meshnode.lab.mesh_package:
    python_version: '3.13'
    architecture: aarch64
"""

RETURN = r"""
package:
  description: What M(meshnode.lab.mesh_node) takes as O(meshnode.lab.mesh_node#module:package).
  type: dict
  returned: success
  contains:
    architecture:
      description: Machine it was built for.
      type: str
    digest:
      description: 16 hex digits that name its content.
      type: str
    distributions:
      description: Pinned dependencies.
      type: list
      elements: str
    path:
      description: Archive on the controller.
      type: str
    python_version:
      description: Python it was built for.
      type: str
    version:
      description: Version of meshnode.
      type: str
seconds:
  description: Time taken.
  type: float
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "architecture": {"type": "str", "default": "x86_64"},
            "cache_dir": {"type": "path"},
            "interpreter": {"type": "path", "default": "/usr/bin/python3"},
            "python_version": {"type": "str", "default": "3.11"},
            "source": {"type": "path"},
        },
        supports_check_mode=True,
    )
    module.fail_json(msg="mesh_package works through its action plugin: call it as meshnode.lab.mesh_package")


if __name__ == "__main__":
    main()
