"""``tls-proxy``: listeners that end, begin, bridge or pass on TLS, in the foreground until a signal ends them.

A first SIGINT or SIGTERM lets what is open end, a second one does not wait. SIGHUP looks at the certificate files at
once; they are looked at every second anyway.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import FlagSet, HelpRequested
from meshnode.cli.connect_envoy import MISSING_SCHEMA, find_envoy
from meshnode.cli.connect_proxy_engine import start_logging
from meshnode.cli.data_argument import read_file
from meshnode.cli.foreground import Foreground, announce, failed, run_on_loop
from meshnode.proxy.config import Endpoint
from meshnode.runtime.envoy_version import envoy_version
from meshnode.runtime.json_file import write_record
from meshnode.runtime.logs import parse_level
from meshnode.runtime.notify import notify_systemd
from meshnode.runtime.proxy.deadlines import DRAIN_TIMEOUT
from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.runtime.tls_modes.engine import DataPlane, log
from meshnode.runtime.tls_modes.envoy import EnvoyPlane, check_bootstrap
from meshnode.runtime.tls_modes.material import Material, read_material
from meshnode.runtime.tls_modes.watch import MaterialWatch
from meshnode.tls_modes.model import TlsProxyConfig
from meshnode.tls_modes.parse import parse_tls_proxy

__all__ = ["run"]

#: With every certificate as text, 256 listeners are below this.
MAX_CONFIG_BYTES: Final = 8 * 1024 * 1024
BUILTIN: Final = "builtin"
ENVOY: Final = "envoy"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the command line asks for."""

    config: TlsProxyConfig
    file: str
    data_plane: str
    envoy_binary: str
    level: int


def run(args: list[str]) -> int:
    """Run until a signal: 0; 1 when the configuration can't be used, a port is taken, or Envoy fails."""
    flags = FlagSet(
        "tls-proxy",
        "Usage: meshnode tls-proxy -config-file FILE [options]",
        "Listens as a file says: HTTPS in and HTTP out (terminate), HTTPS on both sides (bridge), HTTP in and HTTPS "
        "out (originate), or TLS led by the name that the client asks for, unopened (passthrough). Certificates that "
        "are replaced on the disk are taken up.",
    )
    file = flags.string("config-file", "The listeners, as HCL or JSON.", placeholder="file")
    plane = flags.string(
        "data-plane", "Who carries the bytes: builtin or envoy.", default=BUILTIN, placeholder="name"
    )
    binary = flags.string("envoy-binary", "Path of Envoy. Without it, it is looked for.", placeholder="path")
    only_check = flags.boolean(
        "validate", "Say whether the configuration and its files can be used, and end."
    )
    only_print = flags.boolean(
        "print-envoy", "Print what Envoy would start with, and end. It holds keys that are text in the file."
    )
    secrets = flags.string(
        "secrets-dir",
        "With -print-envoy: write Envoy's secrets there, and name them, so that it follows replaced files.",
        placeholder="folder",
    )
    level = flags.string("log-level", "Least severity logged.", default="INFO", placeholder="level")
    try:
        parsed = flags.parse(args)
        parsed.reject_positionals()
        if not parsed[file]:
            raise ConfigError("-config-file is missing: name the file with the listeners")
        if parsed[plane] not in (BUILTIN, ENVOY):
            raise ConfigError(f"-data-plane: {parsed[plane]!r:.40} is none: write {BUILTIN} or {ENVOY}")
        if parsed[secrets] and not parsed[only_print]:
            raise ConfigError("-secrets-dir is of use only with -print-envoy")
        plan = _Plan(
            _read(parsed[file]), parsed[file], parsed[plane], parsed[binary], parse_level(parsed[level])
        )
        if parsed[only_print]:
            _print(plan, parsed[secrets])
            return 0
        if parsed[only_check]:
            return _validate(plan)
    except HelpRequested:
        raise
    except MeshError as error:
        return failed("Error preparing configuration", error)
    return run_on_loop(_Command(plan).main)


def _read(file: str) -> TlsProxyConfig:
    data = read_file(file)
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(
            f"it is longer than {MAX_CONFIG_BYTES} bytes: that is no list of listeners", where=file
        )
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ConfigError("it is not UTF-8 text", where=file) from None
    return parse_tls_proxy(text, file, str(Path(file).absolute().parent))


def _print(plan: _Plan, secrets_dir: str) -> None:
    folder = str(Path(secrets_dir).absolute()) if secrets_dir else ""
    if folder:
        for name, document in _secrets(plan.config, folder).items():
            write_record(Path(folder, name), document)
    print(json.dumps(_bootstrap(plan.config, folder, plan.config.admin), indent=2))


