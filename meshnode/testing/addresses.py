"""Addresses on loopback that nobody else uses.

On Linux all of 127.0.0.0/8 is this machine: each agent gets an address of its own and the default ports, and so looks
like a node of its own. Elsewhere only 127.0.0.1 is, and each agent gets free ports there.
"""

from __future__ import annotations

import contextlib
import random
import socket
import sys
from dataclasses import dataclass
from typing import Final

from meshnode.base.errors import MeshError

__all__ = ["MAX_AGENTS", "Listen", "Reservation"]

#: Most agents of one mesh; they share the first three bytes of their addresses.
MAX_AGENTS: Final = 100
#: The host number whose RPC port is held for as long as the mesh lives: the mark that its network is taken.
_MARK: Final = 254
_PROBED_PORTS: Final = (8300, 8301, 8500)
_ATTEMPTS: Final = 200


@dataclass(frozen=True, slots=True)
class Listen:
    """Where one agent listens: an address and its ports."""

    host: str
    http: int = 8500
    https: int = 8501
    dns: int = 8600
    server: int = 8300
    serf_lan: int = 8301
    serf_wan: int = 8302

    @property
    def lan(self) -> str:
        """``host:port`` of LAN gossip, as ``retry_join`` takes it."""
        return f"{self.host}:{self.serf_lan}"

    @property
    def wan(self) -> str:
        """``host:port`` of WAN gossip, as ``retry_join_wan`` takes it."""
        return f"{self.host}:{self.serf_wan}"


class Reservation:
    """Addresses for up to :data:`MAX_AGENTS` agents, kept from other meshes on this machine until ``close``."""

    def __init__(self, *, own_addresses: bool = sys.platform == "linux") -> None:
        self._held: list[socket.socket] = []
        self._given = 0
        #: The first three bytes of every address; empty where all agents share 127.0.0.1.
        self.network = self._free_network() if own_addresses else ""

    def take(self) -> Listen:
        """The next agent's place; raises :class:`MeshError` when there is none left."""
        if self._given >= MAX_AGENTS:
            raise MeshError(f"a mesh has at most {MAX_AGENTS} agents: ask for fewer")
        self._given += 1
        if self.network:
            return Listen(f"{self.network}.{self._given}")
        return Listen("127.0.0.1", *_free_ports(6))

    def close(self) -> None:
        """Give the addresses back."""
        for held in self._held:
            held.close()

    def _free_network(self) -> str:
        rng = random.SystemRandom()
        for _ in range(_ATTEMPTS):
            network = f"127.{rng.randint(1, 254)}.{rng.randint(1, 254)}"
            mark = _listen(f"{network}.{_MARK}", _PROBED_PORTS[0])
            if mark is None:
                continue
            # Somebody who takes addresses by other rules most likely began with the first host.
            probes = [_listen(f"{network}.1", port) for port in _PROBED_PORTS]
            for probe in filter(None, probes):
                probe.close()
            if all(probes):
                self._held.append(mark)
                return network
            mark.close()
        raise MeshError("no free network found within 127.0.0.0/8: is something listening on 0.0.0.0:8300?")


def _listen(host: str, port: int) -> socket.socket | None:
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        opened.bind((host, port))
    except OSError:
        opened.close()
        return None
    return opened


def _free_ports(count: int) -> list[int]:
    # Held together until all are known, so that no number comes twice.
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in opened:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in opened]
