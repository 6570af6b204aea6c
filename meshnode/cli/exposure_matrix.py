"""The exposure matrix: an agent on loopback for each setup, knocked at, and compared with what its files claim.

Each agent has two addresses: its network's, where others would reach it, and one that stands for its own loopback.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from meshnode.agent.config import load_files
from meshnode.base.errors import ConfigError
from meshnode.base.gossip_key import parse_gossip_key
from meshnode.cli.exposure import settings_of
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.exposure import Answer, Door, Knock, Place, claims, differences
from meshnode.prove.exposure_setups import Setup
from meshnode.runtime.exposure import Visitor, observe
from meshnode.testing.addresses import Reservation
from meshnode.testing.credentials import Credentials
from meshnode.testing.process import AgentProcess

__all__ = ["Result", "compare_all", "observe_setups"]

#: Agents at one time, and the ports of doors that a setup turns off: nobody may listen there.
_AT_ONCE: Final = 4
_PORTS: Final = {Door.RPC: 8300, Door.HTTP: 8500, Door.HTTPS: 8501, Door.DNS: 8600}
_NODE: Final = "exposed"


@dataclass(frozen=True, slots=True)
class Result:
    """One setup: what its files claim, and what its agent does."""

    setup: Setup
    claimed: dict[Knock, Answer]
    seen: dict[Knock, Answer]

    @property
    def differences(self) -> list[str]:
        """Where the two differ."""
        return differences(self.claimed, self.seen)


def compare_all(setups: Sequence[Setup]) -> bool:
    """Print a line for each setup, then the differences; whether there is any."""
    different, knocks = 0, 0
    print(f"{len(setups)} setups: gossip, tls, ports, client_addr, role\n")
    for result in observe_setups(setups):
        found = result.differences
        different, knocks = different + bool(found), knocks + len(result.seen)
        print(f"{'DIFFERENT ' if found else 'as claimed'}  {result.setup}", flush=True)
        print(f"            outside: {_answered(result)}", flush=True)
        for sentence in found:
            print(f"            {sentence}", flush=True)
    print(f"\n{different} of {len(setups)} setups differ from what they claim; {knocks} knocks.")
    return different > 0


def observe_setups(setups: Sequence[Setup]) -> Iterator[Result]:
    """Start an agent for each setup, a few at a time, and knock at all of its doors."""
    waiting = iter(setups)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshnode-exposure-")))
        reservation = Reservation()
        stack.callback(reservation.close)
        if not reservation.network:
            raise ConfigError("-matrix needs addresses of its own in 127.0.0.0/8, which Linux has")
        lab = _Lab(folder, reservation.network)
        number = 0
        while batch := list(islice(waiting, _AT_ONCE)):
            yield from lab.run(batch, number)
            number += len(batch)


class _Lab:
    """Credentials and addresses that the agents share, one after the other."""

    def __init__(self, folder: Path, network: str) -> None:
        self._folder = folder
        self._network = network
        self._credentials = Credentials(folder)
        self._certificate = self._credentials.issue("agent", "server", "dc1")
        self._keyring = Keyring([parse_gossip_key(self._credentials.gossip_key)])

    def run(self, setups: Sequence[Setup], number: int) -> Iterator[Result]:
        agents = []
        try:
            for at, setup in enumerate(setups):
                agents.append(self._launch(setup, f"{_NODE}{number + at}", at + 1))
            for at, (setup, agent) in enumerate(zip(setups, agents, strict=True)):
                agent.wait_running()
                yield self._look(setup, agent, at + 1)
        finally:
            for agent in agents:
                agent.kill()

    def _places(self, host: int) -> dict[Place, str]:
        return {Place.INSIDE: f"{self._network}.{100 + host}", Place.OUTSIDE: f"{self._network}.{host}"}

    def _launch(self, setup: Setup, name: str, host: int) -> AgentProcess:
        places, (certificate, key) = self._places(host), self._certificate
        content = setup.configuration(
            inside=places[Place.INSIDE],
            outside=places[Place.OUTSIDE],
            key=self._credentials.gossip_key,
            ca_file=str(self._credentials.ca_file),
            cert_file=str(certificate),
            key_file=str(key),
        )
        agent = AgentProcess(name, self._folder)
        # A keyring on disk would outlive its setup.
        own = {"node_name": name, "data_dir": str(agent.data_dir), "disable_keyring_file": True}
        agent.config_file.write_text(json.dumps(content | own))
        agent.launch()
        return agent

    def _look(self, setup: Setup, agent: AgentProcess, host: int) -> Result:
        settings, places = settings_of(load_files([str(agent.config_file)]).config), self._places(host)
        visitor = Visitor(
            agent.name, self._keyring if settings.keyed else Keyring(), self._certificate_text()
        )
        seen = asyncio.run(observe(settings, places, visitor, _PORTS))
        return Result(setup, claims(settings, places), seen)

    def _certificate_text(self) -> tuple[str, str]:
        certificate, key = self._certificate
        return str(certificate), str(key)


def _answered(result: Result) -> str:
    """The doors that answer somebody on the network, and in which ways."""
    answered = (Answer.ANSWERS, Answer.READABLE, Answer.SEALED)
    outside = [k for k, answer in result.seen.items() if k.place is Place.OUTSIDE and answer in answered]
    return ", ".join(f"{door}: {_ways(outside, door)}" for door in Door if _ways(outside, door)) or "all shut"


def _ways(knocks: Sequence[Knock], door: Door) -> str:
    return "/".join(knock.way for knock in knocks if knock.door is door)
