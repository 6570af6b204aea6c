"""From a command line and an environment to a checked :class:`AgentConfig`, in Consul's order of sources.

Weakest first: built-in defaults, ``-dev`` defaults, flags that are lists, files and directories in the order given,
``CONSUL_LOCAL_CONFIG`` and ``MESHNODE_LOCAL_CONFIG``, other flags, ``-hcl`` texts. Scalars are replaced, lists
appended, objects merged key by key.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from meshnode.agent.config.addresses import derive_addresses
from meshnode.agent.config.assemble import assemble
from meshnode.agent.config.checks import Findings, settle
from meshnode.agent.config.errors import problems_of, raise_all
from meshnode.agent.config.flags import AgentFlags, parse_agent_flags
from meshnode.agent.config.keys import defaults
from meshnode.agent.config.listeners import check_listeners
from meshnode.agent.config.merge import Settings, merge
from meshnode.agent.config.model import AgentConfig
from meshnode.agent.config.schema import Fragment, read_settings
from meshnode.agent.config.sources import (
    Source,
    config_files,
    environment_sources,
    read_file_source,
    read_source,
)
from meshnode.base.errors import ConfigError
from meshnode.hcl.located import Origin, Plain, located
from meshnode.runtime.interfaces import Interfaces, read_interfaces

__all__ = ["DEV_DEFAULTS", "Loaded", "Machine", "load", "load_files"]

_FAST: Final[Plain] = {
    "gossip_interval": "100ms",
    "probe_interval": "100ms",
    "probe_timeout": "100ms",
    "suspicion_mult": 3,
}
#: What ``-dev`` changes. The web page is turned on by its later key, so that either key turns it off.
DEV_DEFAULTS: Final[Plain] = {
    "bind_addr": "127.0.0.1",
    "server": True,
    "log_level": "DEBUG",
    "disable_keyring_file": True,
    "connect": {"enabled": True, "proxy": {"allow_managed_root": True}},
    "gossip_lan": _FAST,
    "gossip_wan": _FAST,
    "ui_config": {"enabled": True},
    "ports": {"grpc": 8502},
}


@dataclass(frozen=True, slots=True)
class Machine:
    """What the loader asks the machine: its name, its interfaces (only when an address depends on them), the time."""

    hostname: str
    interfaces: Callable[[], Interfaces]
    at: datetime

    @classmethod
    def here(cls) -> Machine:
        """This machine, now."""
        return cls(socket.gethostname(), read_interfaces, datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Loaded:
    """The configuration, warnings for the log, and the files that it was read from, in their order."""

    config: AgentConfig
    warnings: tuple[str, ...]
    files: tuple[Path, ...]


def load(args: Sequence[str], environ: Mapping[str, str], machine: Machine | None = None) -> Loaded:
    """The configuration of ``agent`` with the arguments ``args``; for a reload, call it again with the same ones.

    Raises ``HelpRequested``, ``FlagError``, or ``ConfigError`` that names every mistake.
    """
    return _load(parse_agent_flags(args), environ, machine or Machine.here())


def load_files(paths: Sequence[str], config_format: str = "", machine: Machine | None = None) -> Loaded:
    """The configuration in files and directories alone, as ``validate`` checks it."""
    flags = AgentFlags(
        dev=False, config_format=config_format, paths=tuple(paths), lists={}, scalars={}, fragments=()
    )
    return _load(flags, {}, machine or Machine.here())


def _load(flags: AgentFlags, environ: Mapping[str, str], machine: Machine) -> Loaded:
    files, skipped = config_files(flags.paths, flags.config_format)
    fragments: list[Fragment] = []
    problems: list[ConfigError] = []

    def add(source: Source) -> None:
        fragment, found = read_source(source)
        fragments.append(fragment)
        problems.extend(found)

    if flags.dev:
        fragments.append(read_settings(located(DEV_DEFAULTS, Origin("-dev")))[0])
    fragments.append(flags.lists)
    for file in files:
        try:
            add(read_file_source(file, flags.config_format))
        except ConfigError as problem:
            problems.append(problem)
    for source in environment_sources(environ):
        add(source)
    fragments.append(flags.scalars)
    for number, text in enumerate(flags.fragments):
        add(Source(f"flag -hcl[{number}]", text, "hcl"))

    settings = merge(fragments)
    try:
        raise_all([*problems, *settings.refusals()])
        config, warnings = _check(settings, machine, dev=flags.dev)
    except ConfigError as error:
        # A file that was left out is often why something is missing.
        left_out = [ConfigError(text) for text in skipped]
        raise_all([*left_out, *problems_of(error)] if left_out else [])
        raise
    return Loaded(config, (*skipped, *settings.notes(), *warnings), tuple(files))


def _check(settings: Settings, machine: Machine, *, dev: bool) -> tuple[AgentConfig, list[str]]:
    found = settle(settings, dev=dev, hostname=machine.hostname)
    addresses, problems = derive_addresses(settings, machine.interfaces)
    found.problems += problems
    if not problems:
        found.problems += check_listeners(settings, addresses, server=settings["server"])
    _check_data_dir(found)
    raise_all(found.problems)
    # The same names: what was settled counts more than what was merged.
    values = {path: settings[path] for path in defaults()} | found.values | addresses
    config = assemble(values, dev=dev)
    tls = config.tls
    if tls.ca_file or tls.ca_path or tls.cert_file:
        from meshnode.agent.config.tls_check import check_tls_files  # here: it loads cryptography

        def where(key: str) -> str:
            return str(settings.origin(key)) if settings.is_set(key) else ""

        broken, warnings = check_tls_files(config, machine.at, where)
        raise_all(broken)
        found.warnings += warnings
    return config, found.warnings


def _check_data_dir(found: Findings) -> None:
    text = found.settings["data_dir"]
    if not text:
        return
    path = Path(text)
    if path.exists() and not path.is_dir():
        found.problem("data_dir", f"data_dir {text} is not a directory")
    elif (path / "mdb").is_dir():
        found.problem(
            "data_dir",
            f'CRITICAL: Deprecated data folder found at "{path / "mdb"}"! It is of Consul before 0.6',
        )
    if found.settings["encrypt"] and not found.settings["disable_keyring_file"]:
        rings = [("LAN", "local.keyring"), *([("WAN", "remote.keyring")] if found.settings["server"] else [])]
        found.warnings += [
            f"WARNING: {pool} keyring exists but -encrypt given, using keyring"
            for pool, name in rings
            if (path / "serf" / name).exists()
        ]
