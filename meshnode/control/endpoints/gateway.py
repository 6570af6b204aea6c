"""``Catalog.GatewayServices``: the services behind a gateway. Source: Consul 1.10, ``/v1/catalog/gateway-services``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, Resource, require
from meshnode.config_entries.store import CONFIG_ENTRIES
from meshnode.control import watch
from meshnode.control.body import Body, text
from meshnode.control.endpoints.sight import Sight
from meshnode.control.gateways import gateway_services
from meshnode.control.machine import StateMachine
from meshnode.control.method import Method, ReadMethod
from meshnode.control.watch import WatchKey
from meshnode.rpc.method import RpcError

__all__ = ["METHODS"]


def _services(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    """With ``service:read`` of the gateway; of the services, those that may be read."""
    gateway = text(body, "ServiceName")
    if not gateway:
        raise RpcError("Must provide gateway name")
    require(authorizer, Resource.SERVICE, gateway, Access.READ)
    sight = Sight(authorizer)
    rows = [row for row in gateway_services(state, gateway) if sight.service(row["Service"]["Name"])]
    return max(state.config.index, state.catalog.tables.services_index, 1), {"Services": rows}


def _watch(body: Body) -> tuple[WatchKey, ...]:
    del body
    return CONFIG_ENTRIES, watch.SERVICES


METHODS: Final[Mapping[str, Method]] = {"Catalog.GatewayServices": ReadMethod(_watch, _services)}
