#!/usr/bin/env python3
"""The inventory of a large lab: three servers, and clients that make up the rest of NODES, 25 unless told.

``NODES=40 ansible-inventory -i inventories/scale --graph`` shows it. Each client runs an application that its sidecar
offers, and talks to that of the next one: a ring. Standard library only; what all have is in group_vars.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

NAME, NETWORK = "scale", "172.28.230"
SERVERS = 3
#: Addresses end at 250; of clients there are two at least, so that one has another one to talk to.
MIN_NODES, MAX_NODES, DEFAULT_NODES = SERVERS + 2, SERVERS + 230, 25
#: Clients that ask all the while when the mesh is changed; more of them would be a load of their own.
PROBING = 2
PORT, UPSTREAM_PORT = 8181, 9191


def count(text: str) -> int:
    """How many nodes; raises ValueError that says what to write."""
    if not text:
        return DEFAULT_NODES
    if not text.isascii() or not text.isdecimal() or not MIN_NODES <= int(text[:9]) <= MAX_NODES:
        raise ValueError(
            f"NODES: {text[:40]!r} is not possible: write a number from {MIN_NODES} to {MAX_NODES}"
        )
    return int(text)


def host(name: str, number: int) -> dict[str, Any]:
    """What every node has."""
    return {"ansible_host": f"{NAME}-{name}", "mesh_address": f"{NETWORK}.{number}"}


def client(number: int, following: int) -> dict[str, Any]:
    """A client with an application that says what it hears, and the sidecar that leads to the following one's."""
    upstream = {"destination_name": f"echo{following}", "local_bind_port": UPSTREAM_PORT}
    service = {
        "name": f"echo{number}",
        "port": PORT,
        "command": f'socat tcp-l:{PORT},fork,bind=127.0.0.1 exec:"/bin/cat"',
        "connect": {"sidecar_service": {"proxy": {"upstreams": [upstream]}}},
    }
    probing = number <= PROBING
    return {
        **host(f"client{number}", 20 + number),
        "mesh_services": [service],
        "mesh_probe_kv": probing,
        "mesh_probe_targets": [{"kind": "tcp", "address": f"127.0.0.1:{UPSTREAM_PORT}"}] if probing else [],
    }


def inventory(nodes: int) -> dict[str, Any]:
    """As ``ansible-inventory --list`` prints one."""
    servers = {f"server{number}": host(f"server{number}", 10 + number) for number in range(1, SERVERS + 1)}
    servers["server1"]["lab_node"] = {"ports": ["127.0.0.1:18800:10443"]}
    last = nodes - SERVERS
    ring = {number: number % last + 1 for number in range(1, last + 1)}
    clients = {f"client{number}": client(number, following) for number, following in ring.items()}
    allowed = [
        {"source": f"echo{number}", "destination": f"echo{following}", "action": "allow"}
        for number, following in ring.items()
    ]
    denied = {"source": "*", "destination": "*", "action": "deny"}
    here = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    return {
        "_meta": {"hostvars": {"localhost": here, **servers, **clients}},
        "all": {"children": ["mesh"], "hosts": ["localhost"]},
        "mesh": {
            "children": ["mesh_servers", "mesh_clients"],
            "vars": {"mesh_intentions": [*allowed, denied]},
        },
        "mesh_servers": {"hosts": list(servers)},
        "mesh_clients": {"hosts": list(clients)},
    }


def main() -> int:
    """Print it."""
    try:
        print(json.dumps(inventory(count(os.environ.get("NODES", "")))))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
