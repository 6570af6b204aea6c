"""``/v1/acl`` of Consul 1.4: tokens, policies, roles, and the translation of legacy rules.

While access control is off every route answers 401 ``ACL support disabled``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from meshnode.acl.rules import translate_legacy_rules
from meshnode.base.errors import ConfigError, MeshError
from meshnode.control.body import NANOSECONDS
from meshnode.http import state
from meshnode.http.body import Fields, decode_object
from meshnode.http.context import Context
from meshnode.http.effects import ReadServer, Steps, ask
from meshnode.http.errors import HttpError
from meshnode.http.message import Request, Response
from meshnode.http.router import Answer, Handler, Outcome, recovered
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
        return recovered(lambda: handler(context, request), _refuse)

    handle.__doc__ = handler.__doc__
    return handle


def _refuse(error: MeshError) -> NoReturn:
    text = str(error)
    for sentence, status, before in _STATUSES:
        if sentence in text and not isinstance(error, HttpError):
            # Behind "Permission denied" Consul has the server's sentence alone, and programs compare the whole.
            shown = before + text[text.index(sentence) :] if before else text
            raise HttpError(status, sentence if status == 401 else shown)
    raise error


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
    return _read(context, request, "Policy", "ID")


@guarded
def policy_by_name(context: Context, request: Request) -> Outcome:
    """GET /v1/acl/policy/name/:name."""
    return _read(context, request, "Policy", "Name")


@guarded
def policy_create(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/policy."""
    return _create(context, request, "Policy", _policy_form(request))


@guarded
def policy_update(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/policy/:id."""
    return _update(context, request, "Policy", _policy_form)


@guarded
def policy_delete(context: Context, request: Request) -> Outcome:
    """DELETE /v1/acl/policy/:id."""
    return _delete(context, request, "Policy")


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
    return _read(context, request, "Role", "ID")


@guarded
def role_by_name(context: Context, request: Request) -> Outcome:
    """GET /v1/acl/role/name/:name."""
    return _read(context, request, "Role", "Name")


@guarded
def role_create(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/role."""
    return _create(context, request, "Role", _role_form(request))


@guarded
def role_update(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/role/:id."""
    return _update(context, request, "Role", _role_form)


@guarded
def role_delete(context: Context, request: Request) -> Outcome:
    """DELETE /v1/acl/role/:id."""
    return _delete(context, request, "Role")


# Policies and roles alike: ``kind`` is Policy or Role


def _read(context: Context, request: Request, kind: str, field: str) -> Outcome:
    body = {f"{kind}{field}": _param(request, f"{kind.lower()} {field}")}
    return state.read(context, request, f"ACL.{kind}Read", body, _field(kind))


def _create(context: Context, request: Request, kind: str, form: dict[str, Any]) -> Outcome:
    if form["ID"]:
        what = kind.lower()
        raise HttpError(
            400, f"Cannot specify the ID when creating a new {what}: PUT /v1/acl/{what}/:id updates one"
        )
    return state.write(context, request, f"ACL.{kind}Set", {kind: form}, dict)


def _update(
    context: Context, request: Request, kind: str, parse_form: Callable[[Request], dict[str, Any]]
) -> Outcome:
    row_id, form = _param(request, f"{kind.lower()} ID"), parse_form(request)
    if form["ID"] not in {"", row_id}:
        raise HttpError(400, f"{kind} ID in URL and payload do not match")
    return state.write(context, request, f"ACL.{kind}Set", {kind: {**form, "ID": row_id}}, dict)


def _delete(context: Context, request: Request, kind: str) -> Outcome:
    body = {f"{kind}ID": _param(request, f"{kind.lower()} ID")}
    return state.write(context, request, f"ACL.{kind}Delete", body, bool)


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
