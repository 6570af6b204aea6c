"""``/v1/connect/ca`` and ``/v1/agent/connect``: roots, leaves, settings, the rotation, and who may connect.

Source: Consul 1.2.3, documentation of its API. ``rotation``, ``revoke`` and ``/v1/agent/certs`` are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, Resource, require
from meshnode.base.errors import RemoteProtocolError
from meshnode.base.spiffe import DEFAULT_NAMESPACE, ServiceId, parse_spiffe_id
from meshnode.connect.model import time_text
from meshnode.http.authorize import authorizer_of, is_proxy_of
from meshnode.http.blocking import index_headers, parse_blocking
from meshnode.http.body import Fields, decode_object
from meshnode.http.connect_effects import GetCertificates, GetLeaf, GetRoots
from meshnode.http.context import Context
from meshnode.http.effects import ReadServer, Steps, ask
from meshnode.http.errors import HttpError
from meshnode.http.local_view import view_of
from meshnode.http.message import Headers, Request
from meshnode.http.router import Answer, Handler, Outcome
from meshnode.http.state import flag, read, write

__all__ = [
    "Decide",
    "Verdict",
    "agent_leaf",
    "agent_roots",
    "authorize_with",
    "certificates",
    "configuration_get",
    "configuration_set",
    "decide_by_intentions",
    "revoke",
    "roots",
    "rotation_get",
    "rotation_set",
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a client may connect, and why. ``rule`` is the ID of the intention that decided, empty without one.

    ``audited``: it would have been denied, and is let through, since that intention only audits.
    """

    allowed: bool
    reason: str
    rule: str = ""
    audited: bool = False


#: Decides about a source that may want to connect to the target: (context, request, rights, source, target).
Decide = Callable[[Context, Request, Authorizer, ServiceId, str], Steps[Verdict]]

_ACLS_OFF: Final = "ACLs disabled, access is allowed by default"
_ROOTS: Final = ("ActiveRootID", "TrustDomain", "Roots")
_ROTATION: Final = (
    *("Phase", "Paused", "Forced", "Status", "Done", "Total", "Waiting", "OldRootID", "NewRootID"),
    *("Started", "Since", "RetiresBy", "ActiveRoot", "ActiveRootEnds", "Nodes"),
)
_CONFIGURATION: Final = ("Provider", "Config", "CreateIndex", "ModifyIndex")


def roots(context: Context, request: Request) -> Outcome:
    """GET /v1/connect/ca/roots: those of the servers."""
    return read(context, request, "ConnectCA.Roots", {}, lambda reply: _some(reply, _ROOTS))


def configuration_get(context: Context, request: Request) -> Outcome:
    """GET /v1/connect/ca/configuration, without secrets."""
    return read(
        context, request, "ConnectCA.ConfigurationGet", {}, lambda reply: _some(reply, _CONFIGURATION)
    )


def configuration_set(context: Context, request: Request) -> Outcome:
    """PUT /v1/connect/ca/configuration; with ``?dry-run`` nothing changes and the steps are the answer."""
    fields = Fields(decode_object(request.body))
    config = fields.value("Config")
    if config is not None and not isinstance(config, dict):
        raise HttpError(400, "Request decode failed: Config: expected object")
    body = {"Config": {"Provider": fields.text("Provider"), "Config": config or {}}}
    return _planned(context, request, "ConnectCA.ConfigurationSet", body)


def rotation_get(context: Context, request: Request) -> Outcome:
    """GET /v1/connect/ca/rotation: the phase, and each node's part in it."""
    return read(context, request, "ConnectCA.Rotation", {}, lambda reply: _some(reply, _ROTATION))


def rotation_set(context: Context, request: Request) -> Outcome:
    """PUT /v1/connect/ca/rotation with ``{"Action": "start|pause|resume|abort"}``; ``?dry-run``.

    To ``start`` belong ``Force``, which waits for nobody, and ``Paused``: nodes learn the new root and nothing more.
    """
    fields = Fields(decode_object(request.body))
    body = {
        "Action": fields.text("Action"),
        "Force": fields.boolean("Force"),
        "Paused": fields.boolean("Paused"),
    }
    return _planned(context, request, "ConnectCA.RotationSet", body)


def revoke(context: Context, request: Request) -> Outcome:
    """PUT /v1/connect/ca/revoke with ``{"SerialNumber": "1f:8b:...", "Reason": ""}``."""
    fields = Fields(decode_object(request.body))
    body = {"SerialNumber": fields.text("SerialNumber"), "Reason": fields.text("Reason")}
    return write(context, request, "ConnectCA.Revoke", body)


def agent_roots(context: Context, request: Request) -> Steps[Answer]:
    """GET /v1/agent/connect/ca/roots: those that this node trusts.

    Ours are ``RevokedSerialNumbers``, leafs that are refused although their time is not over, and
    ``DistrustedRootIDs``: whoever shows a leaf of one is cut.
    """
    wanted = parse_blocking(request)
    bundle, hit = yield from ask(GetRoots(wanted.index, wanted.timeout(context.rng)))
    value = {
        "ActiveRootID": bundle.active_id,
        "TrustDomain": bundle.trust_domain,
        "Roots": [root.row for root in bundle.roots],
        "RevokedSerialNumbers": sorted(bundle.revoked),
        "DistrustedRootIDs": sorted(bundle.distrusted),
    }
    return context.json(request, value, _headers(bundle.index, hit=hit))


