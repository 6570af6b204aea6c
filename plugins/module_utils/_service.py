# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a service of an agent, with its checks, what a task says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._durations import parse_duration
from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import MeshApi, MeshApiError, path_of

__all__ = ["CHECKS_META", "Found", "definition", "deregister", "difference", "look", "register"]

#: An agent doesn't show how it runs its checks. So the digest of the definitions is kept with the service.
CHECKS_META = "ansible-checks"
#: Checks that an agent makes for itself.
MAINTENANCE = "_service_maintenance:"
MAX_META_PAIRS = 64
MAX_META_KEY, MAX_META_VALUE = 128, 512

#: Option of a check -> field of the API.
_CHECK_FIELDS = {
    "id": "CheckID",
    "name": "Name",
    "notes": "Notes",
    "http": "HTTP",
    "method": "Method",
    "header": "Header",
    "tcp": "TCP",
    "grpc": "GRPC",
    "grpc_use_tls": "GRPCUseTLS",
    "ttl": "TTL",
    "args": "Args",
    "docker_container_id": "DockerContainerID",
    "shell": "Shell",
    "alias_node": "AliasNode",
    "alias_service": "AliasService",
    "interval": "Interval",
    "timeout": "Timeout",
    "tls_skip_verify": "TLSSkipVerify",
    "status": "Status",
    "deregister_critical_service_after": "DeregisterCriticalServiceAfter",
}
#: Each check is of one of these kinds; the second part needs an interval.
_KINDS = ("http", "tcp", "grpc", "args", "ttl", "alias_node", "alias_service")
_WITH_INTERVAL = ("http", "tcp", "grpc", "args")
_DURATIONS = ("interval", "timeout", "ttl", "deregister_critical_service_after")


@dataclass(frozen=True)
class Found:
    """A service that an agent has: the fields that a registration has, too, and the ids of its checks."""

    service: Mapping[str, Any]
    check_ids: tuple[str, ...]


