"""Tokens, policies and roles as Consul's API shows them. Source: Consul 1.2.3 and 1.4, agent/structs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from meshnode.acl.model import (
    ANONYMOUS_ACCESSOR,
    CLIENT,
    GLOBAL_MANAGEMENT_ID,
    MANAGEMENT,
    Policy,
    Role,
    ServiceIdentity,
    Token,
)
from meshnode.acl.store import AclStore

__all__ = [
    "HIDDEN",
    "NO_TIME",
    "legacy_shape",
    "policy_shape",
    "policy_stub",
    "role_shape",
    "time_text",
    "token_shape",
    "token_stub",
]

#: In place of a secret for who may read tokens and not write them.
HIDDEN: Final = "<hidden>"
#: Go's zero time.
NO_TIME: Final = "0001-01-01T00:00:00Z"


def time_text(at: float) -> str:
    """Unix seconds as RFC 3339 in UTC; 0 is Go's zero time."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z") if at else NO_TIME


def token_shape(store: AclStore, token: Token, *, secret: bool) -> dict[str, Any]:
    """A token, with its secret or without."""
    return {
        "AccessorID": token.accessor_id,
        "SecretID": token.secret_id if secret else HIDDEN,
        **_token_fields(store, token),
    } | ({"Rules": token.rules} if token.rules else {})


def token_stub(store: AclStore, token: Token) -> dict[str, Any]:
    """A row of a list: a token without secret and rules."""
    return {
        "AccessorID": token.accessor_id,
        **_token_fields(store, token),
        "Legacy": bool(token.legacy_type),
    }


def _token_fields(store: AclStore, token: Token) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "Description": token.description,
        "Policies": _links(map(store.policy, token.policies)),
        "Roles": _links(map(store.role, token.roles)),
        "ServiceIdentities": _identities(token.service_identities),
        "Local": token.local,
    }
    if token.expiration_time:
        fields["ExpirationTime"] = time_text(token.expiration_time)
    return fields | {
        "CreateTime": time_text(token.create_time),
        "Hash": _base64(token.hash),
        "CreateIndex": token.create_index,
        "ModifyIndex": token.modify_index,
    }


def policy_shape(policy: Policy) -> dict[str, Any]:
    """A policy with its rules."""
    return {
        "ID": policy.id,
        "Name": policy.name,
        "Description": policy.description,
        "Rules": policy.rules,
    } | (_policy_fields(policy))


def policy_stub(policy: Policy) -> dict[str, Any]:
    """A row of a list: a policy without its rules."""
    return {"ID": policy.id, "Name": policy.name, "Description": policy.description} | _policy_fields(policy)


def _policy_fields(policy: Policy) -> dict[str, Any]:
    fields: dict[str, Any] = {"Datacenters": [*policy.datacenters]} if policy.datacenters else {}
    return fields | {
        "Hash": _base64(policy.hash),
        "CreateIndex": policy.create_index,
        "ModifyIndex": policy.modify_index,
    }


def role_shape(store: AclStore, role: Role) -> dict[str, Any]:
    """A role."""
    return {
        "ID": role.id,
        "Name": role.name,
        "Description": role.description,
        "Policies": _links(map(store.policy, role.policies)),
        "ServiceIdentities": _identities(role.service_identities),
        "Hash": _base64(role.hash),
        "CreateIndex": role.create_index,
        "ModifyIndex": role.modify_index,
    }


def legacy_shape(token: Token) -> dict[str, Any] | None:
    """A token as the API of 1.2.3 knows it; ``None`` for one that it can't express."""
    kind = token.legacy_type
    if not kind and token.policies == (GLOBAL_MANAGEMENT_ID,):
        kind = MANAGEMENT
    if not kind and token.accessor_id == ANONYMOUS_ACCESSOR and not (token.policies or token.roles):
        kind = CLIENT
    if not kind:
        return None
    return {
        "ID": token.secret_id,
        "Name": token.description,
        "Type": kind,
        "Rules": token.rules,
        "CreateIndex": token.create_index,
        "ModifyIndex": token.modify_index,
    }


def _links(linked: Iterable[Policy | Role | None]) -> list[dict[str, str]]:
    return [{"ID": row.id, "Name": row.name} for row in linked if row is not None]


def _identities(identities: Iterable[ServiceIdentity]) -> list[dict[str, Any]]:
    shown = []
    for identity in identities:
        fields: dict[str, Any] = {"ServiceName": identity.service_name}
        if identity.datacenters:
            fields["Datacenters"] = [*identity.datacenters]
        shown.append(fields)
    return shown


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
