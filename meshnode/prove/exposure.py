"""What a configuration claims about each of an agent's doors: who gets an answer there, and how sealed.

A *door* is an interface on a port, a *place* is where somebody stands who knocks: *inside* (at the node's loopback
address) or *outside* (at the address that other nodes use), and a *way* is how they knock. The claim is a pure function
of the settings; what a running agent does is seen by :mod:`meshnode.runtime.exposure`, and :func:`differences` tells
the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from meshnode.base.address import Address

__all__ = [
    "Answer",
    "Called",
    "Door",
    "Knock",
    "Place",
    "Settings",
    "Way",
    "call_claims",
    "claims",
    "differences",
]

_ANY: Final = frozenset({"0.0.0.0", "::"})


class Door(StrEnum):
    """An interface of an agent."""

    GOSSIP_UDP = "gossip udp"
    GOSSIP_TCP = "gossip tcp"
    RPC = "server rpc"
    HTTP = "http"
    HTTPS = "https"
    DNS = "dns"


class Place(StrEnum):
    """Where somebody stands who knocks."""

    INSIDE = "inside"
    OUTSIDE = "outside"


class Way(StrEnum):
    """How somebody knocks. SEALED is gossip under the mesh's key; MUTUAL shows a certificate of the mesh's CA."""

    CLEAR = "in clear"
    SEALED = "sealed"
    TLS = "TLS"
    MUTUAL = "mutual TLS"


class Answer(StrEnum):
    """What comes back. READABLE and SEALED are answers of gossip, ANSWERS those of everybody else."""

    CLOSED = "nobody listens"
    REFUSES = "refused"
    ANSWERS = "answered"
    READABLE = "answered in clear"
    SEALED = "answered, sealed"


class Knock(NamedTuple):
    """One way at one door from one place."""

    door: Door
    place: Place
    way: Way


@dataclass(frozen=True, slots=True)
class Settings:
    """What of an agent's configuration decides who gets an answer.

    ``listeners`` are the addresses that a door is bound to, none for one that is off. ``keyed``: gossip has a key.
    ``certificate``: there is one to show to who dials.
    """

    listeners: Mapping[Door, tuple[Address, ...]]
    keyed: bool = False
    encrypt_verify_incoming: bool = True
    encrypt_verify_outgoing: bool = True
    certificate: bool = False
    verify_incoming_rpc: bool = False
    verify_incoming_https: bool = False

    def address(self, door: Door, place: str) -> Address | None:
        """Where ``door`` is reached at the IP address ``place``; ``None`` when it isn't bound there."""
        for bound in self.listeners.get(door, ()):
            if bound.host == place or bound.host in _ANY:
                return Address(place, bound.port)
        return None


#: The ways that make sense at a door. Gossip has no TLS, and DNS nothing at all.
WAYS: Final[Mapping[Door, tuple[Way, ...]]] = {
    Door.GOSSIP_UDP: (Way.CLEAR, Way.SEALED),
    Door.GOSSIP_TCP: (Way.CLEAR, Way.SEALED),
    Door.RPC: (Way.CLEAR, Way.TLS, Way.MUTUAL),
    Door.HTTP: (Way.CLEAR, Way.TLS, Way.MUTUAL),
    Door.HTTPS: (Way.CLEAR, Way.TLS, Way.MUTUAL),
    Door.DNS: (Way.CLEAR,),
}


class Called(StrEnum):
    """A server that an agent may come to call."""

    CLEAR = "a server without TLS"
    NAMED = "a server that wants certificates, with a server's"
    UNNAMED = "the same with another name in its certificate"
    FOREIGN = "the same with a certificate of another CA"


def call_claims(*, verify_outgoing: bool, verify_server_hostname: bool) -> dict[Called, bool]:
    """Which servers an agent with a CA and a certificate gets an answer from, and so tells what it asks.

    Without ``verify_outgoing`` it asks in clear, which servers that want certificates refuse.
    """
    tls = verify_outgoing or verify_server_hostname
    return {
        Called.CLEAR: not tls,
        Called.NAMED: tls,
        Called.UNNAMED: tls and not verify_server_hostname,
        Called.FOREIGN: False,
    }


def claims(settings: Settings, places: Mapping[Place, str]) -> dict[Knock, Answer]:
    """What has to come back for each knock; ``places`` are IP addresses.

    Without a gossip key nobody can knock SEALED, and without a certificate's CA MUTUAL has no meaning but TLS's: both
    are left out or answered as the door does.
    """
    found: dict[Knock, Answer] = {}
    for door, ways in WAYS.items():
        for place, host in places.items():
            for way in ways:
                if way is Way.SEALED and not settings.keyed:
                    continue
                bound = settings.address(door, host) is not None
                found[Knock(door, place, way)] = _answer(settings, door, way) if bound else Answer.CLOSED
    return found


def _answer(settings: Settings, door: Door, way: Way) -> Answer:
    if door in (Door.GOSSIP_UDP, Door.GOSSIP_TCP):
        if way is Way.CLEAR and settings.keyed and settings.encrypt_verify_incoming:
            return Answer.REFUSES
        return Answer.SEALED if settings.keyed and settings.encrypt_verify_outgoing else Answer.READABLE
    if door in (Door.HTTP, Door.DNS):
        return Answer.ANSWERS if way is Way.CLEAR else Answer.REFUSES
    checked = settings.verify_incoming_rpc if door is Door.RPC else settings.verify_incoming_https
    if way is Way.CLEAR:
        return Answer.ANSWERS if door is Door.RPC and not checked else Answer.REFUSES
    if not settings.certificate:
        return Answer.REFUSES
    return Answer.REFUSES if checked and way is Way.TLS else Answer.ANSWERS


def differences(claimed: Mapping[Knock, Answer], seen: Mapping[Knock, Answer]) -> list[str]:
    """A sentence for each knock at which something else came back than was claimed, the dangerous ones first.

    An answer that was not claimed is dangerous, and so is one in clear that was to be sealed; a door that is more shut
    than claimed is not. What was not observed makes no difference.
    """
    found = [
        (not _opens(claimed[knock], came), knock)
        for knock, came in seen.items()
        if knock in claimed and claimed[knock] is not came
    ]
    return [
        f"{knock.door} from {knock.place}, {knock.way}: {seen[knock]}; the configuration claims: {claimed[knock]}"
        + ("" if harmless else " (OPEN)")
        for harmless, knock in sorted(found)
    ]


def _opens(claimed: Answer, came: Answer) -> bool:
    order = (Answer.CLOSED, Answer.REFUSES, Answer.SEALED, Answer.ANSWERS, Answer.READABLE)
    return order.index(came) > max(order.index(claimed), order.index(Answer.REFUSES))
