# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock on a key: a session with a TTL holds it, so that it ends by itself when a play dies."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._durations import parse_duration
from ansible_collections.meshnode.lab.plugins.module_utils._kv import check_key
from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import MeshApi, MeshApiError, path_of

__all__ = ["Holder", "Lock", "Outcome", "Wish", "wish_from"]

#: The flags of Consul's own locks (package api, LockFlagValue), so that C(consul lock) and this one respect each other.
LOCK_FLAGS = 3304740253564472344
MIN_TTL, MAX_TTL = 10.0, 86400.0
MAX_LOCK_DELAY = 60.0
#: Seconds until a free key is tried again: it has a lock delay, whose end nobody tells.
RETRY_INTERVAL = 1.0
#: Seconds of one blocking query, at most; the session is renewed between two of them.
MAX_BLOCK = 60.0


@dataclass(frozen=True)
class Wish:
    """Durations are seconds. ``session`` or ``owner`` say whose the lock may be already."""

    key: str
    session: str | None
    owner: str | None
    ttl: float
    lock_delay: float
    wait_timeout: float


@dataclass(frozen=True)
class Holder:
    """Who holds the lock: the session's id, and its name if the session may be read."""

    session: str
    name: str


@dataclass(frozen=True)
class Outcome:
    """``session`` holds the lock now (empty: nobody of ours); ``before`` held it when we came."""

    changed: bool
    session: str
    before: Holder | None
    waited: float = 0.0


def wish_from(options: Mapping[str, Any]) -> Wish:
    """From the options of the module; raises :class:`MeshApiError` naming the option."""
    key = check_key(options["key"], "key")
    if not key:
        raise MeshApiError("key: is empty: name a key, such as locks/deploy")
    for name in ("session", "owner"):
        if options[name] is not None and not options[name].strip():
            raise MeshApiError(f"{name}: is empty: leave it out, or give the {name}")
    if options["wait_timeout"] < 0:
        raise MeshApiError("wait_timeout: is negative: write seconds, 0 for not waiting")
    ttl = parse_duration(options["ttl"], "ttl", MIN_TTL, MAX_TTL)
    lock_delay = parse_duration(options["lock_delay"], "lock_delay", 0, MAX_LOCK_DELAY)
    return Wish(key, options["session"], options["owner"], ttl, lock_delay, options["wait_timeout"])


@dataclass
class Lock:
    """The lock of a wish at an agent."""

    api: MeshApi
    wish: Wish
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def hold(self, *, pretend: bool) -> Outcome:
        """Renew the lock if it is ours, else wait for it; raises :class:`MeshApiError` when it can't be had."""
        holder = self._holder()
        if holder and self._ours(holder):
            if not pretend:
                self._renew(holder.session)
            return Outcome(False, holder.session, holder)
        if self.wish.session:
            self._check_session(self.wish.session)
        if pretend:
            return Outcome(True, self.wish.session or "", holder)
        begun = self.clock()
        session = self.wish.session or self._create()
        try:
            self._acquire(session, begun)
        except BaseException:
            if not self.wish.session:
                self._destroy(session)
            raise
        return Outcome(True, session, holder, self.clock() - begun)

    def release(self, *, pretend: bool) -> Outcome:
        """Free the lock if it is ours; the lock of somebody else is left alone, and so is nothing at all."""
        holder = self._holder()
        if holder is None or not self._ours(holder):
            return Outcome(False, "", holder)
        if not pretend:
            self.api.put(
                path_of("kv", self.wish.key), self._content(), release=holder.session, flags=LOCK_FLAGS
            )
            self._destroy(holder.session)
        return Outcome(True, "", holder)

    def _ours(self, holder: Holder) -> bool:
        if self.wish.session:
            return holder.session == self.wish.session
        return bool(self.wish.owner) and holder.name == self.wish.owner

    def _holder(self) -> Holder | None:
        rows = self.api.get(path_of("kv", self.wish.key), consistent=True)
        if not rows:
            return None
        row = rows[0]
        if row["Flags"] != LOCK_FLAGS and row["Value"]:
            raise MeshApiError(
                f"key: {self.wish.key} holds a value that is no lock: take another key for the lock"
            )
        session = row.get("Session")
        if not session:
            return None
        found = self.api.get(path_of("session", "info", session))
        return Holder(session, str(found[0].get("Name") or "") if found else "")

    def _check_session(self, session: str) -> None:
        if not self.api.get(path_of("session", "info", session)):
            raise MeshApiError(
                f"session: {session} is gone, its TTL ran out or its node failed, and the lock with it: "
                "raise ttl, or renew more often with state=held"
            )

    def _create(self) -> str:
        body = {
            "Name": self.wish.owner or "meshnode.lab.mesh_lock",
            "TTL": f"{round(self.wish.ttl * 1000)}ms",
            "LockDelay": f"{round(self.wish.lock_delay * 1000)}ms",
            "Behavior": "release",
        }
        return str(self.api.put("/v1/session/create", body)["ID"])

    def _renew(self, session: str) -> None:
        answer = self.api.request("PUT", path_of("session", "renew", session), accept=(200, 404))
        if answer.status == 404:
            raise MeshApiError(f"session: {session} ended just now, and the lock with it: run again")

    def _destroy(self, session: str) -> None:
        self.api.put(path_of("session", "destroy", session))

    def _content(self) -> bytes:
        return json.dumps({"owner": self.wish.owner or ""}).encode()

    def _acquire(self, session: str, begun: float) -> None:
        path, index = path_of("kv", self.wish.key), 0
        renewed = self.clock()
        while True:
            if self.api.put(path, self._content(), acquire=session, flags=LOCK_FLAGS) is True:
                return
            left = self.wish.wait_timeout - (self.clock() - begun)
            answer = self.api.request("GET", path, {"consistent": True}, accept=(200, 404))
            row = answer.json()[0] if answer.status == 200 else {}
            if left <= 0:
                raise MeshApiError(self._not_free(row))
            if row.get("Session"):
                index = int(answer.headers.get("x-consul-index") or 0)
                self._wait_for_change(path, index, min(left, self.wish.ttl / 3, MAX_BLOCK))
            else:  # free, and kept for the lock delay
                self.sleep(min(left, RETRY_INTERVAL))
            if self.clock() - renewed >= self.wish.ttl / 3:
                self._renew(session)
                renewed = self.clock()

    def _wait_for_change(self, path: str, index: int, seconds: float) -> None:
        wait = max(1, round(seconds * 1000))
        # An agent answers up to a sixteenth later than it was asked to.
        limit = seconds * 17 / 16 + self.api.timeout
        self.api.request(
            "GET", path, {"index": max(1, index), "wait": f"{wait}ms"}, accept=(200, 404), timeout=limit
        )

    def _not_free(self, row: Mapping[str, Any]) -> str:
        waited = f"after {self.wish.wait_timeout:g} s" if self.wish.wait_timeout else "without waiting"
        session = row.get("Session")
        if not session:
            return f"key: {self.wish.key} is not free yet {waited}, its lock delay runs: raise wait_timeout"
        found = self.api.get(path_of("session", "info", session))
        name = f" ({found[0].get('Name')})" if found and found[0].get("Name") else ""
        return (
            f"key: {self.wish.key} is held by session {session}{name} {waited}: raise wait_timeout, or end the "
            "session when its play is dead"
        )
