"""The routes on this agent's own services and checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshnode.base.later import Later
from meshnode.http import agent_check_routes, agent_service_routes
from meshnode.http.router import Route

if TYPE_CHECKING:
    from meshnode.http import connect_proxy_routes
else:
    connect_proxy_routes = Later("meshnode.http.connect_proxy_routes")

__all__ = ["LOCAL_ROUTES"]

LOCAL_ROUTES: Final = (
    Route("/v1/agent/maintenance", {"PUT": agent_check_routes.maintenance}),
    Route("/v1/agent/services", {"GET": agent_service_routes.services}),
    Route("/v1/agent/service/:id", {"GET": agent_service_routes.service}),
    Route("/v1/agent/service/register", {"PUT": agent_service_routes.register}),
    Route("/v1/agent/service/deregister/:id", {"PUT": agent_service_routes.deregister}),
    Route("/v1/agent/service/maintenance/:id", {"PUT": agent_service_routes.maintenance}),
    Route("/v1/agent/health/service/id/:id", {"GET": agent_service_routes.health_by_id}),
    Route("/v1/agent/health/service/name/:name", {"GET": agent_service_routes.health_by_name}),
    Route("/v1/agent/connect/proxy/:id", {"GET": connect_proxy_routes.config}),
    Route("/v1/agent/checks", {"GET": agent_check_routes.checks}),
    Route("/v1/agent/check/register", {"PUT": agent_check_routes.register}),
    Route("/v1/agent/check/deregister/:id", {"PUT": agent_check_routes.deregister}),
    Route("/v1/agent/check/pass/:id", {"PUT": agent_check_routes.passing}),
    Route("/v1/agent/check/warn/:id", {"PUT": agent_check_routes.warn}),
    Route("/v1/agent/check/fail/:id", {"PUT": agent_check_routes.fail}),
    Route("/v1/agent/check/update/:id", {"PUT": agent_check_routes.update}),
)
