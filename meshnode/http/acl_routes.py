"""``/v1/acl`` of Consul 1.4: tokens, policies, roles, and the translation of legacy rules.

While access control is off every route answers 401 ``ACL support disabled``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.acl.rules import translate_legacy_rules
from meshnode.base.errors import ConfigError, MeshError
from meshnode.control.method import NANOSECONDS
from meshnode.http import state
from meshnode.http.body import Fields, decode_object
from meshnode.http.context import Context
from meshnode.http.effects import ReadServer, Steps, ask
from meshnode.http.errors import HttpError
from meshnode.http.message import Request, Response, StreamResponse
from meshnode.http.router import Answer, Handler, Outcome
from meshnode.http.state import Render

__all__ = [
    "bootstrap",
    "guarded",
    "policies",
    "policy_by_name",
    "policy_create",
    "policy_delete",
    "policy_read",
    "policy_update",
    "role_by_name",
    "role_create",
    "role_delete",
    "role_read",
    "role_update",
    "roles",
    "rules_translate",
    "token_clone",
    "token_create",
    "token_delete",
    "token_read",
    "token_rules_translate",
    "token_self",
    "token_update",
    "tokens",
]

#: Sentences of a server, with the status and the start of the text that Consul's agent makes of them.
_STATUSES: Final = (
    ("ACL support disabled", 401, ""),
    ("ACL bootstrap", 403, "Permission denied: "),
    ("Failed to translate the rules", 400, ""),
)


def guarded(handler: Handler) -> Handler:
    """A handler whose errors have the statuses that Consul gives to those of its ACL methods."""

    def handle(context: Context, request: Request) -> Outcome:
        try:
            outcome = handler(context, request)
        except MeshError as error:
            raise _as_answer(error) from None
        return outcome if isinstance(outcome, Response | StreamResponse) else _finish(outcome)

    handle.__doc__ = handler.__doc__
    return handle


def _finish(steps: Steps[Answer]) -> Steps[Answer]:
    try:
        return (yield from steps)
    except MeshError as error:
        raise _as_answer(error) from None


def _as_answer(error: MeshError) -> MeshError:
    text = str(error)
    for sentence, status, before in _STATUSES:
        if sentence in text and not isinstance(error, HttpError):
            return HttpError(status, sentence if status == 401 else before + text)
    return error


# Bootstrap


@guarded
def bootstrap(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/bootstrap: the first token, once; ``ID`` is its secret, for clients of 1.2.3."""

    def render(token: Mapping[str, Any]) -> dict[str, Any]:
        return {"ID": token["SecretID"], **token}

    return state.write(context, request, "ACL.BootstrapTokens", {}, render)


# Tokens


@guarded
def tokens(context: Context, request: Request) -> Outcome:
    """GET /v1/acl/tokens, perhaps only those linked to ``?policy=`` or ``?role=`` (ids); no secrets."""
    query = request.query
    body = {"Policy": query.get("policy"), "Role": query.get("role")}
    return state.read(context, request, "ACL.TokenList", body, _field("Tokens"))


@guarded
def token_self(context: Context, request: Request) -> Outcome:
    """GET /v1/acl/token/self: the token of the request."""
    token = request.token or context.view.default_token
    body = {"TokenID": token, "TokenIDType": "secret", "Token": token}
    return state.read(context, request, "ACL.TokenRead", body, _field("Token"))


@guarded
def token_read(context: Context, request: Request) -> Outcome:
    """GET /v1/acl/token/:accessor; the secret is hidden from who may not write tokens."""
    body = {"TokenID": _param(request, "token AccessorID"), "TokenIDType": "accessor"}
    return state.read(context, request, "ACL.TokenRead", body, _field("Token"))


