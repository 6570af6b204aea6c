"""The CA's table in the state machine. Touches ``("connect-roots",)``, ``("connect-config",)`` and
``("connect-trust",)``: roots and revoked leaves, settings, and what nodes report.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, TypeAlias

from meshnode.connect.model import EMPTY, CaConfig, CaRoot, CaState, NodeTrust, Revoked

__all__ = ["CONNECT_CONFIG", "CONNECT_ROOTS", "CONNECT_TRUST", "MAX_REVOKED", "ConnectStore"]

#: ``control.watch`` has the same type; this package is below it.
WatchKey: TypeAlias = tuple[str, ...]

CONNECT_ROOTS: Final[WatchKey] = ("connect-roots",)
CONNECT_CONFIG: Final[WatchKey] = ("connect-config",)
CONNECT_TRUST: Final[WatchKey] = ("connect-trust",)
#: Leaves that are revoked at one time; those whose time is over are forgotten.
MAX_REVOKED: Final = 4096


class ConnectStore:
    """``touched`` is shared: whoever made it reads from it what changed.

    ``index`` is that of the last change of the CA as a whole: a change names the one that it was worked out from.
    ``trust_index`` is that of the last change of what nodes reported.
    """

    def __init__(self, touched: set[WatchKey]) -> None:
        self._touched: Final = touched
        self.ca: CaState = EMPTY
        self.index = 0
        self.roots_index = 0
        self.trust_index = 0
        self._trust: Final[dict[str, NodeTrust]] = {}
        self._revoked: Final[dict[str, Revoked]] = {}

    # Reading

    def trust(self) -> list[NodeTrust]:
        """What nodes reported, by name."""
        return [self._trust[key] for key in sorted(self._trust)]

    def revoked(self) -> list[Revoked]:
        """The revoked leaves, by serial number."""
        return [self._revoked[key] for key in sorted(self._revoked)]

    def is_revoked(self, serial: str) -> bool:
        """Whether the leaf with that serial number is revoked."""
        return serial.lower() in self._revoked

    # Writing

    def set(self, index: int, ca: CaState, expected: int) -> bool:
        """Replace the CA if it was last changed at ``expected`` (0: never). Says whether it did."""
        if expected != self.index:
            return False
        config, roots = _config(index, self.ca.config, ca.config), _roots(index, self.ca.roots, ca.roots)
        if config != self.ca.config:
            self._touched.add(CONNECT_CONFIG)
        if (roots, ca.distrusted) != (self.ca.roots, self.ca.distrusted):
            self.roots_index = index
            self._touched.add(CONNECT_ROOTS)
        self.ca, self.index = replace(ca, config=config, roots=roots), index
        self._touched.add(CONNECT_TRUST)
        return True

    def report(self, index: int, trust: NodeTrust) -> None:
        """Take what a node says it trusts; nothing at all: it has left the mesh."""
        key = trust.node.lower()
        if self._trust.get(key) == trust:
            return
        self.trust_index = index
        if not trust.roots:
            self._trust.pop(key, None)
        else:
            self._trust[key] = trust
        self._touched.add(CONNECT_TRUST)

    def end_of_nodes(self, index: int, names: Iterable[str]) -> None:
        """Forget nodes that are out of the catalog."""
        for name in names:
            if self._trust.pop(name.lower(), None) is not None:
                self.trust_index = index
                self._touched.add(CONNECT_TRUST)

    def revoke(self, index: int, revoked: Revoked) -> str:
        """Add a leaf to those revoked, and forget those whose time is over; returns why not, or ``""``."""
        for serial in [key for key, row in self._revoked.items() if row.not_after <= revoked.at]:
            del self._revoked[serial]
        serial = revoked.serial.lower()
        if serial not in self._revoked and len(self._revoked) >= MAX_REVOKED:
            return f"{MAX_REVOKED} leaves are revoked already: rotate the root, which ends all of them"
        self._revoked[serial] = replace(revoked, serial=serial)
        self.roots_index = index
        self._touched.add(CONNECT_ROOTS)
        return ""

    # Snapshots

    def load(
        self,
        ca: CaState,
        indexes: tuple[int, int, int],
        trust: Iterable[NodeTrust],
        revoked: Iterable[Revoked],
    ) -> None:
        """Take over what a snapshot has; ``indexes``: of the CA, of the roots, of the reports."""
        self.ca, (self.index, self.roots_index, self.trust_index) = ca, indexes
        self._trust.update((row.node.lower(), row) for row in trust)
        self._revoked.update((row.serial, row) for row in revoked)


def _config(index: int, old: CaConfig | None, new: CaConfig | None) -> CaConfig | None:
    if new is None:
        return None
    if old is None:
        return replace(new, create_index=index, modify_index=index)
    same = replace(new, create_index=old.create_index, modify_index=old.modify_index)
    return old if same == old else replace(same, modify_index=index)


def _roots(index: int, old: tuple[CaRoot, ...], new: tuple[CaRoot, ...]) -> tuple[CaRoot, ...]:
    known = {root.id: root for root in old}
    rows = []
    for root in new:
        was = known.get(root.id)
        if was is None:
            rows.append(replace(root, create_index=index, modify_index=index))
            continue
        same = replace(root, create_index=was.create_index, modify_index=was.modify_index)
        rows.append(was if same == was else replace(same, modify_index=index))
    return tuple(rows)
