# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gossip encryption of one node: what its configuration says, what the running agent has, what the files keep."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._agent_api import Api, ApiError
from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import Layout, drift, load_json
from ansible_collections.meshnode.lab.plugins.module_utils._files import Absent, File, Ownership
from ansible_collections.meshnode.lab.plugins.module_utils._node_spec import WAN_KEYRING, render_config
from ansible_collections.meshnode.lab.plugins.module_utils._redact import fingerprint

#: Below the agent's data directory; the second one is a server's, of the WAN.
KEYRINGS = ("serf/local.keyring", WAN_KEYRING)
MAX_KEYRING_BYTES = 1 << 20
#: Where /v1/agent/self names the keys of a pool.
FINGERPRINTS = {"lan": "GossipKeyFingerprints", "wan": "WanGossipKeyFingerprints"}
VERIFY = ("encrypt_verify_incoming", "encrypt_verify_outgoing")


class GossipError(Exception):
    """The node can't be looked at or changed; C(str()) says what to do."""


@dataclass(frozen=True)
class Wish:
    """What the configuration is to say; C(None) leaves as it is. C(encrypted) false removes key and keyring."""

    encrypted: bool | None = None
    key: str | None = field(default=None, repr=False)
    verify_incoming: bool | None = None
    verify_outgoing: bool | None = None


@dataclass(frozen=True)
class Seen:
    """Gossip on this node; keys are fingerprints, the primary first. What the agent runs with is asked of the agent."""

    configured: str = ""
    keys: tuple[str, ...] = ()
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    verify_incoming: bool = False
    verify_outgoing: bool = False
    running: bool = False

    @property
    def phase(self) -> str:
        """How far encryption is in force: clear, key (sends in clear), outgoing (accepts clear) or encrypted."""
        if not self.keys:
            return "clear"
        if not self.verify_outgoing:
            return "key"
        return "encrypted" if self.verify_incoming else "outgoing"

    def told(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "phase": self.phase}


def look(api: Api, config_path: str, data_dir: str, pool: str = "lan") -> Seen:
    """Everything as it is now; an agent that does not answer is one that does not run.

    The keys are those of C(pool). Those of the WAN are configured by its keyring's file, which counts at a start.
    """
    configured = str(load_json(config_path).get("encrypt") or "")
    named = fingerprint(configured) if configured else ""
    files = {name: _keys_of(f"{data_dir}/{name}") for name in KEYRINGS}
    kept = {name: keys for name, keys in files.items() if keys}
    if pool == "wan":
        named = next(iter(files[WAN_KEYRING]), "")
    try:
        told = api.get("/v1/agent/self")
        keys = tuple(str(key) for key in told["Meshnode"][FINGERPRINTS[pool]])
        gossip = told["DebugConfig"]["gossip"]
        incoming, outgoing = bool(gossip["verify_incoming"]), bool(gossip["verify_outgoing"])
    except ApiError:
        return Seen(named, (), kept)
    except (KeyError, TypeError):
        raise GossipError(
            f"{api.address}/v1/agent/self: does not say which gossip keys the agent has: is it an agent of meshnode, "
            "and of this version?"
        ) from None
    return Seen(named, keys, kept, incoming, outgoing, True)


def _keys_of(path: str) -> tuple[str, ...]:
    try:
        text = Path(path).read_bytes()[:MAX_KEYRING_BYTES]
        return tuple(fingerprint(str(key)) for key in json.loads(text))
    except (OSError, ValueError, TypeError):
        return ()


def plan(wish: Wish, config_path: str, data_dir: str, group: str) -> list[File | Absent]:
    """The files that have to be put right, nothing when all is as wished; raises :class:`GossipError`."""
    config = load_json(config_path)
    if not config:
        raise GossipError(f"{config_path}: is not there or not JSON: run the playbook site.yml first")
    wanted = dict(config)
    if wish.encrypted is False:
        for key in ("encrypt", *VERIFY):
            wanted.pop(key, None)
    else:
        if wish.key:
            wanted["encrypt"] = wish.key
        given = zip(VERIFY, (wish.verify_incoming, wish.verify_outgoing))
        settings = {key: value for key, value in given if value is not None}
        wanted |= settings
        if settings and not wanted.get("encrypt"):
            raise GossipError(f"{config_path}: has no key, so there is nothing to verify: give a key first")
    items: list[File | Absent] = [
        File(config_path, render_config(wanted).encode(), Ownership("root", group, 0o640), "json")
    ]
    if wish.encrypted is False:
        items += [Absent(f"{data_dir}/{name}") for name in KEYRINGS]
    return [item for item in items if item.differences()]


def pending(layout: Layout) -> dict[str, Any]:
    """Whether the agent runs with what is on disk."""
    found = drift(layout)
    return {"restart_pending": bool(found.restart), "restart_reasons": found.restart}
