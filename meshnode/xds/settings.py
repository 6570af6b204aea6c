"""What a proxy's ``Config`` says about Envoy: access logs, ports for its figures, and what is refused by name.

Source: Consul 1.10, "Envoy Integration", proxy configuration options; ``access_logs`` has the names of Consul 1.15.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshnode.base.errors import ConfigError
from meshnode.base.json_fields import json_type
from meshnode.base.suggest import did_you_mean
from meshnode.proxy.config import Endpoint

__all__ = ["AccessLog", "EnvoySettings", "own_config", "parse_envoy_settings"]

_PROMETHEUS: Final = "envoy_prometheus_bind_addr"
_STATS: Final = "envoy_stats_bind_addr"
_LOGS: Final = "access_logs"
_LOG_FIELDS: Final = ("enabled", "type", "path", "text_format", "json_format")
_STREAMS: Final = ("stdout", "stderr")
MAX_FORMAT_CHARS: Final = 4096
_OWN, _SHARED = "Proxy.Config", "proxy-defaults/global: Config"
_INSTEAD: Final = {
    "access_log": "write access_logs",
    "bind": "a gateway listens on the Address of its registration",
    "statsd": "let Prometheus ask Envoy (envoy_prometheus_bind_addr)",
    "json": "raw configuration would go round the checks of what the mesh allows",
}


@dataclass(frozen=True, slots=True)
class AccessLog:
    """Where each request, or connection, leaves a line: ``stdout``, ``stderr``, or the file ``path``.

    ``text_format`` and ``json_format`` hold Envoy's command operators; neither: Envoy's own line.
    """

    type: str = "stdout"
    path: str = ""
    text_format: str = ""
    json_format: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class EnvoySettings:
    """``prometheus``: where ``/metrics`` is served; ``stats``: where ``/stats`` is; both are fixed as Envoy starts."""

    logs: tuple[AccessLog, ...] = ()
    prometheus: Endpoint | None = None
    stats: Endpoint | None = None


def own_config(registration: Mapping[str, Any]) -> Mapping[str, Any]:
    """``Proxy.Config`` of a registration, as the API shows it."""
    proxy = registration.get("Proxy")
    found = proxy.get("Config") if isinstance(proxy, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def parse_envoy_settings(own: Mapping[str, Any], shared: Mapping[str, Any] = {}) -> EnvoySettings:
    """From a proxy's own ``Config`` and that of ``proxy-defaults``, which counts where the own says nothing.

    Raises :class:`ConfigError` naming the key, also for ``envoy_`` keys of Consul that aren't served here: to leave
    them out in silence would be to run something else.
    """
    config = {**shared, **own}
    for key in config:
        place = f"{_OWN if key in own else _SHARED}.{key:.80}"
        if key.startswith("envoy_") and key not in {_PROMETHEUS, _STATS}:
            reason = next((text for part, text in _INSTEAD.items() if part in key), "it has no meaning here")
            raise ConfigError(f"{place} is not supported: {reason}; take it out", key=key[:80])
    try:
        return EnvoySettings(_access_logs(config), _endpoint(config, _PROMETHEUS), _endpoint(config, _STATS))
    except ConfigError as error:
        key = str(error).partition(".")[0].partition(":")[0]
        raise ConfigError(f"{_OWN if key in own else _SHARED}.{error}") from None


def _endpoint(config: Mapping[str, Any], key: str) -> Endpoint | None:
    text = config.get(key)
    if text is None or text == "":
        return None
    host, colon, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    if not (colon and port.isascii() and port.isdigit() and len(port) <= 5):
        raise ConfigError(f"{key}: {text!r:.80} is not an address: write host:port, as in 0.0.0.0:9102")
    try:
        return Endpoint(host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port))
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None


def _access_logs(config: Mapping[str, Any]) -> tuple[AccessLog, ...]:
    found = config.get(_LOGS)
    if found is None:
        return ()
    if not isinstance(found, Mapping):
        raise ConfigError(f"{_LOGS}: expected an object, got {json_type(found)}", key=_LOGS)
    for name in found:
        if name not in _LOG_FIELDS:
            raise ConfigError(
                f"{_LOGS}.{name!s:.80}: there is no such key{did_you_mean(str(name), _LOG_FIELDS)}"
            )
    enabled = found.get("enabled", False)
    if not isinstance(enabled, bool):
        raise ConfigError(f"{_LOGS}.enabled: expected a boolean, got {json_type(enabled)}")
    log = AccessLog(
        _text(found, "type") or "stdout", _text(found, "path"), _text(found, "text_format"), _json(found)
    )
    if log.type not in {*_STREAMS, "file"}:
        raise ConfigError(f'{_LOGS}.type: "{log.type:.40}" is none: write stdout, stderr or file')
    if (log.type == "file") != bool(log.path):
        raise ConfigError(
            f"{_LOGS}.path: a log of the type file, and no other, has a path: change one of them"
        )
    if log.text_format and log.json_format:
        raise ConfigError(f"{_LOGS}: text_format and json_format are for the same line: write one of them")
    return (log,) if enabled else ()


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name, "")
    if not isinstance(value, str) or len(value) > MAX_FORMAT_CHARS:
        raise ConfigError(f"{_LOGS}.{name}: expected a text of at most {MAX_FORMAT_CHARS} characters")
    return value


def _json(found: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    value = found.get("json_format") or {}
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value.values()):
        raise ConfigError(
            f"{_LOGS}.json_format: expected an object of names and texts, as time = %START_TIME%"
        )
    if sum(map(len, value.values())) > MAX_FORMAT_CHARS:
        raise ConfigError(f"{_LOGS}.json_format: more than {MAX_FORMAT_CHARS} characters")
    return tuple(sorted((str(name), each) for name, each in value.items()))
