"""The table of all routes of Consul 1.2.3 (and later ones once they are built); ``None`` is known but not built.

A handler is added by writing it in place of ``None``. What is not in the table is answered with 404.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshnode.acl.authorizer import Access, Resource
from meshnode.base.later import Later
from meshnode.http import (
    agent_routes,
    catalog_routes,
    health_routes,
    kv_routes,
    proxy_report,
    session_routes,
    status_routes,
)
from meshnode.http.authorize import guarded
from meshnode.http.context import Context
from meshnode.http.local_routes import LOCAL_ROUTES
from meshnode.http.message import Request
from meshnode.http.router import Outcome, Route

if TYPE_CHECKING:
    from meshnode.http import (
        acl_legacy_routes,
        acl_routes,
        config_routes,
        connect_ca_routes,
        connect_proxy_routes,
        coordinate_routes,
        event_routes,
        intention_routes,
        internal_routes,
        operator_routes,
        query_routes,
        raft_routes,
        snapshot_routes,
        txn_routes,
    )
else:
    acl_legacy_routes = Later("meshnode.http.acl_legacy_routes")
    acl_routes = Later("meshnode.http.acl_routes")
    config_routes = Later("meshnode.http.config_routes")
    connect_ca_routes = Later("meshnode.http.connect_ca_routes")
    connect_proxy_routes = Later("meshnode.http.connect_proxy_routes")
    coordinate_routes = Later("meshnode.http.coordinate_routes")
    event_routes = Later("meshnode.http.event_routes")
    intention_routes = Later("meshnode.http.intention_routes")
    internal_routes = Later("meshnode.http.internal_routes")
    operator_routes = Later("meshnode.http.operator_routes")
    query_routes = Later("meshnode.http.query_routes")
    raft_routes = Later("meshnode.http.raft_routes")
    snapshot_routes = Later("meshnode.http.snapshot_routes")
    txn_routes = Later("meshnode.http.txn_routes")

__all__ = ["MAX_SNAPSHOT_BYTES", "MAX_TXN_BODY_BYTES", "ROUTES"]

#: A snapshot is read into memory; larger states want a larger bound here.
MAX_SNAPSHOT_BYTES: Final = 256 * 1024 * 1024
#: A transaction's values in base64, its keys, and room for white space.
MAX_TXN_BODY_BYTES: Final = 2 * 1024 * 1024


def _authorize(context: Context, request: Request) -> Outcome:
    return connect_ca_routes.authorize_with(connect_ca_routes.decide_by_intentions)(context, request)


_AGENT: Final = (
    *LOCAL_ROUTES,
    Route("/v1/agent/self", {"GET": guarded(agent_routes.agent_self, Resource.AGENT, Access.READ)}),
    Route("/v1/agent/members", {"GET": agent_routes.members}),
    Route("/v1/agent/join/:address", {"PUT": guarded(agent_routes.join, Resource.AGENT, Access.WRITE)}),
    Route("/v1/agent/leave", {"PUT": guarded(agent_routes.leave, Resource.AGENT, Access.WRITE)}),
    Route(
        "/v1/agent/force-leave/:node",
        {"PUT": guarded(agent_routes.force_leave, Resource.AGENT, Access.WRITE)},
    ),
    Route("/v1/agent/reload", {"PUT": guarded(agent_routes.reload, Resource.AGENT, Access.WRITE)}),
    Route("/v1/agent/monitor", {"GET": guarded(agent_routes.monitor, Resource.AGENT, Access.READ)}),
    Route("/v1/agent/metrics", {"GET": guarded(agent_routes.metrics, Resource.AGENT, Access.READ)}),
    Route("/v1/agent/token/:name", {"PUT": guarded(agent_routes.token, Resource.AGENT, Access.WRITE)}),
    Route("/v1/agent/certs", {"GET": guarded(connect_ca_routes.certificates, Resource.AGENT, Access.READ)}),
    Route(
        "/v1/agent/connect/authorize",
        {"POST": _authorize},
    ),
    Route("/v1/agent/connect/ca/roots", {"GET": connect_ca_routes.agent_roots}),
    Route("/v1/agent/connect/ca/leaf/:service", {"GET": connect_ca_routes.agent_leaf}),
    Route(
        "/v1/agent/connect/report/:proxy_id",
        {"PUT": connect_proxy_routes.report},
        proxy_report.MAX_REPORT_BYTES,
    ),
    Route("/v1/agent/connect/connections", {"GET": connect_proxy_routes.connections}),
    Route("/v1/agent/connect/envoys", {"GET": connect_proxy_routes.envoys}),
)
_CATALOG: Final = (
    Route("/v1/catalog/register", {"PUT": catalog_routes.register}),
    Route("/v1/catalog/deregister", {"PUT": catalog_routes.deregister}),
    Route("/v1/catalog/datacenters", {"GET": catalog_routes.datacenters}),
    Route("/v1/catalog/nodes", {"GET": catalog_routes.nodes}),
    Route("/v1/catalog/services", {"GET": catalog_routes.services}),
    Route("/v1/catalog/service/:service", {"GET": catalog_routes.service}),
    Route("/v1/catalog/connect/:service", {"GET": catalog_routes.connect}),
    Route("/v1/catalog/gateway-services/:gateway", {"GET": catalog_routes.gateway_services}),
    Route("/v1/catalog/node/:node", {"GET": catalog_routes.node}),
    Route("/v1/catalog/node-services/:node", {"GET": catalog_routes.node_services}),
    Route("/v1/health/node/:node", {"GET": health_routes.node}),
    Route("/v1/health/checks/:service", {"GET": health_routes.checks}),
    Route("/v1/health/service/:service", {"GET": health_routes.service}),
    Route("/v1/health/connect/:service", {"GET": health_routes.connect}),
    Route("/v1/health/state/:state", {"GET": health_routes.state}),
    Route("/v1/coordinate/datacenters", {"GET": coordinate_routes.datacenters}),
    Route("/v1/coordinate/nodes", {"GET": coordinate_routes.nodes}),
    Route("/v1/coordinate/node/:node", {"GET": coordinate_routes.node}),
    Route("/v1/coordinate/update", {"PUT": coordinate_routes.update}),
    Route("/v1/internal/ui/nodes", {"GET": internal_routes.nodes}),
    Route("/v1/internal/ui/node/:node", {"GET": internal_routes.node}),
    Route("/v1/internal/ui/services", {"GET": internal_routes.services}),
)
_CONNECT: Final = (
    Route("/v1/connect/ca/roots", {"GET": connect_ca_routes.roots}),
    Route(
        "/v1/connect/ca/configuration",
        {"GET": connect_ca_routes.configuration_get, "PUT": connect_ca_routes.configuration_set},
    ),
    Route(
        "/v1/connect/ca/rotation",
        {"GET": connect_ca_routes.rotation_get, "PUT": connect_ca_routes.rotation_set},
    ),
    Route("/v1/connect/ca/revoke", {"PUT": connect_ca_routes.revoke}),
    Route("/v1/config", {"PUT": config_routes.apply}),
    Route("/v1/config/:kind", {"GET": config_routes.get, "DELETE": config_routes.delete}),
    Route(
        "/v1/discovery-chain/:service",
        {"GET": config_routes.chain, "POST": config_routes.chain_with_overrides},
    ),
    Route("/v1/connect/intentions", {"GET": intention_routes.list_all, "POST": intention_routes.create}),
    Route("/v1/connect/intentions/match", {"GET": intention_routes.match}),
    Route("/v1/connect/intentions/check", {"GET": intention_routes.check}),
    Route("/v1/connect/intentions/explain", {"GET": intention_routes.explain}),
    Route(
        "/v1/connect/intentions/exact",
        {
            "GET": intention_routes.exact_get,
            "PUT": intention_routes.exact_put,
            "DELETE": intention_routes.exact_delete,
        },
    ),
    Route(
        "/v1/connect/intentions/:uuid",
        {"GET": intention_routes.get, "PUT": intention_routes.update, "DELETE": intention_routes.delete},
    ),
)
_ACL: Final = (
    Route("/v1/acl/bootstrap", {"PUT": acl_routes.bootstrap}),
    Route("/v1/acl/create", {"PUT": acl_legacy_routes.create}),
    Route("/v1/acl/update", {"PUT": acl_legacy_routes.update}),
    Route("/v1/acl/destroy/:id", {"PUT": acl_legacy_routes.destroy}),
    Route("/v1/acl/info/:id", {"GET": acl_legacy_routes.info}),
    Route("/v1/acl/clone/:id", {"PUT": acl_legacy_routes.clone}),
    Route("/v1/acl/list", {"GET": acl_legacy_routes.list_tokens}),
    Route("/v1/acl/replication", {"GET": acl_legacy_routes.replication}),
    Route("/v1/acl/rules/translate", {"POST": acl_routes.rules_translate}),
    Route("/v1/acl/rules/translate/:accessor", {"GET": acl_routes.token_rules_translate}),
    Route("/v1/acl/tokens", {"GET": acl_routes.tokens}),
    Route("/v1/acl/token", {"PUT": acl_routes.token_create}),
    Route("/v1/acl/token/self", {"GET": acl_routes.token_self}),
    Route(
        "/v1/acl/token/:accessor",
        {
            "GET": acl_routes.token_read,
            "PUT": acl_routes.token_update,
            "DELETE": acl_routes.token_delete,
        },
    ),
    Route("/v1/acl/token/:accessor/clone", {"PUT": acl_routes.token_clone}),
    Route("/v1/acl/policies", {"GET": acl_routes.policies}),
    Route("/v1/acl/policy", {"PUT": acl_routes.policy_create}),
    Route("/v1/acl/policy/name/:name", {"GET": acl_routes.policy_by_name}),
    Route(
        "/v1/acl/policy/:id",
        {
            "GET": acl_routes.policy_read,
            "PUT": acl_routes.policy_update,
            "DELETE": acl_routes.policy_delete,
        },
    ),
    Route("/v1/acl/roles", {"GET": acl_routes.roles}),
    Route("/v1/acl/role", {"PUT": acl_routes.role_create}),
    Route("/v1/acl/role/name/:name", {"GET": acl_routes.role_by_name}),
    Route(
        "/v1/acl/role/:id",
        {
            "GET": acl_routes.role_read,
            "PUT": acl_routes.role_update,
            "DELETE": acl_routes.role_delete,
        },
    ),
)
_CLUSTER: Final = (
    Route("/v1/status/leader", {"GET": status_routes.leader}),
    Route("/v1/status/peers", {"GET": status_routes.peers}),
    Route("/v1/event/fire/:name", {"PUT": event_routes.fire}),
    Route("/v1/event/list", {"GET": event_routes.event_list}),
    Route(
        "/v1/operator/keyring",
        {
            "GET": guarded(operator_routes.keyring_list, Resource.KEYRING, Access.READ),
            "POST": guarded(operator_routes.keyring_write, Resource.KEYRING, Access.WRITE),
            "PUT": guarded(operator_routes.keyring_write, Resource.KEYRING, Access.WRITE),
            "DELETE": guarded(operator_routes.keyring_write, Resource.KEYRING, Access.WRITE),
        },
    ),
    Route("/v1/operator/raft/configuration", {"GET": raft_routes.raft_configuration}),
    Route("/v1/operator/raft/peer", {"DELETE": raft_routes.raft_remove_peer}),
    Route("/v1/operator/raft/transfer-leader", {"POST": raft_routes.raft_transfer_leader}),
    Route(
        "/v1/operator/autopilot/configuration",
        {"GET": raft_routes.autopilot_get, "PUT": raft_routes.autopilot_set},
    ),
    Route("/v1/operator/autopilot/health", {"GET": raft_routes.autopilot_health}),
)
_STATE: Final = (
    Route("/v1/kv/*key", {"GET": kv_routes.get, "PUT": kv_routes.put, "DELETE": kv_routes.delete}),
    Route("/v1/txn", {"PUT": txn_routes.txn}, MAX_TXN_BODY_BYTES),
    Route("/v1/snapshot", {"GET": snapshot_routes.save, "PUT": snapshot_routes.restore}, MAX_SNAPSHOT_BYTES),
    Route("/v1/session/create", {"PUT": session_routes.create}),
    Route("/v1/session/destroy/:uuid", {"PUT": session_routes.destroy}),
    Route("/v1/session/renew/:uuid", {"PUT": session_routes.renew}),
    Route("/v1/session/info/:uuid", {"GET": session_routes.info}),
    Route("/v1/session/node/:node", {"GET": session_routes.node}),
    Route("/v1/session/list", {"GET": session_routes.session_list}),
    Route("/v1/query", {"GET": query_routes.list_all, "POST": query_routes.create}),
    Route(
        "/v1/query/:uuid",
        {"GET": query_routes.get, "PUT": query_routes.update, "DELETE": query_routes.delete},
    ),
    Route("/v1/query/:uuid/execute", {"GET": query_routes.execute}),
    Route("/v1/query/:uuid/explain", {"GET": query_routes.explain}),
)
ROUTES: Final = (*_AGENT, *_CATALOG, *_CONNECT, *_ACL, *_CLUSTER, *_STATE)
