"""Roots, settings of the CA and what nodes report, as frozen values. Times are unix seconds.

Source: Consul 1.2.3, ``structs.CARoot`` and ``structs.CAConfiguration``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from meshnode.base.spiffe import trust_domain_of

__all__ = [
    "BUILT_IN",
    "DEFAULT_LEAF_TTL",
    "DEFAULT_ROTATION_PERIOD",
    "EMPTY",
    "VAULT",
    "CaConfig",
    "CaRoot",
    "CaState",
    "NodeTrust",
    "Revoked",
    "RootKey",
    "Rotation",
    "time_text",
]

#: The provider that signs with a key of the replicated state.
BUILT_IN: Final = "consul"
#: The provider that has Vault sign.
VAULT: Final = "vault"
#: Seconds: 72 hours.
DEFAULT_LEAF_TTL: Final = 259_200.0
#: Seconds: 90 days.
DEFAULT_ROTATION_PERIOD: Final = 7_776_000.0


def time_text(at: float) -> str:
    """Unix seconds as Go writes times in JSON, in whole seconds: ``2027-01-15T08:00:00Z``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class CaRoot:
    """A root that is trusted. ``id`` is the SHA-1 of its DER, ``signing_key_id`` its key's identifier: ``ab:cd:...``.

    ``intermediates`` are certificates of the same key signed by an older root. One root is ``active``: it signs.
    ``rotated_out_at`` is 0 while it has not been replaced.
    """

    id: str
    name: str
    serial_number: int
    signing_key_id: str
    not_before: float
    not_after: float
    root_cert: str
    intermediates: tuple[str, ...] = ()
    active: bool = False
    rotated_out_at: float = 0.0
    create_index: int = 0
    modify_index: int = 0

    def is_over(self, at: float) -> bool:
        """Whether its time has ended: nobody takes what it signed."""
        return at >= self.not_after

    def is_valid(self, at: float) -> bool:
        """Whether what it signs is taken at ``at``."""
        return self.not_before <= at < self.not_after


@dataclass(frozen=True, slots=True)
class RootKey:
    """The private key of a root, PEM; or ``elsewhere``, how its provider reaches it, with the secret for that.

    In a secondary datacenter it is the key of the ``intermediate``, PEM, which the primary's root signed.

    It is in the replicated log, and so in the data directories and snapshots of all servers, because each of them must
    be able to sign from the moment that it leads. The price: who reads a server's disk can sign. It is the trade of
    Consul's built-in CA. Of a key in Vault they have the token, which can be taken back.
    """

    root_id: str
    pem: str = field(default="", repr=False)
    elsewhere: Mapping[str, Any] = field(default_factory=dict, repr=False)
    intermediate: str = ""


@dataclass(frozen=True, slots=True)
class CaConfig:
    """Who signs and how. ``settings`` is what is shown, without secrets; durations in seconds.

    ``cluster_id`` is the UUID that the trust domain is made of. It is drawn once and never changes.
    """

    cluster_id: str
    provider: str = BUILT_IN
    leaf_cert_ttl: float = DEFAULT_LEAF_TTL
    rotation_period: float = DEFAULT_ROTATION_PERIOD
    key_type: str = "ec-p256"
    settings: Mapping[str, Any] = field(default_factory=dict)
    create_index: int = 0
    modify_index: int = 0

    @property
    def trust_domain(self) -> str:
        """``<uuid>.consul``."""
        return trust_domain_of(self.cluster_id)


@dataclass(frozen=True, slots=True)
class Rotation:
    """From root ``old`` to root ``new``; ``phase`` is one of :class:`~meshnode.connect.rotation.Phase`.

    ``since`` is when the phase began, ``started`` the whole; ``paused`` stops it where it is. ``before`` are the
    settings that were in force, which come back when it is given up.
    """

    old: str
    new: str
    phase: str
    started: float
    since: float
    paused: bool = False
    forced: bool = False
    before: CaConfig | None = None


@dataclass(frozen=True, slots=True)
class CaState:
    """All of the CA that changes together.

    ``distrusted`` are the ids of roots that went because their key is in the wrong hands, the last one last.
    """

    config: CaConfig | None = None
    roots: tuple[CaRoot, ...] = ()
    keys: tuple[RootKey, ...] = ()
    rotation: Rotation | None = None
    distrusted: tuple[str, ...] = ()

    @property
    def active(self) -> CaRoot | None:
        """The root that signs."""
        return next((root for root in self.roots if root.active), None)

    def root(self, root_id: str) -> CaRoot | None:
        """The root with that id."""
        return next((root for root in self.roots if root.id == root_id), None)

    def row_of(self, root_id: str) -> RootKey | None:
        """The key of a root, or where it is. Secret."""
        return next((key for key in self.keys if key.root_id == root_id), None)

    def key_of(self, root_id: str) -> str:
        """The private key of a root, PEM; empty when it isn't here. Secret."""
        key = self.row_of(root_id)
        return key.pem if key is not None else ""


EMPTY: Final = CaState()


@dataclass(frozen=True, slots=True)
class NodeTrust:
    """What a node's agent says: the ids of the ``roots`` that it trusts, and those that its leaves come from."""

    node: str
    roots: tuple[str, ...]
    leaf_roots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Revoked:
    """A leaf that is not to be trusted although its time is not over. ``serial`` is ``ab:cd:...``."""

    serial: str
    not_after: float
    because: str = ""
    at: float = 0.0
