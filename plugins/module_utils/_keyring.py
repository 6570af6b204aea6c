# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gossip keyring of the running cluster, changed through a server; keys are named by fingerprints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._redact import fingerprint
from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import MeshApi, MeshApiError

PATH = "/v1/operator/keyring"
#: Serf's number of that state.
FAILED = 4
VERBS = {"present": "POST", "primary": "PUT", "absent": "DELETE"}


@dataclass(frozen=True)
class Pool:
    """One gossip pool: how many members answered, and how many of them have each key."""

    name: str
    members: int
    keys: dict[str, int]

    def told(self) -> dict[str, Any]:
        """Plain values."""
        return {"pool": self.name, "members": self.members, "keys": self.keys}


def lacking(pools: Iterable[Pool], key: str) -> list[str]:
    """Pools in which not every member has the key, in words."""
    return [
        f"{pool.name}: {pool.keys.get(key, 0)} of {pool.members} members have {key}"
        for pool in pools
        if pool.keys.get(key, 0) != pool.members
    ]


class Keyring:
    """The keyring as one server sees and changes it: of C(pool) lan or wan, or of all."""

    def __init__(self, api: MeshApi, pool: str = "all") -> None:
        self.api = api
        self._wan = pool == "wan"
        self._query = {} if pool == "all" else {"pool": pool}
        #: Fingerprint -> key, of the last look.
        self._texts: dict[str, str] = {}

    def secrets(self) -> set[str]:
        """The keys themselves: what no output may hold."""
        return set(self._texts.values())

    def look(self) -> list[Pool]:
        """Every pool that is meant; raises :class:`MeshApiError`, also for an agent that would change others too."""
        answer = self.api.get(PATH, **self._query)
        pools = []
        for one in answer if isinstance(answer, list) else []:
            if self._query and bool(one.get("WAN")) is not self._wan:
                raise MeshApiError(
                    "pool: this agent is of a version that can't change one pool alone: bring a newer package to the "
                    "servers first, roll.yml"
                )
            name = "WAN" if one.get("WAN") else f"{one.get('Datacenter')} (LAN)"
            keys = {str(text): int(count) for text, count in (one.get("Keys") or {}).items()}
            self._texts |= {fingerprint(text): text for text in keys}
            pools.append(
                Pool(name, int(one.get("NumNodes") or 0), {fingerprint(t): n for t, n in keys.items()})
            )
        return pools

    def failed_members(self) -> list[str]:
        """Members that can't be reached now: they acknowledge nothing, and are not counted in the pools."""
        members = self.api.get("/v1/agent/members", wan=self._wan or None) or []
        names = [str(member.get("Name")) for member in members if member.get("Status") == FAILED]
        return sorted(name.rpartition(".")[0] if self._wan else name for name in names)

    def primary(self) -> str:
        """Fingerprint of the key that this server seals with; empty when gossip is in clear."""
        told = self.api.get("/v1/agent/self") or {}
        name = "WanGossipKeyFingerprints" if self._wan else "GossipKeyFingerprints"
        keys = (told.get("Meshnode") or {}).get(name) or []
        return str(keys[0]) if keys else ""

    def ensure(self, state: str, key: str, text: str | None, *, pretend: bool) -> tuple[bool, list[Pool]]:
        """Install, use or remove the key with that fingerprint; says whether that changed anything, and what is now.

        Every member has to acknowledge; raises :class:`MeshApiError` with those that did not.
        """
        before = self.look()
        if not before:
            raise MeshApiError("the cluster has no gossip keys: it gossips in clear, see gossip_encrypt.yml")
        known = any(key in pool.keys for pool in before)
        if state == "absent" and not known:
            return False, before
        if state == "primary" and not known:
            raise MeshApiError(f"key: no member has {key}: install it first")
        due = {
            "present": bool(lacking(before, key)),
            "primary": self.primary() != key,
            "absent": known,
        }[state]
        # Using a key again costs nothing, and asks every member once more to acknowledge it.
        if not pretend and (due or state == "primary"):
            self.api.request(VERBS[state], PATH, query=self._query, body={"Key": text or self._texts[key]})
            return due, self.look()
        return due, before
