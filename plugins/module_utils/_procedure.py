# Copyright (c) 2026 The meshnode authors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which procedure changes the mesh now, whose it is and how far it came: one record in the controller's store.

A record whose run is alive is a lock. One whose run has ended is a procedure that was broken off: the same procedure
takes it over and goes on, any other one is refused until that one is finished; only a roll and its way back take each
other over. One that ended before its first phase has changed nothing, and makes way. ``decide`` is all of it, and pure.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStore, SecretStoreError

#: A roll that was broken off may be taken back, and a rollback that was broken off may be rolled on.
WAYS = {"roll": ("rollback", "takes it back"), "rollback": ("roll", "rolls on to the new")}
RECORD_FILE = "procedure.json"
#: A run on another controller can't be looked at: after this many seconds without a phase it counts as dead.
REMOTE_PATIENCE = 3600.0
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


class ProcedureError(Exception):
    """The procedure may not go on; ``str()`` says whose turn it is, since when, and what to do."""


@dataclass(frozen=True)
class Run:
    """One run of ansible-playbook. ``born`` is the start of the process in clock ticks since boot, against reuse."""

    user: str
    host: str
    pid: int
    born: str


@dataclass(frozen=True)
class Record:
    """A procedure under way. Times are seconds since the epoch; ``notes`` are public values that later runs need."""

    procedure: str
    run: Run
    since: float
    touched: float
    phase: str
    notes: dict[str, str]

    def who(self, now: float) -> str:
        """Owner and age in words."""
        return (
            f"{self.procedure}, begun by {self.run.user} on {self.run.host} (process {self.run.pid}) "
            f"{age(now - self.since)} ago, phase {self.phase or 'begin'}"
        )


def age(seconds: float) -> str:
    """``45 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def decide(found: Record | None, procedure: str, run: Run, alive: bool, now: float, *, force: bool) -> Record:
    """The record of ``procedure`` for ``run``; raises :class:`ProcedureError` when it is not its turn.

    ``alive`` says whether the run of ``found`` still is; ``force`` takes a record over that is thought to be alive.
    """
    if not _NAME.fullmatch(procedure):
        raise ProcedureError(
            f"name: {procedure!r} is not a procedure: use lower-case letters, digits and '_'"
        )
    if found is None:
        return Record(procedure, run, now, now, "", {})
    if found.run != run:
        elsewhere = found.run.host != run.host
        if elsewhere and now - found.touched > REMOTE_PATIENCE:
            alive = False
        if alive and not force:
            hint = (
                f"if that run is dead, say -e mesh_procedure_force=true, or wait for {age(REMOTE_PATIENCE)}"
                if elsewhere
                else "let it end, or end that process and run again"
            )
            raise ProcedureError(f"the mesh is being changed: {found.who(now)}: {hint}")
    if found.procedure != procedure:
        if not found.phase:
            return Record(procedure, run, now, now, "", {})
        other, does = WAYS.get(found.procedure, ("", ""))
        if procedure == other:
            return replace(found, procedure=procedure, run=run, since=now, touched=now)
        raise ProcedureError(
            f"a procedure was broken off: {found.who(now)}: run playbooks/{found.procedure}.yml again, which "
            f"finishes it,{f' or playbooks/{other}.yml, which {does},' if other else ''} before {procedure}"
        )
    return replace(found, run=run, touched=now)


def read(store: SecretStore) -> Record | None:
    """The record in ``store``, if there is one."""
    text = store.read(RECORD_FILE)
    if not text or not text.strip():
        return None
    try:
        loaded: dict[str, Any] = json.loads(text)
        run = Run(**{name: loaded["run"][name] for name in ("user", "host", "pid", "born")})
        notes = {str(name): str(value) for name, value in loaded["notes"].items()}
        times = float(loaded["since"]), float(loaded["touched"])
        return Record(str(loaded["procedure"]), run, *times, str(loaded["phase"]), notes)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SecretStoreError(
            f"{store.path}/{RECORD_FILE} is damaged: it says which procedure is under way; when none is, remove it"
        ) from None


def write(store: SecretStore, record: Record | None) -> None:
    """Put ``record`` in place; ``None`` says that nothing is under way. Needs the lock of the store."""
    store.replace(RECORD_FILE, json.dumps(asdict(record), indent=2) + "\n" if record else "\n")
