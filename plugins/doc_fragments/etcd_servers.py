# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the option that lists the servers of an etcd cluster."""

from __future__ import annotations


class ModuleDocFragment:
    """As ``SERVERS_OPTION`` of ``module_utils/_etcd_member.py``."""

    DOCUMENTATION = r"""
options:
  servers:
    description:
      - All servers. When the cluster begins, these are its members.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the member.
        type: str
        required: true
      client:
        description:
          - URL for clients.
        type: str
        required: true
      peer:
        description:
          - URL for the other members. It tells one member from another.
        type: str
        required: true
"""
