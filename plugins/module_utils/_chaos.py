# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which fault hits which node, when and for how long: a pure function of the seed, so that a run can be repeated.

One fault at a time: two servers of three away at once are no majority, which no bound could survive. Every fault comes
once before one comes twice.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

#: Changed when the same seed gives another schedule than before.
VERSION = 2
MAX_MINUTES = 240.0
#: Seconds that a fault lasts, and that the mesh has to itself afterwards: from, to.
DURATION = (6.0, 15.0)
QUIET = (8.0, 14.0)
#: Seconds before the first fault, in which the watchers see the mesh whole.
CALM = 5.0
AGENT, ETCD = "consul", "etcd"


class ChaosError(Exception):
    """What was asked for can't be scheduled or judged; C(str()) says what to change."""


@dataclass(frozen=True)
class Kind:
    """A fault. ``services`` are the units that it may hit, ``amount`` how strong it is, in the unit of ``does``."""

    does: str
    services: tuple[str, ...] = (AGENT,)
    servers_only: bool = False
    amount: float = 0.0


CATALOGUE = {
    "kill": Kind("kill -9, and nothing starts it again until the end", (AGENT, ETCD)),
    "pause": Kind("SIGSTOP", (AGENT, ETCD)),
    "cut": Kind("no packet from or to any other node"),
    "cut_in": Kind("no packet from any other node; what it sends arrives"),
    "cut_out": Kind("no packet to any other node; what others send arrives"),
    "loss": Kind("this share of packets is lost, each way", amount=0.2),
    "delay": Kind("what it sends is late by so many seconds", amount=0.1),
    "duplicate": Kind("this share of what it sends arrives twice", amount=0.3),
    "reorder": Kind("this share of what it sends is overtaken by what was sent later", amount=0.25),
    "disk_full": Kind("its data is on a small disk that has no byte left", (ETCD, AGENT)),
    "slow_disk": Kind("it writes so many bytes in a second", servers_only=True, amount=262144.0),
    "dns": Kind("its DNS port is silent"),
    "clock": Kind("the agent's wall clock jumps ahead by so many seconds", amount=3600.0),
}


@dataclass(frozen=True)
class Step:
    """One fault: ``start`` is seconds after the beginning of the run, ``duration`` seconds; ``service`` the unit."""

    number: int
    start: float
    duration: float
    fault: str
    node: str
    service: str
    amount: float

    @property
    def end(self) -> float:
        return round(self.start + self.duration, 1)


def check_faults(faults: Sequence[str]) -> list[str]:
    """The faults in the catalogue's order, each once; raises :class:`ChaosError` for what is unknown."""
    for name in faults:
        if name not in CATALOGUE:
            raise ChaosError(f"chaos_faults: {name!r} is not known: write some of {', '.join(CATALOGUE)}")
    return [name for name in CATALOGUE if name in set(faults)]


def schedule(
    seed: str,
    minutes: float,
    faults: Sequence[str],
    servers: Sequence[str],
    clients: Sequence[str],
    *,
    etcd: bool,
) -> list[Step]:
    """All faults that fit into ``minutes``. ``etcd`` says whether the servers run it.

    The same arguments give the same steps, whatever order names come in. Raises :class:`ChaosError`.
    """
    if not 0 < minutes <= MAX_MINUTES:
        raise ChaosError(f"chaos_minutes: {minutes:g} is not possible: write a number up to {MAX_MINUTES:g}")
    kinds = check_faults(faults)
    if not kinds:
        return []
    if len(servers) < 3:
        raise ChaosError(
            f"the inventory has {len(servers)} servers: a fault on one of fewer than three leaves no majority, and no "
            "bound could be kept; use three"
        )
    draw = _Draw(seed)
    steps: list[Step] = []
    at, waiting = CALM, []
    while True:
        if not waiting:
            waiting = draw.shuffled(kinds)
        name = waiting.pop()
        kind = CATALOGUE[name]
        service = draw.one([each for each in kind.services if each != ETCD or etcd])
        nodes = sorted(servers) if kind.servers_only or service == ETCD else sorted({*servers, *clients})
        node, duration, quiet = draw.one(nodes), draw.between(*DURATION), draw.between(*QUIET)
        if at + duration + quiet > minutes * 60:
            return steps
        steps.append(Step(len(steps) + 1, at, duration, name, node, service, kind.amount))
        at = round(at + duration + quiet, 1)


class _Draw:
    """Choices from one stream of numbers; only ``random()`` is used, which Python keeps the same over versions."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(f"meshnode chaos {VERSION}/{seed}").random

    def one(self, among: Sequence[str]) -> str:
        return among[int(self._random() * len(among))]

    def between(self, low: float, high: float) -> float:
        return round(low + self._random() * (high - low), 1)

    def shuffled(self, items: Sequence[str]) -> list[str]:
        left = list(items)
        return [left.pop(int(self._random() * len(left))) for _ in items]


def digest(steps: Sequence[Step]) -> str:
    """Twelve hexadecimal digits that tell two schedules apart."""
    text = json.dumps([asdict(step) for step in steps], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
