"""Parts that not every agent has: each is loaded when the configuration, or a request, first wants it.

What an agent doesn't use costs it neither memory nor time to start. This is the list of them for the whole package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.base.later import Later

if TYPE_CHECKING:
    from meshnode.agent import (
        certificate_rows,
        connect_ca,
        connect_vault,
        etcd_engine,
        leaf_cache,
        remote_exec,
        secondary_role,
        server_role,
        state_snapshots,
        vault_client,
        watch_handler,
        watches,
        xds_feed,
        xds_role,
    )
    from meshnode.agent.config import sockaddr
    from meshnode.config_entries import parse as config_entries
    from meshnode.http import config_routes, page
    from meshnode.ui import files as ui
else:
    certificate_rows = Later("meshnode.agent.certificate_rows")
    config_entries = Later("meshnode.config_entries.parse")
    config_routes = Later("meshnode.http.config_routes")
    connect_ca = Later("meshnode.agent.connect_ca")
    connect_vault = Later("meshnode.agent.connect_vault")
    etcd_engine = Later("meshnode.agent.etcd_engine")
    leaf_cache = Later("meshnode.agent.leaf_cache")
    page = Later("meshnode.http.page")
    remote_exec = Later("meshnode.agent.remote_exec")
    secondary_role = Later("meshnode.agent.secondary_role")
    server_role = Later("meshnode.agent.server_role")
    sockaddr = Later("meshnode.agent.config.sockaddr")
    state_snapshots = Later("meshnode.agent.state_snapshots")
    ui = Later("meshnode.ui.files")
    vault_client = Later("meshnode.agent.vault_client")
    watch_handler = Later("meshnode.agent.watch_handler")
    watches = Later("meshnode.agent.watches")
    xds_feed = Later("meshnode.agent.xds_feed")
    xds_role = Later("meshnode.agent.xds_role")

__all__ = [
    "certificate_rows",
    "config_entries",
    "config_routes",
    "connect_ca",
    "connect_vault",
    "etcd_engine",
    "leaf_cache",
    "page",
    "remote_exec",
    "secondary_role",
    "server_role",
    "sockaddr",
    "state_snapshots",
    "ui",
    "vault_client",
    "watch_handler",
    "watches",
    "xds_feed",
    "xds_role",
]
