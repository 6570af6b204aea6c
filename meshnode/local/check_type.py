"""How a health check is run, as frozen values, and what makes one impossible.

Durations are seconds; 0 is "not set", which means what Consul's default is. The thresholds count results in a row;
0 and 1 both mean "at once". Nothing is checked when a value is made: ask :func:`fault`.
Source: Consul 1.2.3, documentation of checks and ``structs.CheckType``; UDP, HTTP/2 pings, TLS of TCP checks,
thresholds and sizes are of Consul 1.7 to 1.17.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from meshnode.local.url import without_password

__all__ = [
    "DEFAULT_CONNECT_TIMEOUT",
    "DEFAULT_OUTPUT_BYTES",
    "DEFAULT_SCRIPT_TIMEOUT",
    "MAX_OUTPUT_BYTES",
    "MIN_INTERVAL",
    "AliasCheck",
    "CertificateCheck",
    "CheckType",
    "DockerCheck",
    "GrpcCheck",
    "H2PingCheck",
    "HttpCheck",
    "IntervalCheck",
    "ScriptCheck",
    "TcpCheck",
    "Thresholds",
    "TtlCheck",
    "UdpCheck",
    "effective_interval",
    "effective_timeout",
    "fault",
    "split_host_port",
]

#: Seconds between runs at least: a smaller interval is raised to it, as Consul does with a warning in its log.
MIN_INTERVAL: Final = 1.0
#: Seconds that a script (on the host or in a container) may take when the check doesn't say.
DEFAULT_SCRIPT_TIMEOUT: Final = 30.0
#: The same of anything that makes a connection.
DEFAULT_CONNECT_TIMEOUT: Final = 10.0
#: Bytes of output kept when the check doesn't say.
DEFAULT_OUTPUT_BYTES: Final = 4096
#: The most that a check may ask to keep: each check holds that much, and each change of it goes to the servers.
MAX_OUTPUT_BYTES: Final = 1024 * 1024

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")
_LINE_BREAK: Final = re.compile(r"[\x00\r\n]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Results in a row before a status is believed; a warning counts as a success, as in Consul.

    ``failures_before_warning`` 0 is the same as ``failures_before_critical``: no warning on the way down.
    """

    success_before_passing: int = 0
    failures_before_warning: int = 0
    failures_before_critical: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalCheck(Thresholds):
    """What all checks that run again and again share; see :func:`effective_interval`, :func:`effective_timeout`."""

    interval: float = 0.0
    timeout: float = 0.0
    #: Bytes of output kept, the last ones.
    output_max_size: int = DEFAULT_OUTPUT_BYTES


@dataclass(frozen=True, slots=True)
class ScriptCheck(IntervalCheck):
    """A program with its arguments, started without a shell: ``("sh", "-c", "...")`` asks for one."""

    args: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HttpCheck(IntervalCheck):
    """A request; ``method`` empty is ``GET``. Up to ten redirects are followed unless ``disable_redirects``."""

    url: str
    method: str = ""
    #: May hold tokens: never shown.
    header: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    body: str = field(default="", repr=False)
    tls_skip_verify: bool = False
    #: The name asked for and verified instead of the host of ``url``.
    tls_server_name: str = ""
    disable_redirects: bool = False


@dataclass(frozen=True, slots=True)
class TcpCheck(IntervalCheck):
    """A connection to ``address``, ``host:port``: it passes once made, with ``use_tls`` after the handshake."""

    address: str
    use_tls: bool = False
    tls_skip_verify: bool = False
    #: The name asked for and verified instead of the host of ``address``.
    tls_server_name: str = ""


@dataclass(frozen=True, slots=True)
class UdpCheck(IntervalCheck):
    """An empty datagram to ``address``, ``host:port``: any answer passes (Consul 1.13, as its documents tell it)."""

    address: str


@dataclass(frozen=True, slots=True)
class H2PingCheck(IntervalCheck):
    """A PING frame of HTTP/2 (RFC 9113 6.7) to ``address``, ``host:port``: its acknowledgement passes."""

    address: str
    use_tls: bool = True
    tls_skip_verify: bool = False
    tls_server_name: str = ""


@dataclass(frozen=True, slots=True)
class GrpcCheck(IntervalCheck):
    """``grpc.health.v1.Health/Check`` at ``target``: ``host:port``, or ``host:port/service``."""

    target: str
    use_tls: bool = False
    tls_skip_verify: bool = False
    tls_server_name: str = ""


@dataclass(frozen=True, slots=True)
class DockerCheck(IntervalCheck):
    """A program run inside the container ``container`` (id or name).

    ``shell`` is taken and has no effect: Consul uses it for the ``script`` of old versions only, never with arguments.
    """

    container: str
    args: tuple[str, ...]
    shell: str = ""


@dataclass(frozen=True, slots=True)
class CertificateCheck(IntervalCheck):
    """The certificate in a file (``target`` is its absolute path), or the one that ``host:port`` presents over TLS.

    Warning with less than a third of its lifetime left, critical outside its lifetime. Ours: Consul has no such check.
    """

    target: str
    #: SNI for ``host:port``; empty: its host.
    tls_server_name: str = ""


@dataclass(frozen=True, slots=True)
class TtlCheck(Thresholds):
    """Critical once nobody has said otherwise for ``ttl`` seconds."""

    ttl: float
    output_max_size: int = DEFAULT_OUTPUT_BYTES


@dataclass(frozen=True, slots=True)
class AliasCheck(Thresholds):
    """The worst status among the checks of a service and of its node; ``node`` empty is this node.

    ``service_id`` empty takes the checks of the node alone.
    """

    node: str = ""
    service_id: str = ""


