"""What a watch in the configuration runs: a program, which reads JSON, or an HTTP request, which carries it."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from meshnode.base.errors import ConfigError
from meshnode.local.check_type import HttpCheck
from meshnode.runtime.checks.http import check_http
from meshnode.runtime.child import ChildError, run_program, shell_program
from meshnode.watch.machine import RunHandler
from meshnode.watch.plan import WatchPlan, parse_plan

__all__ = [
    "MAX_OUTPUT_BYTES",
    "HttpHandler",
    "ProgramHandler",
    "WatchDefinition",
    "parse_watch",
    "run_handler",
]

_log = logging.getLogger("meshnode.agent")
#: Of a handler's output, the last that is logged.
MAX_OUTPUT_BYTES: Final = 4 * 1024
#: Seconds that an HTTP handler has, unless it says otherwise.
HTTP_TIMEOUT: Final = 10.0
_HANDLER_KEYS: Final = ("handler", "args", "handler_type", "http_handler_config")
_HTTP_KEYS: Final = ("path", "method", "timeout", "header", "tls_skip_verify")


@dataclass(frozen=True, slots=True)
class ProgramHandler:
    """``arguments`` start the program, without a shell."""

    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HttpHandler:
    """A request to ``url``; ``timeout`` is seconds. Headers may hold secrets and are not shown."""

    url: str
    method: str = "POST"
    timeout: float = HTTP_TIMEOUT
    header: tuple[tuple[str, tuple[str, ...]], ...] = field(default=(), repr=False)
    tls_skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class WatchDefinition:
    """One watch of the configuration. Two that are equal are the same watch."""

    plan: WatchPlan
    handler: ProgramHandler | HttpHandler
    token: str = field(default="", repr=False)


def parse_watch(definition: Mapping[str, Any], where: str) -> WatchDefinition:
    """Read one element of ``watches``, called ``where`` in errors (``watches[0]``).

    Durations are seconds. Raises :class:`ConfigError` that names the key.
    """
    question = {key: value for key, value in definition.items() if key not in _HANDLER_KEYS}
    try:
        plan = parse_plan(question)
        handler = _handler(definition)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}", key=f"{where}.{error.key}") from None
    return WatchDefinition(plan, handler, str(definition.get("token") or ""))


def _handler(definition: Mapping[str, Any]) -> ProgramHandler | HttpHandler:
    kind = definition.get("handler_type") or "script"
    line, arguments = definition.get("handler") or "", tuple(definition.get("args") or ())
    http = definition.get("http_handler_config") or {}
    if kind == "http":
        if line or arguments:
            raise ConfigError(
                "args: a watch with handler_type http runs no program: leave it out", key="args"
            )
        return _http_handler(http)
    if kind != "script":
        raise ConfigError(
            f"handler_type: {kind!r} is not recognized: write script or http", key="handler_type"
        )
    if line and arguments:
        raise ConfigError("handler: args is given too: leave the older one, handler, out", key="handler")
    if not (line or arguments):
        raise ConfigError('args: the watch has nothing to run: write args = ["/path/to/program"]', key="args")
    if not all(isinstance(argument, str) for argument in (line, *arguments)):
        raise ConfigError("args: a list of texts is expected", key="args")
    return ProgramHandler(arguments or shell_program(line))


def _http_handler(settings: Mapping[str, Any]) -> HttpHandler:
    given = {key: value for key, value in settings.items() if value not in ("", None)}
    url = given.get("path", "")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, TypeError, AttributeError):
        usable = False
    if not usable:
        raise ConfigError(
            f"http_handler_config.path: {url!r} is not a URL: write http://host:port/path or https://...",
            key="http_handler_config.path",
        )
    for key in given:
        if key not in _HTTP_KEYS:
            raise ConfigError(
                f"http_handler_config.{key}: there is no such key: {', '.join(_HTTP_KEYS)} are the keys",
                key=f"http_handler_config.{key}",
            )
    header = given.get("header") or {}
    return HttpHandler(
        url,
        given.get("method", "POST"),
        given.get("timeout") or HTTP_TIMEOUT,
        tuple(
            (name, (values,) if isinstance(values, str) else tuple(values)) for name, values in header.items()
        ),
        bool(given.get("tls_skip_verify", False)),
    )


async def run_handler(
    handler: ProgramHandler | HttpHandler, wanted: RunHandler, contexts: Callable[[bool], ssl.SSLContext]
) -> None:
    """Run a handler to its end; what goes wrong is logged. ``contexts`` makes TLS contexts (skip verification?)."""
    if isinstance(handler, ProgramHandler):
        await _run_program(handler, wanted)
    else:
        await _send(handler, wanted, contexts)


async def _run_program(handler: ProgramHandler, wanted: RunHandler) -> None:
    name = " ".join(handler.arguments)[:200]
    try:
        ended = await run_program(
            handler.arguments,
            environment={"CONSUL_INDEX": wanted.index},
            input_data=wanted.document(),
            max_output_bytes=MAX_OUTPUT_BYTES,
        )
    except ChildError as error:
        _log.error("Failed to run watch handler '%s': %s", name, error)
        return
    if ended.code != 0:
        why = f"exit status {ended.code}" if ended.code > 0 else f"signal {-ended.code}"
        _log.error("Failed to run watch handler '%s': %s", name, why)
    text = ended.output.decode(errors="replace")
    if ended.total_bytes > len(ended.output):
        text = f"Captured {len(ended.output)} of {ended.total_bytes} bytes\n...\n{text}"
    _log.debug("watch handler '%s' output: %s", name, text)


async def _send(handler: HttpHandler, wanted: RunHandler, contexts: Callable[[bool], ssl.SSLContext]) -> None:
    names = {name.lower() for name, _ in handler.header}
    own = {"Content-Type": "application/json", "User-Agent": "meshnode"}
    header = {name: (value,) for name, value in own.items() if name.lower() not in names}
    # An HTTP check is one request with a body, a time-out and a verdict on the status, which is all that is needed.
    request = HttpCheck(
        url=handler.url,
        method=handler.method,
        header={**header, **dict(handler.header), "X-Consul-Index": (wanted.index,)},
        body=wanted.document().decode(),
        timeout=handler.timeout,
        tls_skip_verify=handler.tls_skip_verify,
        output_max_size=MAX_OUTPUT_BYTES,
    )
    result = await check_http(request, contexts)
    shown = urlsplit(handler.url)._replace(query="").geturl().replace(_userinfo(handler.url), "")
    if result.status == "passing":
        _log.debug("http watch handler '%s' output: %s", shown, result.output)
    else:
        _log.error("http watch handler '%s' failed: %s", shown, result.output)


def _userinfo(url: str) -> str:
    place = urlsplit(url).netloc
    return place[: place.rfind("@") + 1] or "\0"