def agent_leaf(context: Context, request: Request) -> Steps[Answer]:
    """GET /v1/agent/connect/ca/leaf/:service: certificate and key of a service, which need not be registered."""
    service = request.param
    if not service:
        raise HttpError(400, "Missing service name: write /v1/agent/connect/ca/leaf/<service>")
    wanted = parse_blocking(request)
    rights = yield from authorizer_of(context, request)
    if not is_proxy_of(context, request, service):
        require(rights, Resource.SERVICE, service, Access.WRITE)
    try:
        leaf, hit = yield from ask(GetLeaf(service, request.token, wanted.index, wanted.timeout(context.rng)))
    except RemoteProtocolError as error:
        raise HttpError(400, f"{service[:100]!r} can't have a certificate: {error}") from None
    value = {
        "SerialNumber": leaf.serial,
        "CertPEM": leaf.certificate_pem,
        "PrivateKeyPEM": leaf.key_pem,
        "Service": leaf.service,
        "ServiceURI": leaf.uri,
        "ValidAfter": time_text(leaf.not_before),
        "ValidBefore": time_text(leaf.not_after),
        "CreateIndex": leaf.index,
        "ModifyIndex": leaf.index,
    }
    return context.json(request, value, _headers(leaf.index, hit=hit))


def certificates(context: Context, request: Request) -> Steps[Answer]:
    """GET /v1/agent/certs: every certificate of this node, with the days left and what each listener presents."""
    rows = yield from ask(GetCertificates())
    return context.json(request, list(rows))


def authorize_with(decide: Decide) -> Handler:
    """POST /v1/agent/connect/authorize: may the client with this certificate connect to the target?

    Whoever can't be told by the certificate is refused with a reason, and status 200; ``decide`` is asked about the
    others: a service of this trust domain whose certificate is not revoked. After Consul's two fields come ``Audited``
    and ``IntentionID``, for programs: what the reason says in words.
    """

    def authorize(context: Context, request: Request) -> Steps[Answer]:
        fields = Fields(decode_object(request.body))
        target, uri = fields.text("Target"), fields.text("ClientCertURI")
        serial = fields.text("ClientCertSerial")
        if not target:
            raise HttpError(400, "Target service must be specified")
        rights = yield from authorizer_of(context, request)
        if not is_proxy_of(context, request, target):
            require(rights, Resource.SERVICE, target, Access.WRITE)
        try:
            source = parse_spiffe_id(uri)
        except RemoteProtocolError as error:
            return _answer(context, request, Verdict(False, str(error)), hit=False)
        if not isinstance(source, ServiceId):
            verdict = Verdict(False, "Client ID must be a valid SPIFFE service URI")
            return _answer(context, request, verdict, hit=False)
        bundle, hit = yield from ask(GetRoots())
        if source.trust_domain != bundle.trust_domain:
            verdict = Verdict(False, f"Identity from an external trust domain: {source.trust_domain}")
        elif serial and serial.lower() in bundle.revoked:
            verdict = Verdict(False, f"Certificate {serial[:64]} is revoked")
        else:
            verdict = yield from decide(context, request, rights, source, target)
        return _answer(context, request, verdict, hit=hit)

    return authorize


def decide_by_intentions(
    context: Context, request: Request, rights: Authorizer, source: ServiceId, target: str
) -> Steps[Verdict]:
    """What the intentions of the servers say, asked for with the token of the request."""
    del rights
    check = {
        "SourceNS": source.namespace,
        "SourceName": source.service,
        "DestinationNS": DEFAULT_NAMESPACE,
        "DestinationName": target,
    }
    reply = yield from ask(ReadServer("Intention.Check", {"Check": check}, "", request.token))
    explained = reply.get("Explain") or {}
    reason = str(explained.get("Reason", ""))
    if view_of(context).acl_enabled and reason == _ACLS_OFF:
        # A server that doesn't know of our access control must not open what it closes.
        return Verdict(False, "Default behavior configured by ACLs")
    rule, audited = str(explained.get("IntentionID") or ""), explained.get("Audited") is True
    return Verdict(reply.get("Allowed") is True, reason, rule, audited)


def _answer(context: Context, request: Request, verdict: Verdict, *, hit: bool) -> Answer:
    value = {
        "Authorized": verdict.allowed,
        "Reason": verdict.reason,
        "Audited": verdict.audited,
        "IntentionID": verdict.rule,
    }
    return context.json(request, value, _cache_header(hit=hit))


def _planned(context: Context, request: Request, method: str, body: Mapping[str, Any]) -> Outcome:
    if flag(request, "dry-run"):
        return write(context, request, method, {**body, "DryRun": True}, lambda reply: reply)
    return write(context, request, method, body)


def _some(reply: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    # A server of an earlier version may lack what came later.
    return {name: reply[name] for name in names if name in reply}


def _headers(index: int, *, hit: bool) -> Headers:
    return (*index_headers(index, known_leader=True, last_contact=0.0), *_cache_header(hit=hit))


def _cache_header(*, hit: bool) -> Headers:
    return (("X-Cache", "HIT" if hit else "MISS"),)
