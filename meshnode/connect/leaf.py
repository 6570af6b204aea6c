"""What an agent holds for the services of its node: leaves with their keys, and the roots to verify others with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from meshnode.base.errors import RemoteProtocolError

__all__ = ["Leaf", "TrustBundle", "TrustedRoot", "parse_leaf", "parse_trust_bundle"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """``certificate_pem`` is the leaf and what stands between it and a root; times are unix seconds.

    ``index`` grows with each new leaf of the service; ``serial`` is ``ab:cd:...``. The key never left this process but
    to who asked for it through the API.
    """

    service: str
    uri: str
    serial: str
    certificate_pem: str
    key_pem: str = field(repr=False)
    not_before: float
    not_after: float
    root_id: str
    index: int = 0

    def is_valid(self, at: float) -> bool:
        """Whether it may be shown to anybody at ``at``."""
        return self.not_before <= at < self.not_after


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """``row`` is Consul's ``CARoot`` as the API shows it."""

    id: str
    certificate_pem: str
    row: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """Every root that is trusted now, and the serial numbers of leaves that are not although their time isn't over.

    ``distrusted`` are ids of roots that were trusted and whose leaves nobody is to talk to any more.
    """

    trust_domain: str
    active_id: str
    roots: tuple[TrustedRoot, ...]
    revoked: frozenset[str] = frozenset()
    index: int = 0
    distrusted: frozenset[str] = frozenset()

    @property
    def pem(self) -> str:
        """All roots, one after the other."""
        return "".join(root.certificate_pem for root in self.roots)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the roots, sorted."""
        return tuple(sorted(root.id for root in self.roots))


def parse_trust_bundle(reply: Any) -> TrustBundle:
    """Read the reply of ``ConnectCA.Roots``; raises :class:`RemoteProtocolError`."""
    rows = _field(reply, "Roots", list)
    roots = tuple(TrustedRoot(_field(row, "ID", str), _field(row, "RootCert", str), row) for row in rows)
    index = reply.get("Index", 0)
    return TrustBundle(
        trust_domain=_field(reply, "TrustDomain", str),
        active_id=_field(reply, "ActiveRootID", str),
        roots=roots,
        revoked=_texts(reply, "Revoked"),
        index=index if isinstance(index, int) else 0,
        distrusted=_texts(reply, "Distrusted"),
    )


def parse_leaf(reply: Any, key_pem: str, service: str) -> Leaf:
    """Read the reply of ``ConnectCA.Sign``; raises :class:`RemoteProtocolError`. The certificate itself isn't read."""
    return Leaf(
        service=service,
        uri=_field(reply, "ServiceURI", str),
        serial=_field(reply, "SerialNumber", str),
        certificate_pem=_field(reply, "CertPEM", str),
        key_pem=key_pem,
        not_before=_time(reply, "ValidAfter"),
        not_after=_time(reply, "ValidBefore"),
        root_id=str(reply.get("RootID", "")),
        index=_field(reply, "ModifyIndex", int),
    )


def _time(reply: Any, name: str) -> float:
    text = _field(reply, name, str)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise RemoteProtocolError(f"{name} of a server is {text[:40]!r}, which is no time") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _texts(reply: Any, name: str) -> frozenset[str]:
    # Servers of an earlier version may not tell it.
    value = reply.get(name) or []
    if not isinstance(value, list):
        raise RemoteProtocolError(f"{name} of a server is no list: is it of another version?")
    return frozenset(str(text) for text in value)


def _field(reply: Any, name: str, of: type) -> Any:
    value = reply.get(name) if isinstance(reply, Mapping) else None
    if not isinstance(value, of):
        raise RemoteProtocolError(f"a server answered without {name}: is it of another version?")
    return value
