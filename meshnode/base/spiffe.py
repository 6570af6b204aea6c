"""SPIFFE IDs: the names that services and agents have in certificates (SPIFFE-ID 2, Consul 1.2.3's paths).

===========  ================================================================
service      ``spiffe://<trust domain>/ns/default/dc/<datacenter>/svc/<name>``
agent        ``spiffe://<trust domain>/agent/client/dc/<datacenter>/id/<node>``
authority    ``spiffe://<trust domain>``
===========  ================================================================

Reading is strict: one identity has one spelling, so that comparing texts and comparing identities is the same. What may
stand in a path without ``%`` is what Go's ``net/url`` leaves plain there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import quote, unquote_to_bytes

from meshnode.base.errors import RemoteProtocolError

__all__ = [
    "DEFAULT_NAMESPACE",
    "MAX_ID_BYTES",
    "MAX_SERVER_NAME_CHARS",
    "PLAIN_IN_PATH",
    "AgentId",
    "AuthorityId",
    "ServiceId",
    "SpiffeId",
    "parse_spiffe_id",
    "trust_domain_of",
]

DEFAULT_NAMESPACE: Final = "default"
#: Longest id that is read (SPIFFE-ID 2.3).
MAX_ID_BYTES: Final = 2048
#: Longest trust domain (SPIFFE-ID 2.3).
MAX_TRUST_DOMAIN_CHARS: Final = 255
#: Longest name in a handshake (RFC 1035 2.3.4).
MAX_SERVER_NAME_CHARS: Final = 253

_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_SERVER_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_ESCAPES: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
#: Besides letters, digits and ``-_.~``.
PLAIN_IN_PATH: Final = "$&+,:;=@"


@dataclass(frozen=True, slots=True)
class ServiceId:
    """A service; raises :class:`RemoteProtocolError` for parts that no id can hold."""

    trust_domain: str
    datacenter: str
    service: str
    namespace: str = DEFAULT_NAMESPACE

    def __post_init__(self) -> None:
        _check(self.trust_domain, self.namespace, self.datacenter, self.service)

    def __str__(self) -> str:
        """The URI."""
        path = _path("ns", self.namespace, "dc", self.datacenter, "svc", self.service)
        return f"spiffe://{self.trust_domain}{path}"

    @property
    def server_name(self) -> str:
        """What a terminating gateway is asked for in the handshake (Consul's SNI), in lower case.

        Empty where the service's name makes no host name.
        """
        name = f"{self.service}.{self.namespace}.{self.datacenter}.internal.{self.trust_domain}".lower()
        return name if len(name) <= MAX_SERVER_NAME_CHARS and _SERVER_NAME.fullmatch(name) else ""


@dataclass(frozen=True, slots=True)
class AgentId:
    """A client agent by its node id; raises :class:`RemoteProtocolError` for parts that no id can hold."""

    trust_domain: str
    datacenter: str
    node_id: str

    def __post_init__(self) -> None:
        _check(self.trust_domain, self.datacenter, self.node_id)

    def __str__(self) -> str:
        """The URI."""
        path = _path("agent", "client", "dc", self.datacenter, "id", self.node_id)
        return f"spiffe://{self.trust_domain}{path}"


@dataclass(frozen=True, slots=True)
class AuthorityId:
    """The authority of a trust domain itself: what stands in its root certificate."""

    trust_domain: str

    def __post_init__(self) -> None:
        _check(self.trust_domain)

    def __str__(self) -> str:
        """The URI."""
        return f"spiffe://{self.trust_domain}"


SpiffeId: TypeAlias = ServiceId | AgentId | AuthorityId


def trust_domain_of(cluster_id: str) -> str:
    """The trust domain of a cluster whose id is a UUID: ``<uuid>.consul``, whatever the DNS domain is."""
    return f"{cluster_id.lower()}.consul"


def parse_spiffe_id(uri: str) -> SpiffeId:
    """Read ``uri``; raises :class:`RemoteProtocolError`.

    The message starts as the reasons of ``/v1/agent/connect/authorize`` do: ``Client ID must be a URI: ...`` for what
    is no URI at all, ``Invalid client ID: ...`` for any other that names no service, agent or authority.
    """
    _check_uri(uri)
    if not uri.startswith("spiffe://"):
        raise _invalid("SPIFFE ID must have 'spiffe' scheme")
    trust_domain, slash, path = uri.removeprefix("spiffe://").partition("/")
    if not trust_domain:
        raise _invalid("the trust domain is empty")
    try:
        found = _named(trust_domain, path.split("/") if slash else [])
    except RemoteProtocolError as error:
        raise _invalid(str(error)) from None
    if found is None:
        raise _invalid("SPIFFE ID is not in the expected format")
    if str(found) != uri:
        raise _invalid(f"SPIFFE ID is not in the expected format: it is written {found}")
    return found


def _named(trust_domain: str, parts: list[str]) -> SpiffeId | None:
    match parts:
        case []:
            return AuthorityId(trust_domain)
        case ["ns", namespace, "dc", datacenter, "svc", service]:
            return ServiceId(trust_domain, _plain(datacenter), _plain(service), _plain(namespace))
        case ["agent", "client", "dc", datacenter, "id", node_id]:
            return AgentId(trust_domain, _plain(datacenter), _plain(node_id))
    return None


def _check_uri(uri: str) -> None:
    shown = uri[:100]
    if not uri:
        raise _no_uri("it is empty")
    if len(uri.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
        raise _no_uri(f"it has more than {MAX_ID_BYTES} bytes")
    if not uri.isprintable() or " " in uri:
        raise _no_uri(f"{shown!r} has spaces or control characters in it")
    if not uri.isascii():
        raise _no_uri(f"{shown!r} has characters that are not ASCII: write them with %")
    if _ESCAPES.search(uri):
        raise _no_uri(f"{shown!r} has a % that two hexadecimal digits don't follow")
    if not _SCHEME.match(uri):
        raise _no_uri(f"{shown!r} has no scheme, such as spiffe:")


def _check(trust_domain: str, *parts: str) -> None:
    if len(trust_domain) > MAX_TRUST_DOMAIN_CHARS or not _TRUST_DOMAIN.fullmatch(trust_domain):
        raise RemoteProtocolError(
            f"{trust_domain[:100]!r} is not a trust domain: lower-case letters, digits, dots and hyphens"
        )
    for part in parts:
        if not part or part in {".", ".."} or "/" in part or not part.isprintable():
            raise RemoteProtocolError(f"{part[:100]!r} can't stand in a SPIFFE ID")


def _path(*parts: str) -> str:
    return "".join(f"/{quote(part, safe=PLAIN_IN_PATH)}" for part in parts)


def _plain(part: str) -> str:
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError(f"{part[:100]!r} is not UTF-8") from None


def _no_uri(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"Client ID must be a URI: {reason}")


def _invalid(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"Invalid client ID: {reason}")
