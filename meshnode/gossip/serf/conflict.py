"""Two nodes, one name: each asks the others where they see the name, and the one with the minority gives way."""

from __future__ import annotations

from dataclasses import dataclass

from meshnode.base.address import Address
from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.effects import Effect, Level, Log, Notify
from meshnode.gossip.serf.events import NameConflictLost
from meshnode.gossip.serf.payloads import parse_conflict_answer

__all__ = ["NameVote"]


@dataclass(slots=True)
class NameVote:
    """Collector of the answers to ``_serf_conflict`` about the local node."""

    name: str
    address: Address
    responses: int = 0
    matching: int = 0
    is_over: bool = False

    @property
    def is_won(self) -> bool:
        """Whether at least half and one of those who answered see the name here (nobody: not won)."""
        return self.matching >= self.responses // 2 + 1

    def acked(self, node: str) -> list[Effect]:
        """No acknowledgement is asked for."""
        return []

    def responded(self, node: str, payload: bytes) -> list[Effect]:
        """Count one vote; a node that doesn't know the name votes for neither."""
        try:
            seen = parse_conflict_answer(payload)
        except RemoteProtocolError as error:
            return [Log(Level.ERROR, f"serf: unreadable answer of {node} about our name: {error}")]
        self.responses += 1
        self.matching += seen == self.address
        return []

    def is_complete(self) -> bool:
        """Never before the timeout: late votes count as well."""
        return False

    def finished(self) -> list[Effect]:
        """Say who won; the loser is told to stop.

        Serf's loser is also he who got no answer at all, which ends both of two nodes that are alone; we stay.
        """
        self.is_over = True
        if not self.responses:
            return [Log(Level.WARN, f"serf: nobody could say who of two nodes may be called {self.name!r}")]
        count = f"{self.matching} of {self.responses} nodes"
        if self.is_won:
            return [
                Log(
                    Level.INFO,
                    f"serf: name conflict over {self.name!r} won: {count} see it at {self.address}",
                )
            ]
        return [
            Log(
                Level.ERROR,
                f"serf: name conflict over {self.name!r} lost: only {count} see it at {self.address}. This node stops "
                "taking part; give it another node name",
            ),
            Notify(NameConflictLost(self.name, self.matching, self.responses)),
        ]
