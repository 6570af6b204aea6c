"""Tokens, policies and roles out of the bodies of calls: what is left out is filled in, links by name become ids."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from meshnode.acl.authorizer import ALLOW_ALL, Authorizer
from meshnode.acl.model import AclNotFoundError, Policy, Role, ServiceIdentity, Token
from meshnode.acl.store import AclStore
from meshnode.base.duration import format_duration
from meshnode.control.body import (
    NANOSECONDS,
    Body,
    boolean,
    integer,
    mapping,
    rows,
    text,
    texts,
)
from meshnode.control.method import Moment
from meshnode.rpc.method import RpcError

__all__ = [
    "DISABLED",
    "MAX_EXPIRATION_TTL",
    "MIN_EXPIRATION_TTL",
    "clone_of",
    "not_found",
    "policy_form",
    "require_enabled",
    "role_form",
    "token_form",
]

DISABLED: Final = "ACL support disabled"
#: Seconds. Consul's ``token_min_expiration_ttl`` and ``token_max_expiration_ttl`` by default.
MIN_EXPIRATION_TTL: Final = 60.0
MAX_EXPIRATION_TTL: Final = 86400.0
_RESERVED: Final = "00000000-0000-0000-0000-0000000000"
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


def require_enabled(authorizer: Authorizer) -> None:
    """Raise :class:`RpcError` while access control is off: then everybody has the authorizer that allows all."""
    if authorizer is ALLOW_ALL:
        raise RpcError(DISABLED)


def not_found(because: str = "") -> RpcError:
    """The error for a token, policy or role that isn't there."""
    return RpcError(str(AclNotFoundError(because)))


def token_form(store: AclStore, body: Body, moment: Moment) -> tuple[Token, bool]:
    """``ACLToken`` of a body, and whether it is a new one: without an accessor, or with ``Create``.

    Raises :class:`RpcError` with what is wrong. ``ExpirationTTL`` is nanoseconds, ``ExpirationTime`` RFC 3339.
    """
    form = mapping(body, "ACLToken")
    accessor = text(form, "AccessorID")
    create = boolean(body, "Create") or not accessor
    token = Token(
        accessor,
        text(form, "SecretID"),
        text(form, "Description"),
        _policy_links(store, form),
        tuple(_linked(row, "role", store.role, store.role_named) for row in rows(form, "Roles")),
        _identities(form),
        boolean(form, "Local"),
    )
    return (_created(token, form, moment) if create else _updated(store, token, form)), create


def _created(token: Token, form: Body, moment: Moment) -> Token:
    for name, value in (("AccessorID", token.accessor_id), ("SecretID", token.secret_id)):
        if value and not _UUID.fullmatch(value):
            raise RpcError(f"Invalid Token: {name} is not a valid UUID: leave it out to have one made")
        if value.startswith(_RESERVED):
            raise RpcError(f"Invalid Token: UUIDs with the prefix {_RESERVED!r} are reserved")
    return replace(
        token,
        accessor_id=token.accessor_id or moment.new_id(),
        secret_id=token.secret_id or moment.new_id(),
        create_time=moment.at,
        expiration_time=_expiration(form, moment.at),
    )


def _updated(store: AclStore, token: Token, form: Body) -> Token:
    """What an update may not change stays; legacy rules go when the token gets policies of its own."""
    old = store.token(token.accessor_id)
    if old is None:
        raise RpcError(f"Cannot find token {token.accessor_id[:80]!a}")
    legacy = bool(old.legacy_type) and not (token.policies or token.roles or token.service_identities)
    wanted = text(form, "ExpirationTime")
    return replace(
        token,
        accessor_id=old.accessor_id,
        secret_id=token.secret_id or old.secret_id,
        local=boolean(form, "Local") if "Local" in form else old.local,
        create_time=old.create_time,
        expiration_time=_parse_time(wanted) if wanted else old.expiration_time,
        legacy_type=old.legacy_type if legacy else "",
        rules=old.rules if legacy else "",
    )


def clone_of(store: AclStore, body: Body, moment: Moment) -> Token:
    """A new token with the rights of the one whose accessor is in ``ACLToken``; a ``Description`` replaces its own."""
    form = mapping(body, "ACLToken")
    source = store.token(text(form, "AccessorID"))
    if source is None or source.expired(moment.at):
        raise not_found()
    if source.legacy_type and source.rules:
        raise RpcError("Cannot clone a legacy ACL with this endpoint: use /v1/acl/clone/:id")
    return replace(
        source,
        accessor_id=moment.new_id(),
        secret_id=moment.new_id(),
        description=text(form, "Description") or source.description,
        create_time=moment.at,
        legacy_type="",
    )


def policy_form(body: Body, moment: Moment) -> tuple[Policy, bool]:
    """``Policy`` of a body, and whether it is a new one: without an id."""
    form = mapping(body, "Policy")
    policy_id = text(form, "ID")
    policy = Policy(
        policy_id or moment.new_id(),
        text(form, "Name"),
        text(form, "Description"),
        text(form, "Rules"),
        texts(form, "Datacenters"),
    )
    return policy, not policy_id


def role_form(store: AclStore, body: Body, moment: Moment) -> tuple[Role, bool]:
    """``Role`` of a body, and whether it is a new one: without an id."""
    form = mapping(body, "Role")
    role_id = text(form, "ID")
    role = Role(
        role_id or moment.new_id(),
        text(form, "Name"),
        text(form, "Description"),
        _policy_links(store, form),
        _identities(form),
    )
    return role, not role_id


def _policy_links(store: AclStore, form: Body) -> tuple[str, ...]:
    return tuple(_linked(row, "policy", store.policy, store.policy_named) for row in rows(form, "Policies"))


def _linked(
    row: Body,
    kind: str,
    by_id: Callable[[str], Policy | Role | None],
    by_name: Callable[[str], Policy | Role | None],
) -> str:
    row_id, name = text(row, "ID"), text(row, "Name")
    if not row_id and not name:
        raise RpcError(f'Link to a {kind} without ID and Name: write {{"Name": "..."}}')
    found = by_id(row_id) if row_id else by_name(name)
    if found is None:
        which = f"ID {row_id[:80]!a}" if row_id else f"name {name[:80]!a}"
        raise RpcError(f"No such ACL {kind} with {which}")
    return found.id


def _identities(form: Body) -> tuple[ServiceIdentity, ...]:
    return tuple(
        ServiceIdentity(text(row, "ServiceName"), texts(row, "Datacenters"))
        for row in rows(form, "ServiceIdentities")
    )


def _expiration(form: Body, at: float) -> float:
    ttl, until = integer(form, "ExpirationTTL") / NANOSECONDS, text(form, "ExpirationTime")
    if ttl and until:
        raise RpcError("Expiration TTL and Expiration Time cannot both be set")
    if not ttl and not until:
        return 0.0
    left = ttl or _parse_time(until) - at
    if not MIN_EXPIRATION_TTL <= left <= MAX_EXPIRATION_TTL:
        least, most = format_duration(MIN_EXPIRATION_TTL), format_duration(MAX_EXPIRATION_TTL)
        raise RpcError(f"expiration time must be from {least} to {most} in the future")
    return at + left


def _parse_time(value: str) -> float:
    try:
        moment = datetime.fromisoformat(value[:64])
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise RpcError(f'ExpirationTime {value[:64]!a} is not a time: write "2030-01-31T12:00:00Z"') from None