def _validate(plan: _Plan) -> int:
    warnings: list[str] = []
    for one in plan.config.listeners:
        warnings += read_material(one, datetime.now(UTC)).warnings
    if plan.data_plane == BUILTIN:
        from meshnode.runtime.tls_modes.builtin import check_builtin

        check_builtin(plan.config)
    else:
        binary = find_envoy(plan.envoy_binary, os.environ)
        asyncio.run(_check_envoy(plan, binary))
    for warning in warnings:
        print(f"Warning: {warning}")
    count = len(plan.config.listeners)
    print(
        f"Configuration is valid! ({count} listener{'s' if count > 1 else ''}, data plane {plan.data_plane})"
    )
    return 0


async def _check_envoy(plan: _Plan, binary: str) -> None:
    await envoy_version(binary)
    await check_bootstrap(binary, _bootstrap(plan.config, "", plan.config.admin))


def _bootstrap(config: TlsProxyConfig, secrets_dir: str, admin: Endpoint | None) -> dict[str, Any]:
    _require_schema()
    from meshnode.xds.tls_modes import tls_modes_bootstrap

    return tls_modes_bootstrap(config, secrets_dir=secrets_dir, admin=admin)


def _secrets(config: TlsProxyConfig, secrets_dir: str) -> dict[str, dict[str, Any]]:
    _require_schema()
    from meshnode.xds.tls_modes import secret_documents

    return dict(secret_documents(config, secrets_dir=secrets_dir))


def _require_schema() -> None:
    if importlib.util.find_spec("google") is None or importlib.util.find_spec("google.protobuf") is None:
        raise MeshError(MISSING_SCHEMA)


class _Command:
    """One run of the command."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._plane: DataPlane | None = None
        self._watch: MaterialWatch | None = None
        self._foreground = Foreground(
            "TLS proxy",
            log,
            drain_timeout=DRAIN_TIMEOUT,
            hurry=self._hurry,
            stopping=functools.partial(notify_systemd, "STOPPING=1"),
        )

    async def main(self) -> int:
        """Prepare, run, end."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._look)
        start_logging(self._plan.level)
        return await self._foreground.run(self._run)

    def _hurry(self) -> None:
        if self._plane is not None:
            self._plane.hurry()

    def _look(self) -> None:
        """At the files, now; before they are watched they are read anyway."""
        if self._watch is not None:
            self._watch.ask()

    async def _run(self) -> int:
        """Ends by itself only when it fails; cancelled, it lets what is open end."""
        plan = self._plan
        watch = MaterialWatch(plan.config, self._on_change, functools.partial(datetime.now, UTC))
        try:
            materials = watch.read()
            shown, plane = plan.data_plane, None
            if plan.data_plane == BUILTIN:
                from meshnode.runtime.tls_modes.builtin import BuiltinPlane

                plane = BuiltinPlane(plan.config, materials)
            else:
                binary = find_envoy(plan.envoy_binary, os.environ)
                shown = f"{ENVOY} {await envoy_version(binary)} ({binary})"
        except MeshError as error:
            return failed("Error preparing configuration", error)
        self._announce(shown, [text for one in materials.values() for text in one.warnings])
        self._plane = plane or EnvoyPlane(
            plan.config,
            binary,
            functools.partial(_bootstrap, plan.config),
            functools.partial(_secrets, plan.config),
            log_level=plan.level,
        )
        return await self._serve(self._plane, watch)

    async def _serve(self, plane: DataPlane, watch: MaterialWatch) -> int:
        try:
            await plane.start()
        except MeshError as error:
            return failed("Failed running proxy", error)
        self._watch = watch
        watching = spawn(watch.run(), name="certificate files")
        log.info("clients are served")
        notify_systemd("READY=1")
        try:
            await plane.failed()
        except MeshError as error:
            return failed("Failed running proxy", error)
        finally:
            await cancel_and_wait(watching)
            await plane.stop(drain_timeout=self._foreground.drain_timeout)
        raise AssertionError("a data plane ends with an error or not at all")

    def _on_change(self, materials: Mapping[str, Material]) -> None:
        if self._plane is not None:
            self._plane.replace(materials)

    def _announce(self, data_plane: str, warnings: Sequence[str]) -> None:
        lines = [f"Configuration: {self._plan.file}", f"   Data plane: {data_plane}"]
        lines += [
            f"     Listener: {one.name}: {one.bind} => {one.upstream.address} ({one.mode})"
            for one in self._plan.config.listeners
        ]
        announce(lines)
        for warning in warnings:
            log.warning("%s", warning)
        for one in self._plan.config.listeners:
            if one.upstream.insecure_skip_verify:
                log.warning(
                    "listener.%s.upstream.insecure_skip_verify: whoever answers at %s is believed",
                    one.name, one.upstream.address,
                )  # fmt: skip
