"""What the Connect handlers ask of this node's certificate cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from meshnode.connect.leaf import Leaf, TrustBundle
from meshnode.http.effects import Effect
from meshnode.http.proxy_report import ProxyReport

__all__ = [
    "ConnectEffect",
    "GetCertificates",
    "GetEnvoys",
    "GetLeaf",
    "GetReports",
    "GetRoots",
    "ReportProxy",
]

T = TypeVar("T")


class ConnectEffect(Effect[T], Generic[T]):
    """Done by this node; it may ask a server."""

    __slots__ = ()
    abandoned = True


@dataclass(frozen=True, slots=True)
class GetRoots(ConnectEffect[tuple[TrustBundle, bool]]):
    """The roots past ``index``, or after ``timeout`` seconds; and whether they were here already."""

    index: int = 0
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class GetLeaf(ConnectEffect[tuple[Leaf, bool]]):
    """A valid leaf past ``index``, or after ``timeout`` seconds; and whether it was here already."""

    service: str
    token: str = field(repr=False)
    index: int
    timeout: float


@dataclass(frozen=True, slots=True)
class GetCertificates(ConnectEffect[Sequence[Mapping[str, Any]]]):
    """Every certificate of this node, as the API shows it."""


@dataclass(frozen=True, slots=True)
class ReportProxy(ConnectEffect[None]):
    """Keep the report of a proxy for a while; a refusal is a :class:`~meshnode.http.errors.HttpError`."""

    report: ProxyReport


@dataclass(frozen=True, slots=True)
class GetReports(ConnectEffect[Sequence[tuple[ProxyReport, float]]]):
    """The reports of all proxies that are there, each with its age in seconds."""


@dataclass(frozen=True, slots=True)
class GetEnvoys(ConnectEffect[Sequence[Mapping[str, Any]]]):
    """The Envoys that are connected to this agent's xDS port, and what each has applied."""
