# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: mesh_kv
short_description: Read keys of the key/value store
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Returns values of the key/value store of a cluster, asked from the controller.
  - The keyword C(errors) of every lookup says what happens when a key is not there and has no O(default), or when the
    agent can't be reached, V(strict), V(warn) or V(ignore).
extends_documentation_fragment:
  - meshnode.lab.mesh_api
  - meshnode.lab.mesh_api.plugin
options:
  _terms:
    description:
      - Keys; with O(recurse=true), prefixes.
    type: list
    elements: str
    required: true
  recurse:
    description:
      - Return a dictionary with all keys that start with the term. The names in it are without the term.
    type: bool
    default: false
  default:
    description:
      - What a key that is not there is worth. With O(recurse=true), keys are never missing, the dictionary is empty.
    type: str
  b64:
    description:
      - Return values as base64, for those that are not text.
    type: bool
    default: false
seealso:
  - module: meshnode.lab.mesh_kv
"""

EXAMPLES = r"""
- name: One key, with a default
  ansible.builtin.debug:
    msg: "{{ lookup('meshnode.lab.mesh_kv', 'app/motd', default='none yet') }}"

- name: A folder as a dictionary, over HTTPS
  ansible.builtin.debug:
    msg: "{{ lookup('meshnode.lab.mesh_kv', 'app/config/', recurse=true, address='https://10.1.0.11:10443',
             ca_file='ca.cert', client_cert='admin.cert', client_key='admin.key', server_name='server.dc1.consul') }}"

- name: Go on without it
  ansible.builtin.debug:
    msg: "{{ lookup('meshnode.lab.mesh_kv', 'app/optional', errors='ignore') }}"
"""

RETURN = r"""
_list:
  description: For each term the value as text, or a dictionary with O(recurse=true).
  type: list
  elements: raw
"""

import base64
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.meshnode.lab.plugins.module_utils import _kv, mesh_api


class LookupModule(LookupBase):
    """Values of the key/value store."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        options = self.get_options()
        try:
            api = mesh_api.api_from(options)
            return [read(api, str(term), options) for term in terms]
        except mesh_api.MeshApiError as error:
            raise AnsibleLookupError(f"mesh_kv: {error}") from None


def read(api: mesh_api.MeshApi, term: str, options: dict[str, Any]) -> Any:
    """The value of a term; raises :class:`MeshApiError`."""
    _kv.check_key(term, "term")
    if options["recurse"]:
        pairs = _kv.read_tree(api, term)
        return {
            key.removeprefix(term): _text(pair, options["b64"]) for key, pair in pairs.items() if key != term
        }
    if not term:
        raise mesh_api.MeshApiError("term: is empty: name a key, or set recurse=true for all of them")
    pair = _kv.read_key(api, term)
    if pair is not None:
        return _text(pair, options["b64"])
    if options["default"] is None:
        raise mesh_api.MeshApiError(f"{term}: is not in the store: write the key first, or give default")
    return options["default"]


def _text(pair: _kv.Pair, b64: bool) -> str:
    if b64:
        return base64.b64encode(pair.value).decode()
    try:
        return pair.value.decode()
    except UnicodeDecodeError:
        raise mesh_api.MeshApiError(
            f"{pair.key}: its value is not text: set b64=true to get base64"
        ) from None
