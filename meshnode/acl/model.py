"""Tokens, policies and roles as values, and what is wrong with one whatever else there is.

The model is that of Consul 1.4: a token has an accessor (its public name) and a secret, and links to policies and
roles. Tokens of the API of 1.2.3 have a ``legacy_type`` and may have rules of their own, in the legacy language.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from meshnode.acl.rules import parse_rules
from meshnode.base.errors import ConfigError, MeshError

__all__ = [
    "ANONYMOUS",
    "ANONYMOUS_ACCESSOR",
    "ANONYMOUS_SECRET",
    "CLIENT",
    "GLOBAL_MANAGEMENT",
    "GLOBAL_MANAGEMENT_ID",
    "MANAGEMENT",
    "RESERVED_SECRETS",
    "AclNotFoundError",
    "Policy",
    "Role",
    "ServiceIdentity",
    "Token",
    "bootstrap_token",
    "master_token",
    "policy_fault",
    "role_fault",
    "token_fault",
]

ANONYMOUS_ACCESSOR: Final = "00000000-0000-0000-0000-000000000002"
ANONYMOUS_SECRET: Final = "anonymous"
GLOBAL_MANAGEMENT_ID: Final = "00000000-0000-0000-0000-000000000001"
#: The types of legacy tokens.
CLIENT: Final = "client"
MANAGEMENT: Final = "management"
#: Names of the built-in rules of 1.2.3, which no token may have for its secret.
RESERVED_SECRETS: Final = frozenset({"allow", "deny", "manage"})
#: Of an accessor or a secret; a UUID has 36.
MAX_ID_CHARS: Final = 256
_POLICY_NAME: Final = re.compile(r"[A-Za-z0-9\-_]{1,128}")
_ROLE_NAME: Final = re.compile(r"[A-Za-z0-9\-_]{1,256}")
_SERVICE_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9\-_]{0,254}[a-z0-9])?")
_NAME_RULE: Final = "Only alphanumeric characters, '-' and '_' are allowed"
_MANAGEMENT_RULES: Final = """
acl = "write"
agent_prefix "" {
  policy = "write"
}
event_prefix "" {
  policy = "write"
}
key_prefix "" {
  policy = "write"
}
keyring = "write"
node_prefix "" {
  policy = "write"
}
operator = "write"
query_prefix "" {
  policy = "write"
}
service_prefix "" {
  policy = "write"
  intentions = "write"
}
session_prefix "" {
  policy = "write"
}
"""


class AclNotFoundError(MeshError):
    """No such token, policy or role; the text starts with Consul's ``ACL not found``, which clients look for."""

    def __init__(self, because: str = "") -> None:
        super().__init__(f"ACL not found: {because}" if because else "ACL not found")


