"""How a managed proxy is started: by which program, and with what in its environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from meshnode.agent.config.model import AgentConfig
from meshnode.base.address import Address

__all__ = ["api_environment", "inherited", "own_command"]

_PROGRAMS: Final = frozenset({"meshnode", "consul"})
#: The agent's own: they may hold secrets, or lead the proxy to another agent.
_OWN_PREFIXES: Final = ("CONSUL_", "CONNECT_PROXY_", "MESHNODE_", "NOTIFY_SOCKET")
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def own_command(program: str = "") -> tuple[str, ...]:
    """``connect proxy`` of the program that runs now, under the name that it was started by."""
    path = Path(program or sys.argv[0])
    if path.name in _PROGRAMS and path.is_file() and os.access(path, os.X_OK):
        return (str(path.absolute()), "connect", "proxy")
    return (sys.executable, "-m", "meshnode", "connect", "proxy")


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """What a proxy takes over of the agent's environment."""
    return {name: value for name, value in environment.items() if not name.startswith(_OWN_PREFIXES)}


def api_environment(config: AgentConfig) -> dict[str, str]:
    """The variables that lead a program on this machine to the agent's API; without HTTP, to HTTPS."""
    for where in config.http_listeners:
        return {"CONSUL_HTTP_ADDR": _reachable(where) if isinstance(where, Address) else f"unix://{where}"}
    for where in config.https_listeners:
        if isinstance(where, Address):
            tls = config.tls
            found = {
                "CONSUL_HTTP_ADDR": _reachable(where),
                "CONSUL_HTTP_SSL": "true",
                "CONSUL_CACERT": tls.ca_file,
                "CONSUL_CAPATH": tls.ca_path,
                "CONSUL_CLIENT_CERT": tls.cert_file if tls.verify_incoming_https else "",
                "CONSUL_CLIENT_KEY": tls.key_file if tls.verify_incoming_https else "",
                "CONSUL_TLS_SERVER_NAME": tls.server_name,
            }
            return {name: value for name, value in found.items() if value}
    return {}


def _reachable(where: Address) -> str:
    return str(Address(_LOOPBACK.get(where.host, where.host), where.port))
