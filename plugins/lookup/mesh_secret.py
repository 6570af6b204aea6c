# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: mesh_secret
short_description: Read gossip keys and CA certificates from the controller's secret store
version_added: 0.1.0
author:
  - The meshnode authors (@meshnode)
description:
  - Returns what M(meshnode.lab.mesh_gossip_key) and M(meshnode.lab.mesh_ca) keep.
  - A gossip key that this returns becomes part of the task that uses it. Set C(no_log=true) on that task and never put
    the value into C(set_fact), C(vars) that are printed, or a command line.
  - The roles of this collection do not use this for keys. M(meshnode.lab.mesh_node) reads the store itself.
  - The private key of the CA is not available, for no task has a use for it.
options:
  _terms:
    description:
      - V(gossip_key), the primary key; V(gossip_keyring), every key, the primary one first;
        V(gossip_fingerprints), their fingerprints; V(ca_certificate), the certificate of the CA that signs;
        V(ca_bundle), the certificates of all trusted generations.
    type: list
    elements: str
    required: true
  store:
    description: Directory of the secret stores. When left out, it is C(.secrets) next to the inventory.
    type: path
  cluster:
    description: Name of the cluster.
    type: str
    default: dc1
"""

EXAMPLES = r"""
- name: Write the key into a file of another program
  ansible.builtin.copy:
    content: "{{ lookup('meshnode.lab.mesh_secret', 'gossip_key', cluster='dc1') }}"
    dest: /etc/serf/encrypt_key
    owner: root
    mode: "0600"
  no_log: true
  diff: false
"""

RETURN = r"""
_list:
  description: One value for each term; several for V(gossip_keyring) and V(gossip_fingerprints).
  type: list
  elements: str
"""

import os
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.meshnode.lab.plugins.module_utils import _authorities, _controller, _gossip_keyring
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStore, SecretStoreError

TERMS = ("gossip_key", "gossip_keyring", "gossip_fingerprints", "ca_certificate", "ca_bundle")


class LookupModule(LookupBase):
    """Values from the secret store."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        beside = (variables or {}).get("inventory_dir") or os.getcwd()
        try:
            _controller.require_meshnode()
            store = SecretStore(
                self.get_option("store") or os.path.join(beside, ".secrets"), self.get_option("cluster")
            )
            return [value for term in terms for value in read(store, term)]
        except (_controller.ControllerError, SecretStoreError) as error:
            raise AnsibleLookupError(f"mesh_secret: {error}") from None


def read(store: SecretStore, term: str) -> list[str]:
    """The values of one term."""
    if term not in TERMS:
        raise SecretStoreError(f"{term!r} can't be looked up: write one of {', '.join(TERMS)}")
    if term.startswith("gossip"):
        keys = _gossip_keyring.read_keys(store)
        if not keys:
            raise SecretStoreError(
                f"{store.path} holds no gossip key: run meshnode.lab.mesh_gossip_key first"
            )
        if term == "gossip_fingerprints":
            return [key.fingerprint for key in keys]
        return [key.text for key in (keys[:1] if term == "gossip_key" else keys)]
    generations = _authorities.read_generations(store)
    if generations is None:
        raise SecretStoreError(f"{store.path} holds no CA: run meshnode.lab.mesh_ca first")
    if term == "ca_certificate":
        return [_authorities.read_certificate(store, generations.current)]
    return [_authorities.read_bundle(store, generations)]
