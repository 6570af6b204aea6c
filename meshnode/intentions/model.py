"""Intentions as frozen values, with the fields of Consul's ``structs.Intention``, and the order they are looked at in.

Source: Consul 1.2.3, documentation of intentions and ``/v1/connect/intentions``; ``permissions`` is of Consul 1.9,
``audit`` is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from meshnode.base.spiffe import DEFAULT_NAMESPACE

__all__ = [
    "ACTIONS",
    "ALLOW",
    "DEFAULT_NAMESPACE",
    "DENY",
    "NO_TOKENS",
    "SOURCE_CONSUL",
    "WILDCARD",
    "Destination",
    "HeaderMatch",
    "HttpMatch",
    "Intention",
    "Pair",
    "Permission",
    "ServiceName",
    "parse_service",
]

WILDCARD: Final = "*"
ALLOW: Final = "allow"
DENY: Final = "deny"
ACTIONS: Final = (ALLOW, DENY)
#: Why a condition on tokens is refused, wherever it is written.
NO_TOKENS: Final = (
    "tokens in requests (JWT, of Consul 1.16) are not checked: leave it out, and check them in the service"
)
#: The only type of source.
SOURCE_CONSUL: Final = "consul"

#: What no two intentions share: source namespace and name, destination namespace and name, in lower case.
Pair: TypeAlias = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class ServiceName:
    """A service by name, or ``*``. Case doesn't count, as nowhere in the catalog."""

    name: str
    namespace: str = DEFAULT_NAMESPACE

    def __str__(self) -> str:
        """``web``, or ``ns/web`` outside the default namespace."""
        return self.name if self.namespace in {"", DEFAULT_NAMESPACE} else f"{self.namespace}/{self.name}"


def parse_service(text: str) -> ServiceName:
    """``web`` or ``ns/web``; the inverse of ``str``."""
    namespace, slash, name = text.partition("/")
    return ServiceName(name, namespace) if slash else ServiceName(text)


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """A condition on the header ``name``: one of the five; ``invert`` turns it round, so that absence meets it."""

    name: str
    present: bool = False
    exact: str = ""
    prefix: str = ""
    suffix: str = ""
    regex: str = ""
    invert: bool = False


@dataclass(frozen=True, slots=True)
class HttpMatch:
    """Conditions on a request, of which all must hold: at most one on its path, any on headers, one of the methods."""

    path_exact: str = ""
    path_prefix: str = ""
    path_regex: str = ""
    header: tuple[HeaderMatch, ...] = ()
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Permission:
    """What becomes of the requests that ``http`` is about."""

    action: str
    http: HttpMatch


@dataclass(frozen=True, slots=True)
class Intention:
    """``action`` is ``allow`` or ``deny``, or empty with ``permissions``, of which the first that fits decides.

    ``audit``: what it would deny is let through and reported. Times are unix seconds.
    """

    id: str
    source_name: str
    destination_name: str
    action: str = ""
    source_ns: str = DEFAULT_NAMESPACE
    destination_ns: str = DEFAULT_NAMESPACE
    source_type: str = SOURCE_CONSUL
    description: str = ""
    permissions: tuple[Permission, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    default_addr: str = ""
    default_port: int = 0
    audit: bool = False
    created_at: float = 0.0
    updated_at: float = 0.0
    create_index: int = 0
    modify_index: int = 0

    @property
    def source(self) -> ServiceName:
        """Who connects."""
        return ServiceName(self.source_name, self.source_ns)

    @property
    def destination(self) -> ServiceName:
        """Who is connected to."""
        return ServiceName(self.destination_name, self.destination_ns)

    @property
    def pair(self) -> Pair:
        """What no other intention shares."""
        names = (self.source_ns, self.source_name, self.destination_ns, self.destination_name)
        return names[0].lower(), names[1].lower(), names[2].lower(), names[3].lower()

    @property
    def precedence(self) -> int:
        """1 to 9; of the intentions that fit, the one with the greatest decides.

        The destination counts for 9 (exact), 6 (a namespace and ``*``) or 3 (``*/*``), less one for each ``*`` of the
        source. Source: Consul 1.2.3, documentation of intentions, "precedence".
        """
        destination = _exactness(self.destination_ns, self.destination_name)
        return 3 * (destination + 1) - (2 - _exactness(self.source_ns, self.source_name))

    @property
    def order(self) -> tuple[int, str, str, str, str, bool, str]:
        """Sort key: the order they are looked at in. Of two about the same, the one that denies is first."""
        return (-self.precedence, *self.pair, self.action == ALLOW, self.id)

    @property
    def effect(self) -> str:
        """``allow``, ``deny`` or ``2 permissions``."""
        count = len(self.permissions)
        return self.action if not count else f"{count} permission{'s' if count > 1 else ''}"

    @property
    def title(self) -> str:
        """As the command line shows it: ``web => db (deny)``."""
        return f"{self.source} => {self.destination} ({self.effect})"

    def __str__(self) -> str:
        """As Consul's reasons show it: ``DENY default/web => default/db (ID: ..., Precedence: 9)``."""
        return (
            f"{self.action.upper() or self.effect} {self.source_ns}/{self.source_name} => "
            f"{self.destination_ns}/{self.destination_name} (ID: {self.id}, Precedence: {self.precedence})"
        )


def _exactness(namespace: str, name: str) -> int:
    """How many of the two parts are exact; a name under ``*`` counts for nothing."""
    return 0 if namespace == WILDCARD else 1 if name == WILDCARD else 2


@dataclass(frozen=True, slots=True)
class Destination:
    """What the intentions about one destination have in common, seen as one entry (``service-intentions``).

    ``modify_index`` moves with each of them, also when one goes.
    """

    name: str
    namespace: str = DEFAULT_NAMESPACE
    meta: Mapping[str, str] = field(default_factory=dict)
    create_index: int = 0
    modify_index: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """What no other destination shares: namespace and name, in lower case."""
        return self.namespace.lower(), self.name.lower()