@guarded
def token_create(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/token; the answer has the secret."""
    body = {"ACLToken": _token_form(request), "Create": True}
    return state.write(context, request, "ACL.TokenSet", body, dict)


@guarded
def token_update(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/token/:accessor: the token becomes what the body says, but for its secret and its times."""
    accessor, form = _param(request, "token AccessorID"), _token_form(request)
    if form["AccessorID"] not in {"", accessor}:
        raise HttpError(400, "Token Accessor ID in URL and payload do not match")
    body = {"ACLToken": {**form, "AccessorID": accessor}, "Create": False}
    return state.write(context, request, "ACL.TokenSet", body, dict)


@guarded
def token_clone(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/token/:accessor/clone; the body may have a ``Description``."""
    fields = Fields(decode_object(request.body)) if request.body.strip() else Fields({})
    form = {
        "AccessorID": _param(request, "token AccessorID"),
        "Description": fields.text("Description"),
    }
    return state.write(context, request, "ACL.TokenClone", {"ACLToken": form}, dict)


@guarded
def token_delete(context: Context, request: Request) -> Outcome:
    """DELETE /v1/acl/token/:accessor."""
    body = {"TokenID": _param(request, "token AccessorID")}
    return state.write(context, request, "ACL.TokenDelete", body, bool)


# Policies


@guarded
def policies(context: Context, request: Request) -> Outcome:
    """GET /v1/acl/policies, without their rules."""
    return state.read(context, request, "ACL.PolicyList", {}, _field("Policies"))


@guarded
def policy_read(context: Context, request: Request) -> Outcome:
    """GET /v1/acl/policy/:id."""
    body = {"PolicyID": _param(request, "policy ID")}
    return state.read(context, request, "ACL.PolicyRead", body, _field("Policy"))


@guarded
def policy_by_name(context: Context, request: Request) -> Outcome:
    """GET /v1/acl/policy/name/:name."""
    body = {"PolicyName": _param(request, "policy Name")}
    return state.read(context, request, "ACL.PolicyRead", body, _field("Policy"))


@guarded
def policy_create(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/policy."""
    form = _policy_form(request)
    if form["ID"]:
        raise HttpError(
            400, "Cannot specify the ID when creating a new policy: PUT /v1/acl/policy/:id updates one"
        )
    return state.write(context, request, "ACL.PolicySet", {"Policy": form}, dict)


@guarded
def policy_update(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/policy/:id."""
    policy_id, form = _param(request, "policy ID"), _policy_form(request)
    if form["ID"] not in {"", policy_id}:
        raise HttpError(400, "Policy ID in URL and payload do not match")
    return state.write(context, request, "ACL.PolicySet", {"Policy": {**form, "ID": policy_id}}, dict)


@guarded
def policy_delete(context: Context, request: Request) -> Outcome:
    """DELETE /v1/acl/policy/:id."""
    body = {"PolicyID": _param(request, "policy ID")}
    return state.write(context, request, "ACL.PolicyDelete", body, bool)


# Roles


@guarded
def roles(context: Context, request: Request) -> Outcome:
    """GET /v1/acl/roles, perhaps only those linked to ``?policy=`` (an id)."""
    return state.read(
        context, request, "ACL.RoleList", {"Policy": request.query.get("policy")}, _field("Roles")
    )


@guarded
def role_read(context: Context, request: Request) -> Outcome:
    """GET /v1/acl/role/:id."""
    return state.read(
        context, request, "ACL.RoleRead", {"RoleID": _param(request, "role ID")}, _field("Role")
    )


@guarded
def role_by_name(context: Context, request: Request) -> Outcome:
    """GET /v1/acl/role/name/:name."""
    body = {"RoleName": _param(request, "role Name")}
    return state.read(context, request, "ACL.RoleRead", body, _field("Role"))


@guarded
def role_create(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/role."""
    form = _role_form(request)
    if form["ID"]:
        raise HttpError(
            400, "Cannot specify the ID when creating a new role: PUT /v1/acl/role/:id updates one"
        )
    return state.write(context, request, "ACL.RoleSet", {"Role": form}, dict)


@guarded
def role_update(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/role/:id."""
    role_id, form = _param(request, "role ID"), _role_form(request)
    if form["ID"] not in {"", role_id}:
        raise HttpError(400, "Role ID in URL and payload do not match")
    return state.write(context, request, "ACL.RoleSet", {"Role": {**form, "ID": role_id}}, dict)


@guarded
def role_delete(context: Context, request: Request) -> Outcome:
    """DELETE /v1/acl/role/:id."""
    return state.write(context, request, "ACL.RoleDelete", {"RoleID": _param(request, "role ID")}, bool)


# Legacy rules


@guarded
def rules_translate(context: Context, request: Request) -> Outcome:
    """POST /v1/acl/rules/translate: legacy rules in, the same in the language of 1.4 out, as text."""
    return _translated(context, request)


def _translated(context: Context, request: Request) -> Steps[Answer]:
    del context
    datacenter = request.query.get("dc") if request.raw_query else ""
    body = {"Rules": request.body.decode("utf-8", "replace")}
    reply = yield from ask(ReadServer("ACL.RulesTranslate", body, datacenter, request.token))
    return Response.text(200, reply["Rules"])


@guarded
def token_rules_translate(context: Context, request: Request) -> Outcome:
    """GET /v1/acl/rules/translate/:accessor: the rules of a legacy token in the language of 1.4."""

    def render(reply: Mapping[str, Any]) -> Response:
        try:
            return Response.text(200, translate_legacy_rules(reply["Token"].get("Rules", "")))
        except ConfigError as error:
            raise HttpError(400, f"Failed to translate the rules: {error}") from None

    body = {"TokenID": _param(request, "token AccessorID"), "TokenIDType": "accessor"}
    return state.read(context, request, "ACL.TokenRead", body, render)


# Bodies


def _field(name: str) -> Render:
    def render(reply: Mapping[str, Any]) -> Any:
        return reply[name]

    return render


def _param(request: Request, what: str) -> str:
    if not request.param:
        raise HttpError(400, f"Missing {what}")
    return request.param


def _fields(request: Request) -> Fields:
    return Fields(decode_object(request.body))


def _token_form(request: Request) -> dict[str, Any]:
    fields = _fields(request)
    form: dict[str, Any] = {
        "AccessorID": fields.text("AccessorID"),
        "SecretID": fields.text("SecretID"),
        "Description": fields.text("Description"),
        "Policies": _links(fields, "Policies"),
        "Roles": _links(fields, "Roles"),
        "ServiceIdentities": _identities(fields),
        "ExpirationTTL": round(fields.duration("ExpirationTTL") * NANOSECONDS),
        "ExpirationTime": fields.text("ExpirationTime"),
    }
    return form | ({"Local": fields.boolean("Local")} if fields.has("Local") else {})


def _policy_form(request: Request) -> dict[str, Any]:
    fields = _fields(request)
    form: dict[str, Any] = {name: fields.text(name) for name in ("ID", "Name", "Description", "Rules")}
    return form | {"Datacenters": [*fields.strings("Datacenters")]}


def _role_form(request: Request) -> dict[str, Any]:
    fields = _fields(request)
    form: dict[str, Any] = {name: fields.text(name) for name in ("ID", "Name", "Description")}
    return form | {"Policies": _links(fields, "Policies"), "ServiceIdentities": _identities(fields)}


def _links(fields: Fields, name: str) -> list[dict[str, str]]:
    return [{"ID": row.text("ID"), "Name": row.text("Name")} for row in fields.objects(name)]


def _identities(fields: Fields) -> list[dict[str, Any]]:
    return [
        {"ServiceName": row.text("ServiceName"), "Datacenters": [*row.strings("Datacenters")]}
        for row in fields.objects("ServiceIdentities")
    ]
