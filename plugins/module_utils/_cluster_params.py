# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what an inventory or a playbook says to the lab that _cluster.py plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._cluster import Lab, Network, Node, parse_port
from ansible_collections.meshnode.lab.plugins.module_utils._engine import LabError


def lab_from(params: Mapping[str, Any], mode: str, security_options: Sequence[str]) -> Lab:
    """The lab that the parameters of the module lab_cluster describe; raises LabError."""
    networks = tuple(
        Network(item.get("name") or "lan", item["subnet"], bool(item.get("internal", False)))
        for item in params.get("networks") or []
    )
    ssh = params.get("ssh") or {}
    return Lab(
        name=params["name"],
        networks=networks,
        nodes=tuple(
            _node(item, params, networks[0].name if networks else "lan") for item in params.get("nodes") or []
        ),
        runtime=(
            ("mode", mode),
            ("security_options", tuple(option for option in security_options if "name=apparmor" in option)),
        ),
        ssh=(("user", ssh["user"]), ("authorized_keys", tuple(ssh["authorized_keys"]))) if ssh else (),
    )


def _node(item: Mapping[str, Any], params: Mapping[str, Any], first: str) -> Node:
    try:
        ports = tuple(parse_port(text) for text in item.get("ports") or [])
    except ValueError as exc:
        raise LabError(f"{item['name']}: {exc}") from None
    return Node(
        name=item["name"],
        image=item.get("image") or params.get("image") or "",
        addresses=(
            (str(item.get("network") or first), str(item.get("address") or "")),
            *sorted((item.get("addresses") or {}).items()),
        ),
        hostname=item.get("hostname") or "",
        ports=ports,
        environment=_pairs(item.get("environment")),
        labels=_pairs(item.get("labels")),
        capabilities=tuple(sorted({*(params.get("capabilities") or []), *(item.get("capabilities") or [])})),
        volumes=tuple(item.get("volumes") or []),
    )


def _pairs(value: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((str(key), str(text)) for key, text in (value or {}).items()))
