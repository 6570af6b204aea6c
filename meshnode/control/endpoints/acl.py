"""``ACL.*``: tokens, policies and roles of Consul 1.4, and the table of all ACL methods.

While access control is off every method fails with ``ACL support disabled``. Reads need acl:read, writes acl:write; who
may only read sees ``<hidden>`` for secrets. A token that is over is shown until the leader has removed it.
Source: Consul 1.4, agent/consul/acl_endpoint.go, agent/structs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, Resource, require
from meshnode.acl.model import (
    ANONYMOUS_SECRET,
    GLOBAL_MANAGEMENT_ID,
    Policy,
    Role,
    Token,
)
from meshnode.acl.rules import translate_legacy_rules
from meshnode.acl.store import ACL
from meshnode.base.errors import ConfigError
from meshnode.control.body import Body, boolean, text
from meshnode.control.command import (
    AclBootstrap,
    AclPolicyDelete,
    AclPolicySet,
    AclRoleDelete,
    AclRoleSet,
    AclTokenDelete,
    AclTokenSet,
    Command,
)
from meshnode.control.endpoints import acl_legacy
from meshnode.control.endpoints.acl_forms import (
    clone_of,
    not_found,
    policy_form,
    require_enabled,
    role_form,
    token_form,
)
from meshnode.control.endpoints.acl_shapes import (
    NO_TIME,
    legacy_shape,
    policy_shape,
    policy_stub,
    role_shape,
    token_shape,
    token_stub,
)
from meshnode.control.machine import Result, StateMachine
from meshnode.control.method import Method, Moment, ReadMethod, WriteMethod, accepted
from meshnode.control.watch import WatchKey
from meshnode.rpc.method import RpcError

__all__ = ["METHODS", "UNTRANSLATABLE", "bootstrap_methods"]

#: The accessor shown for a token that only the configuration knows.
NO_ACCESSOR: Final = "00000000-0000-0000-0000-000000000000"
#: How the refusal of ``ACL.RulesTranslate`` begins.
UNTRANSLATABLE: Final = "Failed to translate the rules"
Reply = tuple[int, dict[str, Any]]


def _watches(body: Body) -> tuple[WatchKey, ...]:
    del body
    return (ACL,)


def _require(authorizer: Authorizer, access: Access) -> None:
    require_enabled(authorizer)
    require(authorizer, Resource.ACL, "", access)


def _index(state: StateMachine) -> int:
    return state.acl.index or 1


# Bootstrap


def bootstrap_methods(
    reset_index: Callable[[], int], *, has_master: Callable[[], bool] = lambda: False
) -> dict[str, Method]:
    """The methods that make the first token. ``reset_index``: what the operator wrote on this disk, 0: nothing.

    It is never taken from a body: the refusal tells everybody which index to write. ``has_master``: whether the
    configuration has a master token, with which there is nothing to bootstrap.
    """

    def plan(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
        del state, body
        require_enabled(authorizer)
        if has_master():
            raise RpcError("ACL bootstrap no longer allowed: the servers have an acl_master_token, use that")
        return AclBootstrap(moment.new_id(), moment.new_id(), moment.at, reset_index())

    return {
        "ACL.Bootstrap": WriteMethod(plan, lambda state, result: legacy_shape(_written(state, result))),
        "ACL.BootstrapTokens": WriteMethod(plan, _token_reply),
    }


# Tokens


def _written(state: StateMachine, result: Result) -> Token:
    token = state.acl.token(str(accepted(result)))
    if token is None:
        raise not_found("the token was deleted meanwhile")
    return token


def _token_reply(state: StateMachine, result: Result) -> dict[str, Any]:
    return token_shape(state.acl, _written(state, result), secret=True)


def _token_read(state: StateMachine, body: Body, authorizer: Authorizer) -> Reply:
    """``TokenID`` is an accessor, or with ``TokenIDType`` ``secret`` a secret, which is right enough to read it."""
    require_enabled(authorizer)
    wanted = text(body, "TokenID")
    if text(body, "TokenIDType") == "secret":
        wanted = wanted or text(body, "Token")
        token = state.acl.token_by_secret(wanted or ANONYMOUS_SECRET)
        if token is None and wanted == text(body, "Token"):
            links = (GLOBAL_MANAGEMENT_ID,) if authorizer.unrestricted else ()
            token = Token(NO_ACCESSOR, wanted, "A token of the agent's configuration", links)
        secret = True
    else:
        require(authorizer, Resource.ACL, "", Access.READ)
        token = state.acl.token(wanted)
        secret = authorizer.decide(Resource.ACL, "", Access.WRITE).allowed
    if token is None:
        raise not_found()
    return _index(state), {
        "Token": token_shape(state.acl, token, secret=secret),
        "Redacted": not secret,
    }


def _token_list(state: StateMachine, body: Body, authorizer: Authorizer) -> Reply:
    """``Policy`` and ``Role`` are ids that a token must be linked to."""
    _require(authorizer, Access.READ)
    policy, role = text(body, "Policy").lower(), text(body, "Role").lower()
    local, everywhere = boolean(body, "IncludeLocal"), boolean(body, "IncludeGlobal")
    shown = [
        token_stub(state.acl, token)
        for token in state.acl.tokens()
        if (not policy or policy in token.policies)
        and (not role or role in token.roles)
        and (local == everywhere or token.local == local)
    ]
    return _index(state), {"Tokens": shown}


def _token_set(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    _require(authorizer, Access.WRITE)
    token, create = token_form(state.acl, body, moment)
    return AclTokenSet(token, create)


def _token_clone(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    _require(authorizer, Access.WRITE)
    return AclTokenSet(clone_of(state.acl, body, moment), create=True)


def _token_delete(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    del moment
    _require(authorizer, Access.WRITE)
    accessor = text(body, "TokenID")
    if not accessor:
        raise RpcError("Accessor ID is missing or an empty string")
    token = state.acl.token(accessor)
    if token is not None and token.secret_id == text(body, "Token"):
        raise RpcError("Deletion of the request's authorization token is not permitted")
    return AclTokenDelete(accessor)


# Policies


def _policy_read(state: StateMachine, body: Body, authorizer: Authorizer) -> Reply:
    """By ``PolicyID``, or else by ``PolicyName``."""
    _require(authorizer, Access.READ)
    policy_id, name = text(body, "PolicyID"), text(body, "PolicyName")
    policy = state.acl.policy(policy_id) if policy_id else state.acl.policy_named(name)
    if policy is None:
        raise not_found(f"there is no policy with {_which(policy_id, name)}")
    return _index(state), {"Policy": policy_shape(policy)}


def _policy_list(state: StateMachine, body: Body, authorizer: Authorizer) -> Reply:
    del body
    _require(authorizer, Access.READ)
    return _index(state), {"Policies": [policy_stub(policy) for policy in state.acl.policies()]}


def _policy_set(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    del state
    _require(authorizer, Access.WRITE)
    policy, create = policy_form(body, moment)
    return AclPolicySet(policy, create)


def _policy_reply(state: StateMachine, result: Result) -> dict[str, Any]:
    policy: Policy | None = state.acl.policy(str(accepted(result)))
    if policy is None:
        raise not_found("the policy was deleted meanwhile")
    return policy_shape(policy)


def _policy_delete(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    del state, moment
    _require(authorizer, Access.WRITE)
    return AclPolicyDelete(text(body, "PolicyID"))


# Roles


def _role_read(state: StateMachine, body: Body, authorizer: Authorizer) -> Reply:
    """By ``RoleID``, or else by ``RoleName``."""
    _require(authorizer, Access.READ)
    role_id, name = text(body, "RoleID"), text(body, "RoleName")
    role = state.acl.role(role_id) if role_id else state.acl.role_named(name)
    if role is None:
        raise not_found(f"there is no role with {_which(role_id, name)}")
    return _index(state), {"Role": role_shape(state.acl, role)}


def _role_list(state: StateMachine, body: Body, authorizer: Authorizer) -> Reply:
    """``Policy`` is the id of one that a role must be linked to."""
    _require(authorizer, Access.READ)
    policy = text(body, "Policy").lower()
    found = [role for role in state.acl.roles() if not policy or policy in role.policies]
    return _index(state), {"Roles": [role_shape(state.acl, role) for role in found]}


def _role_set(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    _require(authorizer, Access.WRITE)
    role, create = role_form(state.acl, body, moment)
    return AclRoleSet(role, create)


def _role_reply(state: StateMachine, result: Result) -> dict[str, Any]:
    role: Role | None = state.acl.role(str(accepted(result)))
    if role is None:
        raise not_found("the role was deleted meanwhile")
    return role_shape(state.acl, role)


def _role_delete(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    del state, moment
    _require(authorizer, Access.WRITE)
    return AclRoleDelete(text(body, "RoleID"))


def _replication(state: StateMachine, body: Body, authorizer: Authorizer) -> Reply:
    """One datacenter holds its own tokens: nothing is replicated."""
    require_enabled(authorizer)
    return _index(state), {
        "Enabled": False,
        "Running": False,
        "SourceDatacenter": text(body, "Datacenter"),
        "ReplicatedIndex": 0,
        "LastSuccess": NO_TIME,
        "LastError": NO_TIME,
    }


def _translate(state: StateMachine, body: Body, authorizer: Authorizer) -> Reply:
    """``Rules`` in the language of 1.4. Consul's agents do this themselves; here a server does, who knows the token."""
    _require(authorizer, Access.READ)
    try:
        return _index(state), {"Rules": translate_legacy_rules(text(body, "Rules"))}
    except ConfigError as error:
        raise RpcError(f"{UNTRANSLATABLE}: {error}") from None


