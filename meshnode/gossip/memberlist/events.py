"""What memberlist reports in ``Notify`` to the layer above."""

from __future__ import annotations

from dataclasses import dataclass

from meshnode.base.address import Address

__all__ = ["JoinFinished", "LeaveFinished", "PingFinished"]


@dataclass(frozen=True, slots=True)
class JoinFinished:
    """Every seed of ``join(request, ...)`` was tried: ``joined`` answered, ``failures`` say why the others did not."""

    request: int
    joined: int
    failures: tuple[tuple[Address, str], ...]


@dataclass(frozen=True, slots=True)
class LeaveFinished:
    """The departure was sent out, or the time for that has passed; the node may be stopped."""


@dataclass(frozen=True, slots=True)
class PingFinished:
    """``ping(request, ...)`` was answered after ``rtt`` seconds, or not at all (``None``)."""

    request: int
    rtt: float | None