@dataclass(frozen=True, slots=True)
class ServiceIdentity:
    """The rights that a service and its sidecar need, by name. ``datacenters`` empty: in every one."""

    service_name: str
    datacenters: tuple[str, ...] = ()

    def rules(self) -> str:
        """The policy that the identity stands for."""
        name = self.service_name
        return (
            f'service "{name}" {{ policy = "write" }}\nservice "{name}-sidecar-proxy" {{ policy = "write" }}\n'
            'service_prefix "" { policy = "read" }\nnode_prefix "" { policy = "read" }\n'
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """Named rules, in the language of 1.4. ``datacenters`` empty: valid in every one."""

    id: str
    name: str
    description: str = ""
    rules: str = ""
    datacenters: tuple[str, ...] = ()
    create_index: int = 0
    modify_index: int = 0

    @property
    def hash(self) -> bytes:
        """32 bytes that change with the content."""
        return _digest((self.name, self.description, self.rules), self.datacenters)


@dataclass(frozen=True, slots=True)
class Role:
    """Policies (by id) and service identities under one name."""

    id: str
    name: str
    description: str = ""
    policies: tuple[str, ...] = ()
    service_identities: tuple[ServiceIdentity, ...] = ()
    create_index: int = 0
    modify_index: int = 0

    @property
    def hash(self) -> bytes:
        """32 bytes that change with the content."""
        return _digest((self.name, self.description), self.policies, *_identities(self.service_identities))


@dataclass(frozen=True, slots=True)
class Token:
    """Policies and roles are linked by id. ``create_time`` and ``expiration_time`` are unix seconds; 0: it never ends.

    ``legacy_type`` is ``client``, ``management`` or empty (a token of 1.4); ``rules`` is of legacy clients only.
    """

    accessor_id: str
    secret_id: str = field(repr=False)
    description: str = ""
    policies: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    service_identities: tuple[ServiceIdentity, ...] = ()
    local: bool = False
    create_time: float = 0.0
    expiration_time: float = 0.0
    legacy_type: str = ""
    rules: str = ""
    create_index: int = 0
    modify_index: int = 0

    @property
    def hash(self) -> bytes:
        """32 bytes that change with the content, the secret left out."""
        scope = "local" if self.local else "global"
        words = (self.description, scope, self.legacy_type, self.rules)
        return _digest(words, self.policies, self.roles, *_identities(self.service_identities))

    def expired(self, at: float) -> bool:
        """Whether it is over at ``at``, unix seconds."""
        return 0 < self.expiration_time <= at


GLOBAL_MANAGEMENT: Final = Policy(
    GLOBAL_MANAGEMENT_ID,
    "global-management",
    "Builtin Policy that grants unlimited access",
    _MANAGEMENT_RULES,
    create_index=1,
    modify_index=1,
)
ANONYMOUS: Final = Token(
    ANONYMOUS_ACCESSOR, ANONYMOUS_SECRET, "Anonymous Token", create_index=1, modify_index=1
)


def bootstrap_token(accessor_id: str, secret_id: str, at: float) -> Token:
    """The first token; ``at`` is unix seconds."""
    return Token(
        accessor_id,
        secret_id,
        "Bootstrap Token (Global Management)",
        (GLOBAL_MANAGEMENT_ID,),
        create_time=at,
    )


def master_token(accessor_id: str, secret_id: str, at: float) -> Token:
    """The row of ``acl_master_token``, which the leader adds when there is none; ``at`` is unix seconds."""
    return Token(accessor_id, secret_id, "Master Token", (GLOBAL_MANAGEMENT_ID,), create_time=at)


def policy_fault(policy: Policy) -> str:
    """Why this policy can't be, whatever the store holds; ``""`` when it can."""
    if not policy.id:
        return "Invalid Policy: no ID is set"
    if not policy.name:
        return "Invalid Policy: no Name is set"
    if not _POLICY_NAME.fullmatch(policy.name):
        return f"Invalid Policy: invalid Name. {_NAME_RULE}, and at most 128 of them"
    try:
        parse_rules(policy.rules)
    except ConfigError as error:
        return f"Invalid Policy: {error}"
    return ""


def role_fault(role: Role) -> str:
    """Why this role can't be, whatever the store holds; ``""`` when it can."""
    if not role.id:
        return "Invalid Role: no ID is set"
    if not role.name:
        return "Invalid Role: no Name is set"
    if not _ROLE_NAME.fullmatch(role.name):
        return f"Invalid Role: invalid Name. {_NAME_RULE}, and at most 256 of them"
    return _identities_fault(role.service_identities)


def token_fault(token: Token) -> str:
    """Why this token can't be, whatever the store holds; ``""`` when it can. Never shows the secret."""
    if not token.accessor_id:
        return "Invalid Token: no AccessorID is set"
    if not token.secret_id:
        return "Missing ACL ID"
    for name, value in (("AccessorID", token.accessor_id), ("SecretID", token.secret_id)):
        if len(value) > MAX_ID_CHARS or not value.isprintable():
            return f"Invalid Token: {name} must have at most {MAX_ID_CHARS} printable characters"
    if token.secret_id in RESERVED_SECRETS:
        return "Permission denied: Cannot modify root ACL"
    if token.legacy_type not in {"", CLIENT, MANAGEMENT}:
        return f"Invalid ACL Type: write {CLIENT} or {MANAGEMENT}"
    try:
        parse_rules(token.rules, legacy=True)
    except ConfigError as error:
        return f"ACL rule compilation failed: {error}"
    return _identities_fault(token.service_identities)


def _identities_fault(identities: Iterable[ServiceIdentity]) -> str:
    for identity in identities:
        name = identity.service_name
        if not name:
            return "Service identity is missing the service name field"
        if not _SERVICE_NAME.fullmatch(name):
            return (
                f"Service identity {name[:80]!a} has an invalid name. Only lower case alphanumeric characters, "
                "'-' and '_' are allowed, '-' and '_' not at its ends"
            )
    return ""


def _identities(identities: Iterable[ServiceIdentity]) -> list[tuple[str, ...]]:
    return [(identity.service_name, *identity.datacenters) for identity in identities]


def _digest(*groups: tuple[str, ...]) -> bytes:
    """Of groups of texts; where one ends and the next begins counts."""
    digest = hashlib.blake2b(digest_size=32)
    for group in groups:
        digest.update(len(group).to_bytes(4, "big"))
        for text in group:
            data = text.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(4, "big") + data)
    return digest.digest()