def _which(row_id: str, name: str) -> str:
    return f"ID {row_id[:80]!a}" if row_id else f"name {name[:80]!a}"


def _deleted(state: StateMachine, result: Result) -> bool:
    del state
    return bool(accepted(result))


METHODS: Final[Mapping[str, Method]] = {
    **bootstrap_methods(lambda: 0),
    **acl_legacy.METHODS,
    "ACL.TokenRead": ReadMethod(_watches, _token_read),
    "ACL.TokenList": ReadMethod(_watches, _token_list),
    "ACL.TokenSet": WriteMethod(_token_set, _token_reply),
    "ACL.TokenClone": WriteMethod(_token_clone, _token_reply),
    "ACL.TokenDelete": WriteMethod(_token_delete, _deleted),
    "ACL.PolicyRead": ReadMethod(_watches, _policy_read),
    "ACL.PolicyList": ReadMethod(_watches, _policy_list),
    "ACL.PolicySet": WriteMethod(_policy_set, _policy_reply),
    "ACL.PolicyDelete": WriteMethod(_policy_delete, _deleted),
    "ACL.RoleRead": ReadMethod(_watches, _role_read),
    "ACL.RoleList": ReadMethod(_watches, _role_list),
    "ACL.RoleSet": WriteMethod(_role_set, _role_reply),
    "ACL.RoleDelete": WriteMethod(_role_delete, _deleted),
    "ACL.RulesTranslate": ReadMethod(_watches, _translate),
    "ACL.ReplicationStatus": ReadMethod(_watches, _replication),
}
