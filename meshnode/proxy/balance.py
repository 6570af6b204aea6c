"""Which instance of a service to try, in which order, and what is remembered of those that failed.

Only passing instances; nearest first, at random among equally near ones. One that failed is *set aside* for a
second, then two, four, up to half a minute; it comes after all others meanwhile, so that a wrong suspicion never
means "nobody".

Where none is passing, those are tried that gossip alone reports as failed: it speaks of the node's agent, which may
just be restarting, and not of the service, whose own checks were well when they were last heard of. A node that is dead
indeed costs whoever connects one attempt; until its time is over nobody is led to it then.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["FIRST_BACK_OFF", "MAX_ATTEMPTS", "MAX_BACK_OFF", "MAX_OUTLIERS", "Balancer", "Instance"]

#: Seconds that an instance is set aside after its first failure; doubled by each further one.
FIRST_BACK_OFF: Final = 1.0
MAX_BACK_OFF: Final = 30.0
#: Instances tried for one connection.
MAX_ATTEMPTS: Final = 3
#: Failed instances that are remembered.
MAX_OUTLIERS: Final = 1024

Endpoint: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Instance:
    """A sidecar to dial. ``spiffe_id`` is what its certificate must say; ``distance`` is in seconds of round trip.

    ``server_name`` is asked for in the handshake: a gateway tells by it whom it stands for. Empty: nothing is.
    ``agent_lost``: it does not pass for the one reason that gossip doesn't hear of its node's agent.
    """

    address: str
    port: int
    spiffe_id: str
    distance: float = 0.0
    passing: bool = True
    server_name: str = ""
    agent_lost: bool = False

    @property
    def endpoint(self) -> Endpoint:
        """Address and port."""
        return self.address, self.port


@dataclass(frozen=True, slots=True)
class _Outlier:
    failures: int
    until: float


class Balancer:
    """One for each upstream; ``now`` is monotonic seconds."""

    def __init__(self, rng: random.Random, *, max_attempts: int = MAX_ATTEMPTS) -> None:
        self._rng = rng
        self._max_attempts = max_attempts
        self._outliers: OrderedDict[Endpoint, _Outlier] = OrderedDict()

    def order(self, instances: Sequence[Instance], now: float) -> list[Instance]:
        """The instances to try one after another, at most ``max_attempts``; empty when there is none to try."""
        if len(instances) == 1 and instances[0].passing:
            return [instances[0]]
        passing = [instance for instance in instances if instance.passing] or [
            instance for instance in instances if instance.agent_lost and not self.is_set_aside(instance, now)
        ]
        self._rng.shuffle(passing)
        passing.sort(key=lambda instance: (self.is_set_aside(instance, now), instance.distance))
        return passing[: self._max_attempts]

    def is_set_aside(self, instance: Instance, now: float) -> bool:
        """Whether others go first because it failed lately."""
        outlier = self._outliers.get(instance.endpoint)
        return outlier is not None and now < outlier.until

    def failed(self, instance: Instance, now: float) -> float:
        """It refused, hung or was not who it should be. Returns the seconds that it is set aside for."""
        before = self._outliers.pop(instance.endpoint, None)
        failures = before.failures + 1 if before else 1
        back_off = float(min(MAX_BACK_OFF, FIRST_BACK_OFF * 2.0 ** min(failures - 1, 16)))
        self._outliers[instance.endpoint] = _Outlier(failures, now + back_off)
        while len(self._outliers) > MAX_OUTLIERS:
            self._outliers.popitem(last=False)
        return back_off

    def succeeded(self, instance: Instance) -> None:
        """A connection to it was established: the past is forgiven."""
        if self._outliers:
            self._outliers.pop(instance.endpoint, None)