CheckType: TypeAlias = (
    ScriptCheck
    | HttpCheck
    | TcpCheck
    | UdpCheck
    | H2PingCheck
    | TtlCheck
    | GrpcCheck
    | DockerCheck
    | AliasCheck
    | CertificateCheck
)


def effective_interval(check: IntervalCheck) -> float:
    """Seconds between the end of one run and the start of the next."""
    return max(check.interval, MIN_INTERVAL)


def effective_timeout(check: IntervalCheck) -> float:
    """Seconds that one run may take."""
    if check.timeout > 0:
        return check.timeout
    return DEFAULT_SCRIPT_TIMEOUT if isinstance(check, ScriptCheck | DockerCheck) else DEFAULT_CONNECT_TIMEOUT


def fault(check: CheckType) -> str:
    """Why ``check`` can't be run, naming the field (as the API spells it) and the fix; empty: it can be run."""
    match check:
        case TtlCheck():
            own = _ttl_fault(check)
        case AliasCheck():
            own = "" if check.node or check.service_id else "AliasNode and AliasService are empty: set one"
        case _:
            own = _interval_fault(check) or _kind_fault(check)
    return own or _threshold_fault(check)


def _ttl_fault(check: TtlCheck) -> str:
    if not math.isfinite(check.ttl) or check.ttl <= 0:
        return 'TTL must be > 0 for TTL checks: set TTL, such as "30s"'
    return _size_fault(check.output_max_size)


def _interval_fault(check: IntervalCheck) -> str:
    if not math.isfinite(check.interval) or check.interval <= 0:
        return 'Interval must be > 0 for Script, HTTP, or TCP checks: set Interval, such as "10s"'
    if not math.isfinite(check.timeout) or check.timeout < 0:
        return 'Timeout must not be negative: leave it out, or set a duration such as "5s"'
    return _size_fault(check.output_max_size)


def _size_fault(size: int) -> str:
    if 1 <= size <= MAX_OUTPUT_BYTES:
        return ""
    return f"OutputMaxSize is {size}: set a number of bytes from 1 to {MAX_OUTPUT_BYTES}"


def _threshold_fault(check: Thresholds) -> str:
    counts = {
        "SuccessBeforePassing": check.success_before_passing,
        "FailuresBeforeWarning": check.failures_before_warning,
        "FailuresBeforeCritical": check.failures_before_critical,
    }
    for name, count in counts.items():
        if count < 0:
            return f"{name} is {count}: set 0 or more"
    if check.failures_before_warning > max(check.failures_before_critical, 1):
        return (
            f"FailuresBeforeWarning ({check.failures_before_warning}) can't be higher than FailuresBeforeCritical "
            f"({check.failures_before_critical}): lower the one or raise the other"
        )
    return ""


def _kind_fault(check: CheckType) -> str:
    match check:
        case ScriptCheck():
            return _args_fault(check.args)
        case DockerCheck():
            if not check.container:
                return "DockerContainerID is empty: set the id or the name of the container"
            return _args_fault(check.args)
        case HttpCheck():
            return _http_fault(check)
        case TcpCheck():
            return _address_fault("TCP", check.address)
        case UdpCheck():
            return _address_fault("UDP", check.address)
        case H2PingCheck():
            return _address_fault("H2PING", check.address)
        case GrpcCheck():
            return _address_fault("GRPC", check.target.partition("/")[0])
        case CertificateCheck():
            if check.target.startswith("/"):
                return (
                    "Certificate: the path holds a NUL character: take it out" if "\0" in check.target else ""
                )
            if split_host_port(check.target) is not None:
                return ""
            return f'Certificate: "{check.target[:200]}" is neither: write the absolute path of a file, or host:port'
        case _:
            return ""


def _args_fault(args: tuple[str, ...]) -> str:
    if not args or not args[0]:
        return 'Args is empty: name the program and its arguments, such as ["/usr/bin/check", "-w"]'
    for number, text in enumerate(args):
        if "\0" in text:
            return f"Args[{number}] holds a NUL character: take it out"
    return ""


def _http_fault(check: HttpCheck) -> str:
    shown = without_password(check.url)[:200]
    if _CONTROL.search(check.url):
        return f"HTTP: {shown!r} holds a space or a control character: escape it as %20 and the like"
    try:
        parts = urlsplit(check.url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_fine = urlsplit(""), False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        return (
            f'HTTP: "{shown}" is not a URL that can be asked: write one such as http://127.0.0.1:8080/health'
        )
    if check.method and not _TOKEN.fullmatch(check.method):
        return f"Method {check.method[:40]!r} is not an HTTP method: write one such as GET"
    for name, values in check.header.items():
        if not _TOKEN.fullmatch(name):
            return f"Header {name[:80]!r} is not the name of a header: use letters, digits and dashes"
        if any(_LINE_BREAK.search(value) for value in values):
            return f"Header {name}: its value holds a line break or a NUL character: take it out"
    return ""


def _address_fault(name: str, text: str) -> str:
    if split_host_port(text) is not None:
        return ""
    return f'{name}: "{text[:200]}" is not an address: write host:port, such as 127.0.0.1:80 or [::1]:80'


def split_host_port(text: str) -> tuple[str, int] | None:
    """``host:port`` or ``[v6]:port`` in two; an empty host is this machine, as in Go. ``None``: it is neither."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host or "[" in host or "]" in host:
        return None
    if not colon or not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 65536 or len(port) > 5:
        return None
    return None if _CONTROL.search(host) else (host or "localhost", int(port))
