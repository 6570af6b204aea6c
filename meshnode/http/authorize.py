"""Who asks: the rights of a request's token, and lists without what they don't cover."""

from __future__ import annotations

from meshnode.acl.authorizer import ALLOW_ALL, Access, Authorizer, Resource, require
from meshnode.catalog.model import Check, Service
from meshnode.http.context import Context
from meshnode.http.effects import ResolveToken, Steps, ask
from meshnode.http.local_view import local_of, view_of
from meshnode.http.message import Request, Response, StreamResponse
from meshnode.http.router import Answer, Handler, Outcome

__all__ = [
    "authorizer_of",
    "guarded",
    "is_proxy_of",
    "may_see_check",
    "may_see_service",
    "require_check_write",
    "require_known_check_write",
]


def authorizer_of(context: Context, request: Request) -> Steps[Authorizer]:
    """The authorizer of the request's token; everything is allowed while access control is off."""
    if not view_of(context).acl_enabled:
        return ALLOW_ALL
    return (yield from ask(ResolveToken(request.token)))


def guarded(handler: Handler, resource: Resource, access: Access) -> Handler:
    """``handler`` for those who have ``access``: to this agent's name for ``agent``, to all of it for the others."""

    def guard(context: Context, request: Request) -> Outcome:
        if not view_of(context).acl_enabled:
            return handler(context, request)
        name = context.view.node_name if resource is Resource.AGENT else ""
        return _checked(context, request, handler, resource, name, access)

    return guard


def _checked(
    context: Context, request: Request, handler: Handler, resource: Resource, name: str, access: Access
) -> Steps[Answer]:
    authorizer = yield from ask(ResolveToken(request.token))
    require(authorizer, resource, name, access)
    outcome = handler(context, request)
    if isinstance(outcome, Response | StreamResponse):
        return outcome
    return (yield from outcome)


def is_proxy_of(context: Context, request: Request, service: str) -> bool:
    """Whether the managed proxy of ``service`` asks, by the token that this agent gave it."""
    if not request.proxy_id:
        return False
    found = local_of(context).proxy(request.proxy_id)
    return found is not None and found["TargetServiceName"] == service


def may_see_service(authorizer: Authorizer, service: Service) -> bool:
    """Whether ``service:read`` covers it."""
    return authorizer.decide(Resource.SERVICE, service.name, Access.READ).allowed


def may_see_check(authorizer: Authorizer, check: Check) -> bool:
    """Whether ``service:read`` covers the check of a service, ``node:read`` one of the node."""
    if check.service_name:
        return authorizer.decide(Resource.SERVICE, check.service_name, Access.READ).allowed
    return authorizer.decide(Resource.NODE, check.node, Access.READ).allowed


def require_check_write(authorizer: Authorizer, service_name: str, node: str) -> None:
    """Return when checks of the service, or of the node when it has no name, may be changed; else raise."""
    if service_name:
        require(authorizer, Resource.SERVICE, service_name, Access.WRITE)
    else:
        require(authorizer, Resource.NODE, node, Access.WRITE)


def require_known_check_write(context: Context, authorizer: Authorizer, check_id: str) -> bool:
    """Raise unless this agent's check of this id may be changed; whether there is one."""
    found = local_of(context).check(check_id)
    if found is not None:
        require_check_write(authorizer, found.service_name, context.view.node_name)
    return found is not None
