"""The ACL methods of Consul 1.2.3, mapped onto the tokens of 1.4: there a token's ID is its secret.

A management token has the policy ``global-management``; a client token has its rules, in the legacy language.
Source: Consul 1.2.3, agent/consul/acl_endpoint.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, PermissionDeniedError, Resource, require
from meshnode.acl.model import (
    ANONYMOUS_SECRET,
    CLIENT,
    GLOBAL_MANAGEMENT_ID,
    MANAGEMENT,
    Token,
)
from meshnode.acl.resolve import policy_texts
from meshnode.acl.store import ACL
from meshnode.control.body import Body, mapping, text
from meshnode.control.command import AclTokenDelete, AclTokenSet, Command
from meshnode.control.endpoints.acl_forms import not_found, require_enabled
from meshnode.control.endpoints.acl_shapes import legacy_shape
from meshnode.control.machine import Result, StateMachine
from meshnode.control.method import Method, Moment, ReadMethod, WriteMethod, accepted
from meshnode.control.watch import WatchKey
from meshnode.rpc.method import RpcError

__all__ = ["METHODS", "OPERATIONS"]

#: ``Op`` of ``ACL.Apply``.
OPERATIONS: Final = ("set", "delete")


def _watches(body: Body) -> tuple[WatchKey, ...]:
    del body
    return (ACL,)


def _apply(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    require_enabled(authorizer)
    require(authorizer, Resource.ACL, "", Access.WRITE)
    operation, form = text(body, "Op"), mapping(body, "ACL")
    secret = text(form, "ID")
    if operation == "set":
        return _set(state, form, secret, moment)
    if operation != "delete":
        raise RpcError(f"Invalid ACL Operation: use one of {', '.join(OPERATIONS)}")
    if not secret:
        raise RpcError("Missing ACL ID")
    if secret == ANONYMOUS_SECRET:
        raise PermissionDeniedError("Permission denied: Cannot delete anonymous token")
    token = state.acl.token_by_secret(secret)
    if token is None:
        return AclTokenDelete("")  # nothing to delete is a success, as in Consul
    _refuse_others(token)
    return AclTokenDelete(token.accessor_id)


def _set(state: StateMachine, form: Body, secret: str, moment: Moment) -> Command:
    kind = text(form, "Type")
    if kind not in {CLIENT, MANAGEMENT}:
        raise RpcError(f"Invalid ACL Type: write {CLIENT} or {MANAGEMENT}")
    wanted = Token(
        "",
        secret or moment.new_id(),
        text(form, "Name"),
        (GLOBAL_MANAGEMENT_ID,) if kind == MANAGEMENT else (),
        legacy_type=kind,
        rules=text(form, "Rules") if kind == CLIENT else "",
        create_time=moment.at,
    )
    old = state.acl.token_by_secret(secret) if secret else None
    if old is None:
        return AclTokenSet(replace(wanted, accessor_id=moment.new_id()), create=True)
    _refuse_others(old)
    kept = replace(
        wanted,
        accessor_id=old.accessor_id,
        create_time=old.create_time,
        local=old.local,
        expiration_time=old.expiration_time,
    )
    return AclTokenSet(kept, create=False)


def _refuse_others(token: Token) -> None:
    if legacy_shape(token) is None:
        raise RpcError("Cannot use legacy endpoint to modify a non-legacy token: use /v1/acl/token")


def _applied(state: StateMachine, result: Result) -> Any:
    """The ID of what was written; empty after a deletion."""
    done = accepted(result)
    token = state.acl.token(done) if isinstance(done, str) else None
    return token.secret_id if token is not None else ""


def _get(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    """Who knows the ID, which is the secret, may read."""
    require_enabled(authorizer)
    token = state.acl.token_by_secret(text(body, "ACL"))
    shape = legacy_shape(token) if token is not None else None
    return state.acl.index or 1, {"ACLs": [shape] if shape is not None else []}


def _list(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    """All that the API of 1.2.3 can express, by ID. These are secrets, so acl:write is needed."""
    del body
    require_enabled(authorizer)
    require(authorizer, Resource.ACL, "", Access.WRITE)
    shapes = [shape for shape in map(legacy_shape, state.acl.tokens()) if shape is not None]
    return state.acl.index or 1, {"ACLs": sorted(shapes, key=lambda shape: str(shape["ID"]))}


def _get_policy(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    """The rules of a secret (``ACL``) in ``Datacenter``, for an agent that has no copy of the state.

    Consul's reply has one parsed policy; here ``Policies`` are texts with where each is from, for ``resolve``'s
    ``authorizer_of_texts``. ``Until`` is when the token ends, unix seconds, 0: never.
    """
    require_enabled(authorizer)
    token = state.acl.token_by_secret(text(body, "ACL") or ANONYMOUS_SECRET)
    if token is None:
        raise not_found()
    texts = policy_texts(state.acl, token, text(body, "Datacenter"))
    etag = blake2b(repr(texts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    rows = [{"Origin": origin, "Rules": rules, "Legacy": legacy} for origin, rules, legacy in texts]
    return state.acl.index or 1, {
        "ETag": etag,
        "Policies": rows if text(body, "ETag") != etag else [],
        "Until": token.expiration_time,
    }


METHODS: Final[Mapping[str, Method]] = {
    "ACL.Apply": WriteMethod(_apply, _applied),
    "ACL.Get": ReadMethod(_watches, _get),
    "ACL.List": ReadMethod(_watches, _list),
    "ACL.GetPolicy": ReadMethod(_watches, _get_policy),
}
