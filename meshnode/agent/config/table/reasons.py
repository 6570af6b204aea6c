"""Why a key is refused: sentences that many rows share."""

from __future__ import annotations

from typing import Final

from meshnode.agent.config.key import Refused

__all__ = [
    "AUTO_CONFIG",
    "CENTRAL",
    "CONSTANT",
    "DNS_CACHE",
    "ENTERPRISE",
    "EXPOSE",
    "LATER",
    "LOG",
    "MESH_GATEWAYS",
    "PROMETHEUS",
    "UI",
    "XDS",
]

_LATER = "not in this release: "

CENTRAL: Final = Refused(
    _LATER + "config entries are read by proxies, services are registered as they are written"
)
EXPOSE: Final = Refused(_LATER + "proxies open no ports for checks, which reach the service itself")
MESH_GATEWAYS: Final = Refused(
    _LATER + "there are no mesh gateways: servers reach those of other data centres, and sidecars each other"
)
XDS: Final = Refused(_LATER + "Envoy is told of each change at once")
DNS_CACHE: Final = Refused(_LATER + "DNS answers come from the servers, which is as fast")
UI: Final = Refused(_LATER + "the agent serves its own web page, under /ui/: set ui")
AUTO_CONFIG: Final = Refused(
    _LATER + "certificates are put on the nodes by the playbook or by `tls cert create`"
)
LATER: Final = Refused("a key of later Consul releases that this release does not take")
PROMETHEUS: Final = Refused("metrics are served in Prometheus form at /v1/agent/metrics, and pushed nowhere")
LOG: Final = Refused("the replicated log is an engine's (SQLite or etcd): there is no raft to tune")
ENTERPRISE: Final = Refused("a key of Consul Enterprise")
CONSTANT: Final = Refused("a constant of Consul that configuration can't change")
