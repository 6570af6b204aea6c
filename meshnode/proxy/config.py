"""What a proxy listens on and leads to, checked; and what a change of it restarts.

Names of the settings that a service definition can hold (``proxy.config``): Consul 1.2.3, "Built-in Proxy".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias

from meshnode.base.address import MAX_SOCKET_PATH_BYTES, is_ip_address
from meshnode.base.errors import ConfigError
from meshnode.proxy.decision_cache import MAX_AGE, REFRESH_AFTER

__all__ = [
    "Changes",
    "DestinationType",
    "Endpoint",
    "ProxyConfig",
    "PublicListener",
    "Upstream",
    "clash",
    "diff",
    "public_listener",
]

DEFAULT_HANDSHAKE_TIMEOUT: Final = 10.0
DEFAULT_CONNECT_TIMEOUT: Final = 5.0
DEFAULT_LOCAL_CONNECT_TIMEOUT: Final = 1.0
MAX_TIMEOUT: Final = 3600.0
DEFAULT_MAX_CONNECTIONS: Final = 16_384
#: Handshakes under way at once; a further client takes the place of the one that has been silent longest.
DEFAULT_MAX_HANDSHAKES: Final = 1024
#: Connections to one instance that wait for an application.
MAX_PREWARM: Final = 64
PROTOCOLS: Final = ("tcp", "http", "http2", "grpc")
_HOST_NAME: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IP address and a port, or the path of a unix socket. Raises :class:`ConfigError` for anything else.

    ``named``: ``host`` is a name, which has to be resolved for each connection. Nothing listens on such an endpoint.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    named: bool = False

    def __post_init__(self) -> None:
        if self.path:
            alone = not self.host and not self.port
            if not alone or not self.path.startswith("/") or len(self.path.encode()) > MAX_SOCKET_PATH_BYTES:
                raise ConfigError(
                    f"{self.path!r:.120} is not an absolute path of at most {MAX_SOCKET_PATH_BYTES} bytes alone"
                )
            return
        if self.named:
            if not _HOST_NAME.fullmatch(self.host):
                raise ConfigError(f"{self.host!r:.120} is not an IP address or a host name")
        elif not is_ip_address(self.host):
            raise ConfigError(f"{self.host!r:.120} is not an IP address")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port {self.port} is not from 0 to 65535")

    def __str__(self) -> str:
        """``1.2.3.4:80``, ``[::1]:80`` or ``unix:/path``."""
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class DestinationType(StrEnum):
    """What an upstream's destination names."""

    SERVICE = "service"
    PREPARED_QUERY = "prepared_query"


