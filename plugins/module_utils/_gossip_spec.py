# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of M(meshnode.lab.mesh_gossip), and how its action and that of M(meshnode.lab.mesh_keyring) find a key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._agent_api import API_OPTIONS
from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import LAYOUT_OPTIONS
from ansible_collections.meshnode.lab.plugins.module_utils._redact import fingerprint
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import (
    SecretStore,
    SecretStoreError,
    read_gossip_keyring,
)

#: The store's first key.
PRIMARY = "primary"

#: Of both modules, documented in the fragment secret_store.gossip, but for C(key).
STORE_SPEC: dict[str, dict[str, Any]] = {
    "gossip_cluster": {"type": "str", "default": "dc1"},
    "gossip_store": {"type": "path"},
    "key": {"type": "str", "no_log": False},
}
ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **STORE_SPEC,
    **API_OPTIONS,
    **LAYOUT_OPTIONS,
    "config_file": {"type": "str", "default": "meshnode.json"},
    "data_dir": {"type": "path", "default": "/var/lib/consul"},
    "encrypted": {"type": "bool"},
    "group": {"type": "str", "default": "consul"},
    "name": {"type": "str", "default": "consul"},
    "pool": {"type": "str", "choices": ["lan", "wan"], "default": "lan"},
    "verify_incoming": {"type": "bool"},
    "verify_outgoing": {"type": "bool"},
}
#: What the action adds.
PRIVATE_SPEC: dict[str, dict[str, Any]] = {"_key": {"type": "str", "no_log": True}}


def key_of(options: Mapping[str, Any], inventory_dir: str | None) -> str:
    """The key of the store with the fingerprint C(options["key"]); raises :class:`SecretStoreError`."""
    folder = options["gossip_store"] or os.path.join(inventory_dir or ".", ".secrets")
    store = SecretStore(folder, options["gossip_cluster"] or "dc1")
    keyring = read_gossip_keyring(store)
    if keyring is None:
        raise SecretStoreError(f"{store.path} holds no gossip key: run the role mesh_gossip first")
    if options["key"] == PRIMARY:
        return keyring.primary
    by_name = {fingerprint(key): key for key in keyring.keys}
    if options["key"] not in by_name:
        raise SecretStoreError(
            f"key: no gossip key in {store.path} has the fingerprint {options['key']}: there is {', '.join(by_name)}"
        )
    return by_name[options["key"]]
