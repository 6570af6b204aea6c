"""One machine under test, with an application that writes down what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

from meshnode.base.address import Address
from meshnode.gossip.effects import Effect, SendPacket, SetTimer
from meshnode.gossip.memberlist.codec import decode_message, encode_message
from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.memberlist.delegate import Peer
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.memberlist.memberlist import Memberlist
from meshnode.gossip.memberlist.messages import Alive, Message
from meshnode.gossip.memberlist.packet import open_packet, split_messages

VERSIONS = (1, 5, 2, 2, 5, 5)
ME = Address("10.0.0.1", 8301)
SOMEBODY = Address("10.0.0.9", 8301)
E = TypeVar("E")


class Application:
    """A delegate whose answers are attributes and whose notices end in ``heard``."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.meta = b"meta"
        self.outgoing: list[bytes] = []
        self.state = b"state"
        self.merge_refusal = ""
        self.alive_refusal = ""

    def node_meta(self) -> bytes:
        return self.meta

    def handle_message(self, message: bytes, now: float) -> list[Effect]:
        self.heard.append(("message", message))
        return []

    def broadcasts(self, overhead: int, limit: int) -> list[bytes]:
        taken, self.outgoing = self.outgoing, []
        return taken

    def local_state(self, joining: bool) -> bytes:
        return self.state

    def merge_remote_state(self, state: bytes, joining: bool, now: float) -> list[Effect]:
        self.heard.append(("state", state, joining))
        return []

    def peer_joined(self, peer: Peer, now: float) -> list[Effect]:
        self.heard.append(("joined", peer.name))
        return []

    def peer_left(self, peer: Peer, failed: bool, now: float) -> list[Effect]:
        self.heard.append(("failed" if failed else "left", peer.name))
        return []

    def peer_updated(self, peer: Peer, now: float) -> list[Effect]:
        self.heard.append(("updated", peer.name, peer.meta))
        return []

    def peer_conflict(self, existing: Peer, other: Peer, now: float) -> list[Effect]:
        self.heard.append(("conflict", existing.name, other.address))
        return []

    def refuse_merge(self, peers: Sequence[Peer]) -> str:
        return self.merge_refusal

    def refuse_alive(self, peer: Peer) -> str:
        return self.alive_refusal

    def ack_payload(self) -> bytes:
        return b"here"

    def ping_completed(self, peer: Peer, rtt: float, payload: bytes, now: float) -> list[Effect]:
        self.heard.append(("pinged", peer.name, round(rtt, 3), payload))
        return []


class Node:
    """A started machine called ``me`` at 10.0.0.1, and short words to talk to it."""

    def __init__(self, *, keys: Sequence[bytes] = (), started: bool = True, **config: object) -> None:
        rng = Random(7)
        self.application = Application()
        self.machine = Memberlist(
            name="me",
            address=ME,
            config=MemberlistConfig.lan(**config),
            keyring=Keyring(keys) if keys else None,
            delegate=self.application,
            rng=rng,
            entropy=rng.randbytes,
        )
        self.started = self.machine.start(0.0) if started else []

    @property
    def heard(self) -> list[tuple[Any, ...]]:
        """What the application heard since the last look, without our own arrival."""
        heard, self.application.heard = self.application.heard, []
        return [item for item in heard if item != ("joined", "me")]

    def hear(self, *messages: Message, src: Address = SOMEBODY, now: float = 1.0) -> list[Effect]:
        """Deliver messages, each in a packet of its own."""
        effects: list[Effect] = []
        for message in messages:
            effects += self.machine.handle_packet(encode_message(message), src, now)
        return effects

    def know(self, *names: str, now: float = 1.0) -> None:
        """Make nodes known, at 10.0.1.1, 10.0.1.2 and so on."""
        for name in names:
            self.hear(alive(name), now=now)
        self.application.heard.clear()

    def news(self) -> list[Message]:
        """Take everything that is queued for gossip, out of the queue for good."""
        queue, taken = self.machine._out.queue, dict[bytes, None]()
        while queue:
            taken.update(dict.fromkeys(queue.take(2, 60000, len(self.machine.members()))))
        return [decode_message(message) for message in taken]

    def state(self, name: str) -> tuple[str, int] | None:
        member = self.machine.member(name)
        return None if member is None else (member.state.name, member.incarnation)


def alive(name: str, incarnation: int = 1, *, addr: bytes | None = None, **changes: Any) -> Alive:
    """An announcement of ``name``, whose address follows from it unless given."""
    address = addr or bytes((10, 0, 1, sum(name.encode()) % 250 + 1))
    fields = {"port": 8301, "meta": b"", "versions": VERSIONS, **changes}
    return Alive(incarnation, name, address, **fields)


def of_type(effects: Sequence[Effect], kind: type[E]) -> list[E]:
    return [effect for effect in effects if isinstance(effect, kind)]


def sent(effects: Sequence[Effect]) -> list[tuple[Address, Message]]:
    """Every message sent by packet (unsealed, unlabelled), with its destination."""
    return [
        (effect.to, decode_message(part))
        for effect in of_type(effects, SendPacket)
        for part in split_messages(open_packet(effect.data, b"", None, True))
    ]


def timers(effects: Sequence[Effect], kind: type[E]) -> list[tuple[float, E]]:
    return [
        (effect.delay, effect.timer)
        for effect in of_type(effects, SetTimer)
        if isinstance(effect.timer, kind)
    ]
