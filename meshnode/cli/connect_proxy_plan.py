"""What the command line of ``connect proxy`` asks for, and the banner about it. Nothing is opened in here.

Source: Consul 1.2.3 and 1.3, ``connect proxy``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from meshnode.base.errors import ConfigError
from meshnode.base.goflags import FlagError, FlagSet, Parsed
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.data_argument import read_file
from meshnode.client.settings import ApiSettings
from meshnode.hcl.json_text import parse_json
from meshnode.hcl.located import plain
from meshnode.hcl.parse import parse_hcl
from meshnode.proxy.config import ProxyConfig
from meshnode.proxy.definition import listen_flag, parse_file, parse_upstream_flag
from meshnode.runtime.logs import parse_level
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.proxy.workers import MAX_WORKERS

__all__ = ["Mode", "Plan", "ProxyFlags"]

#: Variables that stand for -proxy-id, -sidecar-for and -token: of 1.3 and later, and of 1.2.
PROXY_ID: Final = ("CONSUL_PROXY_ID", "CONNECT_PROXY_ID")
SIDECAR_FOR: Final = ("CONSUL_SIDECAR_FOR", "CONNECT_SIDECAR_FOR")
PROXY_TOKEN: Final = ("CONSUL_PROXY_TOKEN", "CONNECT_PROXY_TOKEN")
_DEV_FILES: Final = ("dev_service_cert_file", "dev_service_key_file", "dev_ca_file")


class Mode(StrEnum):
    """Where the configuration comes from, as the banner names it."""

    AGENT = "Agent API"
    FLAGS = "Flags"
    FILE = "File"


@dataclass(frozen=True, slots=True)
class Plan:
    """``config`` is there in the modes ``FLAGS`` and ``FILE``; one of ``proxy_id`` and ``sidecar_for`` in ``AGENT``.

    ``managed``: the agent started this process, and has its configuration. ``shown`` are lines of the banner.
    """

    mode: Mode
    settings: ApiSettings
    level: int
    workers: int = 1
    proxy_id: str = ""
    sidecar_for: str = ""
    managed: bool = False
    config: ProxyConfig | None = None
    static: TlsMaterial | None = None
    register: bool = False
    suffix: str = ""
    shown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())


class ProxyFlags:
    """The flags of the command."""

    def __init__(self) -> None:
        flags = self.set = FlagSet(
            "connect proxy",
            "Usage: consul connect proxy [options]",
            "Runs a proxy that speaks mutual TLS with other proxies, for a service that knows nothing of it. What it "
            "listens on comes from the agent (-sidecar-for, -proxy-id), which is followed, or from flags (-service).",
        )
        self.sidecar_for = flags.string(
            "sidecar-for",
            "ID of the service on the local agent whose one registered proxy this is.",
            placeholder="id",
        )
        self.proxy_id = flags.string("proxy-id", "ID of the proxy on the local agent.", placeholder="id")
        self.service = flags.string(
            "service",
            "Name of the service that is stood for, without an agent's configuration.",
            placeholder="name",
        )
        self.upstreams = flags.strings(
            "upstream",
            "Service to lead to, and where to listen for that: db:8181, db:127.0.0.10:8181, db.service.dc2:8181 in "
            "another datacenter, or geo.query:8181 for a prepared query. Only with -service.",
            placeholder="name:addr",
        )
        self.listen = flags.string(
            "listen",
            "Where the mesh comes in, for -service-addr. Only with -service.",
            placeholder="host:port",
        )
        self.service_addr = flags.string(
            "service-addr", "Where the application listens. Only with -listen.", placeholder="host:port"
        )
        self.register = flags.boolean("register", "Register the proxy with the agent while it runs.")
        self.register_id = flags.string("register-id", "End of the ID to register, if there are several.")
        self.dev_config = flags.string(
            "dev-config", "File with the configuration and certificates. NOBODY IS ASKED who may connect.",
            placeholder="file",
        )  # fmt: skip
        self.level = flags.string("log-level", "Least severity logged.", default="INFO", placeholder="level")
        self.workers = flags.integer(
            "workers", "Processes that share the ports.", default=1, minimum=1, maximum=MAX_WORKERS
        )
        self.pprof = flags.string(
            "pprof-addr", "Not here: it is about programs in Go.", placeholder="address"
        )
        self._client = ClientFlags(flags, server=True)

    def plan(self, args: Sequence[str], environ: Mapping[str, str]) -> Plan:
        """What ``args`` and the environment ask for; raises :class:`ConfigError`."""
        parsed = self.set.parse(args)
        parsed.reject_positionals()
        if parsed.given(self.pprof):
            raise FlagError("-pprof-addr: profiles of Go can't be had of this program: leave it out")
        token = "" if parsed.given_names() & {"token"} else _first(environ, PROXY_TOKEN)
        shared: dict[str, Any] = {
            "settings": self._client.settings(parsed, environ, token),
            "level": parse_level(parsed[self.level]),
            "workers": parsed[self.workers],
        }
        if parsed[self.dev_config]:
            return self._from_file(parsed[self.dev_config], shared)
        proxy_id, from_environment = parsed[self.proxy_id], _first(environ, PROXY_ID)
        sidecar_for = parsed[self.sidecar_for] or _first(environ, SIDECAR_FOR)
        if proxy_id or sidecar_for or from_environment:
            self._refuse_registration(parsed)
            return Plan(
                Mode.AGENT,
                **shared,
                proxy_id=proxy_id or from_environment,
                sidecar_for="" if proxy_id or from_environment else sidecar_for,
                managed=not proxy_id and bool(from_environment),
                warnings=self._ignored(parsed),
            )
        return self._from_flags(parsed, shared)

    def _from_flags(self, parsed: Parsed, shared: Mapping[str, Any]) -> Plan:
        service = parsed[self.service]
        if not service:
            raise FlagError(
                "-service or -proxy-id must be specified so that proxy can configure itself: "
                "or -sidecar-for with the ID of a service that has a registered proxy"
            )
        self._refuse_registration(parsed)
        try:
            read = [parse_upstream_flag(text) for text in parsed[self.upstreams]]
        except ConfigError as error:
            raise FlagError(f"-upstream: {error}", key="upstream") from None
        found = sorted(read, key=lambda one: one[1].destination)
        shown = [f"           Service: {service}"]
        shown += [f"          Upstream: {upstream.destination} => {text}" for text, upstream in found]
        public = None
        if parsed[self.listen]:
            if not parsed[self.service_addr]:
                raise FlagError(
                    "-service-addr must be specified with -listen so the proxy knows the backend service address."
                )
            public = listen_flag(parsed[self.listen], parsed[self.service_addr])
            shown.append(f"   Public listener: {public.bind} => {parsed[self.service_addr]}")
        else:
            if parsed[self.service_addr]:
                raise FlagError("-service-addr is of use only with -listen: write where the mesh comes in")
            shown.append("   Public listener: Disabled")
        config = ProxyConfig(service, public, tuple(upstream for _, upstream in found))
        return Plan(
            Mode.FLAGS,
            **shared,
            config=config,
            register=parsed[self.register],
            suffix=parsed[self.register_id],
            shown=tuple(shown),
            warnings=() if config.listeners() else ("nothing to do: give -upstream or -listen",),
        )

    def _refuse_registration(self, parsed: Parsed) -> None:
        if parsed[self.register] and not (parsed[self.service] and parsed[self.listen]):
            raise FlagError("-register may only be specified with -service and -listen")
        if parsed.given(self.register_id) and not parsed[self.register]:
            raise FlagError("-register-id is of use only with -register")

    def _ignored(self, parsed: Parsed) -> tuple[str, ...]:
        named = [
            flag.name
            for flag in (self.service, self.upstreams, self.listen, self.service_addr)
            if parsed.given(flag)
        ]
        if not named:
            return ()
        return (f"-{', -'.join(named)}: not used, the configuration comes from the agent",)

    def _from_file(self, path: str, shared: Mapping[str, Any]) -> Plan:
        body = _read_config(path)
        try:
            config = parse_file(body)
        except ConfigError as error:
            raise ConfigError(f"-dev-config: {path}: {error}") from None
        files = [body.get(name) for name in _DEV_FILES]
        if not all(isinstance(name, str) and name for name in files):
            raise ConfigError(
                f"-dev-config: {path}: {', '.join(_DEV_FILES)} are all needed, as paths of PEM files"
            )
        chain, key, roots = (_read_text(str(name)) for name in files)
        return Plan(
            Mode.FILE,
            **shared,
            config=config,
            static=TlsMaterial(chain, key, roots),
            warnings=(
                "-dev-config: intentions are NOT asked, whoever shows a certificate of the CA is let in",
            ),
        )


def _first(environ: Mapping[str, str], names: Sequence[str]) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")


def _read_config(path: str) -> dict[str, Any]:
    text = _read_text(path)
    tree = plain(parse_json(text, path) if path.endswith(".json") else parse_hcl(text, path))
    if not isinstance(tree, dict):
        raise ConfigError(f"-dev-config: {path}: write an object with proxied_service_name")
    body: dict[str, Any] = dict(tree)
    # In HCL each block of a name is one of a list.
    listener = body.get("public_listener")
    if isinstance(listener, list) and len(listener) == 1:
        body["public_listener"] = listener[0]
    if isinstance(body.get("upstreams"), dict):
        body["upstreams"] = [body["upstreams"]]
    return body


def _read_text(path: str) -> str:
    try:
        return read_file(path).decode()
    except UnicodeDecodeError:
        raise ConfigError(f"-dev-config: {path} is not UTF-8 text") from None
