# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options of modules that work on a node beside its agent."""

from __future__ import annotations


class ModuleDocFragment:
    """Where the agent of this node is; C(API) says how it is asked, C(UNIT) what it runs as."""

    DOCUMENTATION = r"""
options:
  config_dir:
    description:
      - Directory that the agent loads.
    type: path
    default: /etc/consul.d
  install_dir:
    description:
      - Where releases are unpacked.
    type: path
    default: /opt/meshnode
  state_file:
    description:
      - Where the running agent says what it runs with.
    type: path
    default: /run/consul/state.json
"""

    API = r"""
options:
  address:
    description:
      - Where the agent's API answers on this node, such as C(https://127.0.0.1:10443) or C(unix:///run/consul/http.sock).
    type: str
    default: http://127.0.0.1:8500
  ca_file:
    description:
      - CA certificates on the node, for an address with C(https).
    type: path
  cert_file:
    description:
      - Certificate on the node to show to the API.
    type: path
  key_file:
    description:
      - Its key on the node.
    type: path
  token:
    description:
      - Token for the API.
    type: str
"""

    UNIT = r"""
options:
  name:
    description:
      - Name of the unit, without C(.service).
    type: str
    default: consul
  node_address:
    description:
      - The address that this node advertises, to know whether it is the leader.
    type: str
    default: ''
"""
