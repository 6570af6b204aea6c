"""Profiles: the names and usages that a certificate of a server, a client or an operator gets.

The authority takes everything in a certificate from the profile, so what a node may call itself is decided here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, TypeAlias, get_args

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshnode.base.errors import ConfigError

__all__ = [
    "DEFAULT_LEAF_DAYS",
    "MAX_COMMON_NAME_LENGTH",
    "MAX_LIFETIME_DAYS",
    "ROLES",
    "USAGES",
    "Profile",
    "Role",
    "SubjectNames",
    "Usage",
    "common_name",
    "lifetime",
    "node_profile",
    "role_profile",
]

Role: TypeAlias = Literal["server", "client", "cli"]
Usage: TypeAlias = Literal["server_auth", "client_auth"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
USAGES: Final[dict[Usage, x509.ObjectIdentifier]] = {
    "server_auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client_auth": ExtendedKeyUsageOID.CLIENT_AUTH,
}
DEFAULT_LEAF_DAYS: Final = 365
MAX_LIFETIME_DAYS: Final = 36500
#: ub-common-name of RFC 5280, appendix A.1.
MAX_COMMON_NAME_LENGTH: Final = 64
MAX_DNS_NAME_LENGTH: Final = 253
MAX_NAMES: Final = 100

_BOTH: Final[frozenset[Usage]] = frozenset(USAGES)
#: Every agent is on both ends of a connection: a client agent serves HTTPS and gossip streams, a server dials servers.
_USAGES_OF: Final[dict[Role, frozenset[Usage]]] = {
    "server": _BOTH,
    "client": _BOTH,
    "cli": frozenset({"client_auth"}),
}
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


@dataclass(frozen=True, slots=True)
class SubjectNames:
    """Subject alternative names: DNS names in lower case, IP addresses in canonical text; no duplicates."""

    dns: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()

    @classmethod
    def of(cls, dns: Iterable[str] = (), ip: Iterable[str] = ()) -> SubjectNames:
        """Check and normalise; raises :class:`ConfigError` that names the entry at fault."""
        names = cls(
            tuple(dict.fromkeys(_dns_name(text, f"dns[{place}]") for place, text in enumerate(dns))),
            tuple(dict.fromkeys(_ip_address(text, f"ip[{place}]") for place, text in enumerate(ip))),
        )
        if len(names.dns) + len(names.ip) > MAX_NAMES:
            raise ConfigError(f"{len(names.dns) + len(names.ip)} names are too many: at most {MAX_NAMES}")
        return names

    @classmethod
    def read(cls, certificate: x509.Certificate) -> SubjectNames:
        """The DNS names and addresses in ``certificate``; raises one of ``keys.BAD_X509`` when they can't be read."""
        try:
            found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return cls()
        return cls(
            tuple(name.lower() for name in found.get_values_for_type(x509.DNSName)),
            tuple(str(address) for address in found.get_values_for_type(x509.IPAddress)),
        )

    def as_extension(self) -> x509.SubjectAlternativeName:
        """The extension of RFC 5280 4.2.1.6."""
        addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in self.ip]
        return x509.SubjectAlternativeName([*(x509.DNSName(name) for name in self.dns), *addresses])


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything in a leaf that is not its key: the authority copies this and nothing else."""

    common_name: str
    names: SubjectNames
    usages: frozenset[Usage]
    lifetime: timedelta


def node_profile(
    role: Role,
    *,
    datacenter: str,
    node: str,
    dns: Sequence[str] = (),
    ip: Sequence[str] = (),
    domain: str = "consul",
    days: int = DEFAULT_LEAF_DAYS,
) -> Profile:
    """The certificate of one node: its name, ``<role>.<datacenter>.<domain>``, localhost, its addresses."""
    own = [node, f"{role}.{datacenter}.{domain}", "localhost"]
    names = SubjectNames.of([*own, *dns], [*ip, "127.0.0.1", "::1"])
    _forbid_server_names(role, names, domain)
    return Profile(node, names, _USAGES_OF[role], lifetime(days))


def role_profile(
    role: Role,
    *,
    datacenter: str,
    node: str = "",
    dns: Sequence[str] = (),
    ip: Sequence[str] = (),
    domain: str = "consul",
    days: int = DEFAULT_LEAF_DAYS,
) -> Profile:
    """What ``consul tls cert create`` makes: named after its role, with no node unless a server's is given."""
    if node and role != "server":
        raise ConfigError("-node is for server certificates: add -server or leave it out", key="node")
    name = f"{role}.{datacenter}.{domain}"
    if role == "cli":
        names = SubjectNames.of([*dns, name, "localhost"], ip)
    else:
        with_node = [f"{node}.{name}"] if node else []
        names = SubjectNames.of([*dns, *with_node, name, "localhost"], [*ip, "127.0.0.1"])
    _forbid_server_names(role, names, domain)
    return Profile(name, names, _USAGES_OF[role], lifetime(days))


def common_name(text: str) -> x509.Name:
    """A subject of one common name; raises :class:`ConfigError` when it is empty, too long or not printable."""
    if not text or len(text) > MAX_COMMON_NAME_LENGTH or not text.isprintable():
        raise ConfigError(f"common name {text!r} must be 1 to {MAX_COMMON_NAME_LENGTH} printable characters")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def lifetime(days: int) -> timedelta:
    """``days`` as a span; raises :class:`ConfigError` outside 1 to :data:`MAX_LIFETIME_DAYS`."""
    if not 1 <= days <= MAX_LIFETIME_DAYS:
        raise ConfigError(f"{days} days is not a lifetime: write 1 to {MAX_LIFETIME_DAYS}", key="days")
    return timedelta(days=days)


def _forbid_server_names(role: Role, names: SubjectNames, domain: str) -> None:
    # verify_server_hostname takes "server.<dc>.<domain>" in a certificate as the proof that its holder is a server.
    if role == "server":
        return
    claims_server = re.compile(rf"(.+\.)?(server|\*)\.[^.]+\.{re.escape(domain.lower())}")
    for name in names.dns:
        if claims_server.fullmatch(name):
            raise ConfigError(
                f"a {role} certificate can't be named {name!r}: that name makes its holder a server"
            )


def _dns_name(text: str, place: str) -> str:
    name = text.strip().lower().removesuffix(".")
    labels = name.split(".")
    if labels[0] == "*" and len(labels) > 2:
        labels = labels[1:]
    if not name.isascii():
        raise ConfigError(f"{place}: {text!r} is not ASCII: write it in its xn-- form", key=place)
    if len(name) > MAX_DNS_NAME_LENGTH or not all(_LABEL.fullmatch(label) for label in labels):
        raise ConfigError(f"{place}: {text!r} is not a DNS name: use letters, digits and hyphens", key=place)
    if labels[-1].isdigit() and len(labels) > 1:
        raise ConfigError(
            f"{place}: {text!r} looks like an address: list it among the IP addresses", key=place
        )
    return name


def _ip_address(text: str, place: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise ConfigError(f"{place}: {text!r} is not an IP address", key=place) from None