def definition(options: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the registration; raises :class:`MeshApiError` naming the option that can't be."""
    name = options["name"] or ""
    if not name.strip():
        raise MeshApiError("name: is empty: write the service's name, such as web")
    port = options["port"]
    if not 0 <= port <= 65535:
        raise MeshApiError(f"port: {port} is not a port: write a number from 1 to 65535, or 0 for none")
    service_id = options["id"] or name
    checks = _checks(options["checks"], service_id)
    weights = options["weights"] or {}
    body = {
        "ID": service_id,
        "Name": name,
        "Tags": list(options["tags"]),
        "Address": options["service_address"],
        "Port": port,
        "Meta": _meta(options["meta"]),
        "Weights": {"Passing": weights.get("passing", 1), "Warning": weights.get("warning", 1)},
        "EnableTagOverride": options["enable_tag_override"],
        "Checks": checks,
    }
    if checks:
        body["Meta"][CHECKS_META] = _digest(checks)
    return body


def _meta(meta: Mapping[str, Any]) -> dict[str, str]:
    if len(meta) >= MAX_META_PAIRS:
        raise MeshApiError(f"meta: has {len(meta)} pairs: at most {MAX_META_PAIRS - 1} are possible")
    made = {}
    for key, value in meta.items():
        if isinstance(value, bool):
            value = json.dumps(value)
        if not isinstance(value, str | int | float):
            raise MeshApiError(f"meta.{key}: is not text: write text or a number")
        if key == CHECKS_META:
            raise MeshApiError(f"meta.{key}: is written by this module: take another name")
        if len(str(key)) > MAX_META_KEY or len(str(value)) > MAX_META_VALUE:
            raise MeshApiError(
                f"meta.{str(key)[:40]}: is too long: a key has at most {MAX_META_KEY} "
                f"characters, a value {MAX_META_VALUE}"
            )
        made[str(key)] = str(value)
    return made


def _checks(checks: list[dict[str, Any]], service_id: str) -> list[dict[str, Any]]:
    made = []
    for at, check in enumerate(checks):
        given = {name: value for name, value in check.items() if value is not None}
        where = f"checks[{at}]"
        kinds = [kind for kind in _KINDS if given.get(kind)]
        if not kinds or (len(kinds) > 1 and set(kinds) != {"alias_node", "alias_service"}):
            what = " and ".join(kinds) + " exclude each other" if kinds else "says not how to check"
            raise MeshApiError(f"{where}: {what}: write one of {', '.join(_KINDS)}")
        if kinds[0] in _WITH_INTERVAL and not given.get("interval"):
            raise MeshApiError(f"{where}.interval: is missing: write how often to check, such as 10s")
        for name in _DURATIONS:
            if name in given:
                parse_duration(given[name], f"{where}.{name}")
        suffix = f":{at + 1}" if len(checks) > 1 else ""
        given.setdefault("id", f"service:{service_id}{suffix}")
        given.setdefault("name", f"Service '{service_id}' check")
        made.append({_CHECK_FIELDS[name]: value for name, value in given.items()})
    ids = [check["CheckID"] for check in made]
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        raise MeshApiError(f"checks: the id {twice[0]} comes twice: give each check an id of its own")
    return made


def _digest(checks: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(checks, sort_keys=True).encode()).hexdigest()[:16]


def look(api: MeshApi, service_id: str) -> Found | None:
    """The service as the agent has it, or ``None``."""
    answer = api.request("GET", path_of("agent", "service", service_id), accept=(200, 404))
    if answer.status == 200:
        service = answer.json()
    elif "unknown service ID" in answer.text:
        service = None
    else:  # Consul before 1.3 has no path for one service
        service = (api.get("/v1/agent/services") or {}).get(service_id)
    if service is None:
        return None
    checks = api.get("/v1/agent/checks") or {}
    ids = (one for one, check in checks.items() if str(check.get("ServiceID")) == service_id)
    return Found(
        {
            "ID": service.get("ID"),
            "Name": service.get("Service"),
            "Tags": list(service.get("Tags") or []),
            "Address": service.get("Address") or "",
            "Port": service.get("Port") or 0,
            "Meta": dict(service.get("Meta") or {}),
            "Weights": {name: (service.get("Weights") or {}).get(name, 1) for name in ("Passing", "Warning")},
            "EnableTagOverride": bool(service.get("EnableTagOverride")),
        },
        tuple(sorted(one for one in ids if not one.startswith(MAINTENANCE))),
    )


def difference(
    found: Found | None, wanted: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is and what is to be, where they differ; definitions of checks are shown by their digest."""
    before = _comparable(found.service, found.check_ids) if found else {}
    after: dict[str, Any] = {}
    if wanted is not None:
        ids = tuple(sorted(check["CheckID"] for check in wanted["Checks"]))
        after = _comparable({name: value for name, value in wanted.items() if name != "Checks"}, ids)
        if found and wanted["EnableTagOverride"] and found.service["EnableTagOverride"]:
            after["Tags"] = before["Tags"]  # whoever may override them has the last word
    if not before or not after:
        return before, after
    names = [name for name in after if before[name] != after[name]]
    return {name: before[name] for name in names}, {name: after[name] for name in names}


def _comparable(service: Mapping[str, Any], check_ids: tuple[str, ...]) -> dict[str, Any]:
    return {**service, "Tags": sorted(service["Tags"]), "Checks": list(check_ids)}


def register(api: MeshApi, wanted: Mapping[str, Any], found: Found | None) -> None:
    """Register the service, and take away checks that it had and is not to have."""
    api.put("/v1/agent/service/register", wanted)
    ids = {check["CheckID"] for check in wanted["Checks"]}
    for check_id in found.check_ids if found else ():
        if check_id not in ids:
            api.put(path_of("agent", "check", "deregister", check_id))


def deregister(api: MeshApi, service_id: str) -> None:
    """Take the service and its checks away."""
    api.put(path_of("agent", "service", "deregister", service_id))
