"""What a watch watches: the question it asks, and what its handler gets of the answer.

Types, parameters and payloads are those of Consul 1.2.3 (https://www.consul.io/docs/agent/watches.html), and
``agent_service`` of 1.3.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.base.suggest import did_you_mean

__all__ = ["TYPES", "WatchPlan", "parse_plan"]

_Project = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """``path`` is percent-encoded; ``query`` comes without the parameters that make the question a blocking one.

    ``by_hash``: the answer has a content hash in place of an index. ``missing_is_null``: 404 is an answer, ``null``.
    ``by_event``: the index names the last event, so it is not an order, and only later events are of interest.
    """

    type: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    by_hash: bool = False
    by_event: bool = False
    missing_is_null: bool = False
    #: What is handed on of the decoded answer; raises ``KeyError``, ``TypeError`` on another shape.
    project: _Project = lambda answer: answer

    def payload(self, body: bytes, *, missing: bool = False) -> Any:
        """The answer as the handler gets it; raises :class:`RemoteProtocolError` when it is no such answer."""
        if missing:
            return None
        try:
            return self.project(json.loads(body))
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            raise RemoteProtocolError(f"the answer of {self.path} is not what an agent answers") from None


@dataclass(frozen=True, slots=True)
class _Type:
    path: str
    #: The parameter that completes the path, empty: none.
    subject: str = ""
    #: Other parameters that it takes.
    optional: tuple[str, ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    by_hash: bool = False
    by_event: bool = False
    missing_is_null: bool = False
    project: _Project = lambda answer: answer


def _pair(entry: Any) -> dict[str, Any]:
    names = ("Key", "CreateIndex", "ModifyIndex", "LockIndex", "Flags", "Value")
    return {name: entry[name] for name in names} | {"Session": entry.get("Session", "")}


_TYPES: Final[dict[str, _Type]] = {
    "key": _Type("/v1/kv/", "key", missing_is_null=True, project=lambda answer: _pair(answer[0])),
    "keyprefix": _Type("/v1/kv/", "prefix", query=(("recurse", ""),), missing_is_null=True,
                       project=lambda answer: [_pair(entry) for entry in answer]),
    "services": _Type("/v1/catalog/services"),
    "nodes": _Type("/v1/catalog/nodes"),
    "service": _Type("/v1/health/service/", "service", ("tag", "passingonly")),
    "checks": _Type("/v1/health/state/", "", ("service", "state")),
    "event": _Type("/v1/event/list", "", ("name",), by_event=True),
    "connect_roots": _Type("/v1/agent/connect/ca/roots"),
    "connect_leaf": _Type("/v1/agent/connect/ca/leaf/", "service"),
    "connect_proxy_config": _Type("/v1/agent/connect/proxy/", "proxy_service_id", by_hash=True),
    "agent_service": _Type("/v1/agent/service/", "service_id", by_hash=True),
}  # fmt: skip

TYPES: Final = tuple(_TYPES)
_SHARED: Final = frozenset({"type", "datacenter", "token", "stale"})
_WITHOUT_STALE: Final = ("event", "connect_roots", "connect_leaf", "connect_proxy_config", "agent_service")


def parse_plan(parameters: Mapping[str, Any]) -> WatchPlan:
    """Read what is watched. ``parameters`` has no handler in it; an empty or false value is "not given".

    ``token`` is left to who sends the question. Raises :class:`ConfigError` that names the parameter.
    """
    given = {name: value for name, value in parameters.items() if value not in ("", None, False)}
    name = given.get("type", "")
    if not name:
        raise ConfigError(f"type: a watch needs one: {', '.join(TYPES)}", key="type")
    kind = _TYPES.get(name) if isinstance(name, str) else None
    if kind is None:
        hint = did_you_mean(str(name), TYPES) or f": write one of {', '.join(TYPES)}"
        raise ConfigError(f"type: there is no watch of type {name!r}{hint}", key="type")
    _check_names(name, kind, given)
    path, query = kind.path, [*kind.query, *_shared_query(name, given)]
    if kind.subject:
        path += quote(_text(given, kind.subject), safe="/" if kind.path == "/v1/kv/" else "")
    if name == "service":
        query += [("tag", _text(given, "tag"))] if "tag" in given else []
        query += [("passing", "1")] if given.get("passingonly") else []
    elif name == "event" and "name" in given:
        query.append(("name", _text(given, "name")))
    elif name == "checks":
        path = _checks_path(given)
    return WatchPlan(
        name, path, tuple(query), kind.by_hash, kind.by_event, kind.missing_is_null, kind.project
    )


def _check_names(name: str, kind: _Type, given: Mapping[str, Any]) -> None:
    known = _SHARED | {kind.subject, *kind.optional} - {""}
    if kind.subject and kind.subject not in given:
        raise ConfigError(
            f"{kind.subject}: a watch of type {name!r} needs it: must specify a single {kind.subject} to watch",
            key=kind.subject,
        )
    for other in given:
        if other not in known:
            raise ConfigError(
                f"{other}: a watch of type {name!r} does not take it: it takes {', '.join(sorted(known))}",
                key=other,
            )


def _shared_query(name: str, given: Mapping[str, Any]) -> list[tuple[str, str]]:
    query = [("dc", _text(given, "datacenter"))] if "datacenter" in given else []
    if given.get("stale") and name not in _WITHOUT_STALE:
        query.append(("stale", ""))
    return query


def _checks_path(given: Mapping[str, Any]) -> str:
    if "service" in given and "state" in given:
        raise ConfigError("state: Cannot specify service and state: leave one of them out", key="state")
    if "service" in given:
        return "/v1/health/checks/" + quote(_text(given, "service"), safe="")
    return "/v1/health/state/" + quote(_text(given, "state") if "state" in given else "any", safe="")


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given[name]
    if not isinstance(value, str):
        raise ConfigError(f"{name}: {value!r} is not a text", key=name)
    return value
