"""Which instance of a service to try, in which order, and what is remembered of those that failed.

Only passing instances; nearest first, at random among equally near ones. One that failed is *set aside* for a
second, then two, four, up to half a minute; it comes after all others meanwhile, so that a wrong suspicion never
means "nobody".
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
    """

    address: str
    port: int
    spiffe_id: str
    distance: float = 0.0
    passing: bool = True
    server_name: str = ""

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
        """The instances to try one after another, at most ``max_attempts``; empty when none passes its checks."""
        if len(instances) == 1:
            return [instances[0]] if instances[0].passing else []
        passing = [instance for instance in instances if instance.passing]
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