@dataclass(frozen=True, slots=True)
class PublicListener:
    """Where the mesh comes in, over mutual TLS, and the application that it is led to. Time-outs are in seconds."""

    bind: Endpoint
    local_app: Endpoint
    handshake_timeout: float = DEFAULT_HANDSHAKE_TIMEOUT
    local_connect_timeout: float = DEFAULT_LOCAL_CONNECT_TIMEOUT
    max_connections: int = DEFAULT_MAX_CONNECTIONS
    max_handshakes: int = DEFAULT_MAX_HANDSHAKES
    protocol: str = "tcp"
    #: A decision is used without asking for so long, and without an answer for so long.
    decision_refresh: float = REFRESH_AFTER
    decision_max_age: float = MAX_AGE
    #: Datacenters that sources may be of; none named: any of the trust domain.
    source_datacenters: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        _timeout("handshake_timeout", self.handshake_timeout)
        _timeout("local_connect_timeout", self.local_connect_timeout)
        _timeout("decision_refresh", self.decision_refresh)
        _timeout("decision_max_age", self.decision_max_age)
        _count("max_connections", self.max_connections)
        _count("max_handshakes", self.max_handshakes)
        _protocol(self.protocol)

    @property
    def name(self) -> str:
        """``public``."""
        return "public"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A local listener that leads to a service, or to what a prepared query finds, in ``datacenter`` (empty: ours).

    ``prewarm``: connections to each of its instances that are made before an application asks for one.
    """

    bind: Endpoint
    destination: str
    destination_type: DestinationType = DestinationType.SERVICE
    datacenter: str = ""
    namespace: str = "default"
    connect_timeout: float = DEFAULT_CONNECT_TIMEOUT
    max_connections: int = DEFAULT_MAX_CONNECTIONS
    protocol: str = "tcp"
    prewarm: int = 0

    def __post_init__(self) -> None:
        if not self.destination:
            raise ConfigError("the upstream has no destination: name a service or a prepared query")
        _timeout("connect_timeout", self.connect_timeout)
        _count("max_connections", self.max_connections)
        if not 0 <= self.prewarm <= MAX_PREWARM:
            raise ConfigError(f"prewarm: {self.prewarm} is not from 0 to {MAX_PREWARM} connections")
        _protocol(self.protocol)

    @property
    def name(self) -> str:
        """``service:default/db``, as Consul logs it, with the datacenter when one is named."""
        at = f"?dc={self.datacenter}" if self.datacenter else ""
        return f"{self.destination_type}:{self.namespace}/{self.destination}{at}"


Listener: TypeAlias = PublicListener | Upstream


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """All of one proxy. Raises :class:`ConfigError` when two listeners want the same address."""

    service: str
    public: PublicListener | None = None
    upstreams: tuple[Upstream, ...] = ()

    def __post_init__(self) -> None:
        seen: dict[Endpoint, str] = {}
        for listener in self.listeners():
            bind = listener.bind
            for taken, name in seen.items():
                if clash(bind, taken):
                    raise ConfigError(
                        f"{listener.name} wants {bind}, which {name} has: give each its own port"
                    )
            seen[bind] = listener.name

    def listeners(self) -> tuple[Listener, ...]:
        """The public listener, if there is one, then the upstreams."""
        return (*((self.public,) if self.public else ()), *self.upstreams)


@dataclass(frozen=True, slots=True)
class Changes:
    """Addresses to stop listening on, listeners to start, and those that go on under new settings or as they are.

    Established connections of all of them go on; ``update`` holds for new ones.
    """

    stop: tuple[Endpoint, ...] = ()
    start: tuple[Listener, ...] = ()
    update: tuple[Listener, ...] = ()
    keep: tuple[Listener, ...] = ()


def diff(old: ProxyConfig | None, new: ProxyConfig | None) -> Changes:
    """What leads from ``old`` to ``new``. A socket is bound again only when its address is new."""
    before = {listener.bind: listener for listener in old.listeners()} if old else {}
    after = {listener.bind: listener for listener in new.listeners()} if new else {}
    start, update, keep = [], [], []
    stop = [bind for bind in before if bind not in after]
    for bind, listener in after.items():
        was = before.get(bind)
        if was is None:
            start.append(listener)
        elif was == listener:
            keep.append(listener)
        elif type(was) is type(listener):
            update.append(listener)
        else:
            stop.append(bind)
            start.append(listener)
    return Changes(tuple(stop), tuple(start), tuple(update), tuple(keep))


def public_listener(settings: Mapping[str, Any], *, default_app_port: int = 0) -> PublicListener | None:
    """From ``bind_address``, ``bind_port``, ``local_service_address`` and the time-outs in milliseconds.

    ``None`` without a ``bind_port``: no public listener. Raises :class:`ConfigError` naming the setting.
    """
    port = _integer(settings, "bind_port", 0, 65535)
    if not port:
        return None
    address = _text(settings, "local_service_address") or f"127.0.0.1:{default_app_port}"
    return PublicListener(
        bind=_endpoint("bind_address", _text(settings, "bind_address") or "0.0.0.0", port),
        local_app=_app_endpoint(address),
        handshake_timeout=_milliseconds(settings, "handshake_timeout_ms", DEFAULT_HANDSHAKE_TIMEOUT),
        local_connect_timeout=_milliseconds(
            settings, "local_connect_timeout_ms", DEFAULT_LOCAL_CONNECT_TIMEOUT
        ),
        decision_refresh=_milliseconds(settings, "decision_refresh_ms", REFRESH_AFTER),
        decision_max_age=_milliseconds(settings, "decision_max_age_ms", MAX_AGE),
        max_connections=_integer(settings, "max_connections", DEFAULT_MAX_CONNECTIONS, 2**31)
        or DEFAULT_MAX_CONNECTIONS,
        protocol=_text(settings, "protocol") or "tcp",
    )


def _app_endpoint(text: str) -> Endpoint:
    if text.startswith(("unix:", "/")):
        return _endpoint("local_service_address", "", 0, "/" + text.removeprefix("unix:").lstrip("/"))
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()):
        raise ConfigError(
            f'local_service_address: "{text:.120}" can\'t be used: write an IP address and a port, or unix:/path',
            key="local_service_address",
        )
    host = host.removeprefix("[").removesuffix("]")
    host = "127.0.0.1" if host in {"", "localhost"} else host
    return _endpoint("local_service_address", host, int(port[:8]), named=not is_ip_address(host))


def _endpoint(key: str, host: str, port: int, path: str = "", *, named: bool = False) -> Endpoint:
    try:
        return Endpoint(host, port, path, named)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}", key=key) from None


def _text(settings: Mapping[str, Any], key: str) -> str:
    value = settings.get(key, "")
    if not isinstance(value, str):
        raise ConfigError(f"{key}: expected a text, got {type(value).__name__}", key=key)
    return value


def _integer(settings: Mapping[str, Any], key: str, default: int, most: int) -> int:
    value = settings.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{key}: expected a whole number, got {value!r:.60}", key=key)
    if not 0 <= value <= most:
        raise ConfigError(f"{key}: {value:g} is not from 0 to {most}", key=key)
    if value != int(value):
        raise ConfigError(f"{key}: expected a whole number, got {value!r:.60}", key=key)
    return int(value)


def _milliseconds(settings: Mapping[str, Any], key: str, default: float) -> float:
    value = _integer(settings, key, 0, int(MAX_TIMEOUT * 1000))
    return value / 1000.0 if value else default


def _timeout(key: str, value: float) -> None:
    if not 0 < value <= MAX_TIMEOUT:
        raise ConfigError(f"{key}: {value:g} s is not above 0 and at most {MAX_TIMEOUT:g} s", key=key)


def _count(key: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{key}: {value} is not 1 or more", key=key)


def _protocol(value: str) -> None:
    if value not in PROTOCOLS:
        raise ConfigError(f'protocol: "{value:.40}" is not one of {", ".join(PROTOCOLS)}', key="protocol")


def clash(one: Endpoint, other: Endpoint) -> bool:
    """Whether nothing can listen on both at once."""
    if one.path or other.path:
        return one == other
    if one.port != other.port:
        return False
    wild = {"0.0.0.0", "::"}
    return one.host == other.host or one.host in wild or other.host in wild
