"""Setups of an agent for the exposure matrix: every combination, or few of them in which every pair occurs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

__all__ = ["Setup", "covering", "every"]

GOSSIP: Final = ("no key", "in+out", "in", "out", "neither")
TLS: Final = (
    "no certificate",
    "certificate",
    "verify_incoming",
    "verify_incoming_rpc",
    "verify_incoming_https",
)
PORTS: Final = ("http", "https", "http+https", "none")
CLIENT: Final = ("inside", "outside", "both")
ROLES: Final = ("server", "client")


@dataclass(frozen=True, slots=True)
class Setup:
    """One combination.

    ``gossip``: which of ``encrypt_verify_incoming`` and ``encrypt_verify_outgoing`` are true, given a key. ``tls``:
    what is set of ``verify_incoming`` and its two parts, given a certificate. ``ports``: which of HTTP and HTTPS
    are on. ``client``: the addresses in ``client_addr``.
    """

    gossip: str
    tls: str
    ports: str
    client: str
    role: str

    @property
    def possible(self) -> bool:
        """Whether an agent starts so: HTTPS needs a certificate."""
        return self.tls != "no certificate" or "https" not in self.ports.split("+")

    def configuration(
        self, *, inside: str, outside: str, key: str, ca_file: str, cert_file: str, key_file: str
    ) -> dict[str, Any]:
        """The keys of an agent's configuration; ``inside`` stands for the loopback of the node at ``outside``."""
        addresses = {"inside": inside, "outside": outside, "both": f"{inside} {outside}"}
        on = self.ports.split("+")
        found: dict[str, Any] = {
            "bind_addr": outside,
            "client_addr": addresses[self.client],
            "ports": {"http": 8500 if "http" in on else -1, "https": 8501 if "https" in on else -1},
        }
        if self.role == "server":
            found |= {"server": True, "bootstrap_expect": 1}
        if self.gossip != "no key":
            found |= {
                "encrypt": key,
                "encrypt_verify_incoming": "in" in self.gossip.split("+"),
                "encrypt_verify_outgoing": "out" in self.gossip.split("+"),
            }
        if self.tls != "no certificate":
            found |= {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file}
        if self.tls.startswith("verify"):
            found[self.tls] = True
        return found

    def __str__(self) -> str:
        """The values, in the order of the fields."""
        return ", ".join(getattr(self, one.name) for one in fields(self))


_AXES: Final[Mapping[str, Sequence[str]]] = {
    "gossip": GOSSIP,
    "tls": TLS,
    "ports": PORTS,
    "client": CLIENT,
    "role": ROLES,
}


def every() -> list[Setup]:
    """Every combination that an agent starts with."""
    return [setup for values in itertools.product(*_AXES.values()) if (setup := Setup(*values)).possible]


def covering() -> list[Setup]:
    """Few setups in which each possible pair of values of two axes occurs: greedy, and the same at every call."""
    candidates = every()
    missing = {pair for setup in candidates for pair in _pairs(setup)}
    chosen: list[Setup] = []
    while missing:
        best = max(candidates, key=lambda setup: len(missing & set(_pairs(setup))))
        missing -= set(_pairs(best))
        chosen.append(best)
    return chosen


def _pairs(setup: Setup) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    values = [(name, str(getattr(setup, name))) for name in _AXES]
    return itertools.combinations(values, 2)
