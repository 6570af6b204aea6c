# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that name a cluster in the controller's secret store."""

from __future__ import annotations


class ModuleDocFragment:
    """C(DOCUMENTATION) for what the controller does; C(GOSSIP) for modules whose action reads a gossip key there."""

    DOCUMENTATION = r"""
options:
  store:
    description:
      - Directory of the secret stores, created with mode 0700. Below it, each cluster has a directory.
      - It must be a real directory, not a symbolic link, that belongs to the user who runs the playbook.
      - The roles use C({{ inventory_dir }}/.secrets).
    type: path
    required: true
  cluster:
    description: Name of the cluster.
    type: str
    default: dc1
"""

    GOSSIP = r"""
options:
  _key:
    description:
      - Not for users. The key, read from the store on the controller.
    type: str
  gossip_cluster:
    description:
      - Name of the cluster in the secret store.
    type: str
    default: dc1
  gossip_store:
    description:
      - The secret store on the controller. By default C(.secrets) beside the inventory.
    type: path
"""
