"""The flags of ``agent``: made from the key table, read as Go reads them, turned into settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from meshnode.agent.config.key import Key, Kind, Refused
from meshnode.agent.config.keys import KEYS
from meshnode.agent.config.schema import MAX_PORT, MAX_WHOLE, MIN_WHOLE, Entry, Fragment
from meshnode.base.errors import ConfigError
from meshnode.base.goflags import Flag, FlagError, FlagSet, Parsed
from meshnode.hcl.located import Origin

__all__ = ["AgentFlags", "parse_agent_flags"]

USAGE: Final = "Usage: meshnode agent [options]"
DESCRIPTION: Final = """
Starts the agent and runs until an interrupt is received. The agent is a member of the cluster: a server, which
answers questions about it, or a client, which passes them on.
"""


@dataclass(frozen=True, slots=True)
class AgentFlags:
    """What the command line of ``agent`` says.

    ``paths`` are the files and directories in the order given; ``config_format`` is ``json``, ``hcl`` or empty.
    ``lists`` come before the files, ``scalars`` after them, ``fragments`` (HCL) last.
    """

    dev: bool
    config_format: str
    paths: tuple[str, ...]
    lists: Fragment
    scalars: Fragment
    fragments: tuple[str, ...]


def parse_agent_flags(args: Sequence[str]) -> AgentFlags:
    """Read the command line; raises ``FlagError`` or ``HelpRequested``."""
    flags, by_key = _make()
    parsed = flags.parse(args)
    parsed.reject_positionals()
    lists: Fragment = {}
    scalars: Fragment = {}
    for path, flag in by_key.items():
        if parsed.given(flag):
            row, origin = KEYS[path], Origin(f"flag -{flag.name}")
            value = _value(row, parsed[flag], origin)
            items = (origin,) * len(value) if row.kind is Kind.STRINGS else ()
            (lists if row.kind is Kind.STRINGS else scalars)[path] = Entry(value, path, origin, items)
    config_format = _text(flags, parsed, "config-format")
    if config_format not in ("", "hcl", "json"):
        raise FlagError(
            f'flag -config-format: "{config_format}" is not a format: write hcl or json', key="config-format"
        )
    return AgentFlags(
        dev=bool(parsed[_named(flags, "dev")]),
        config_format=config_format,
        paths=tuple(
            str(value) for name, value in parsed.occurrences if name in ("config-file", "config-dir")
        ),
        lists=lists,
        scalars=scalars,
        fragments=tuple(parsed[_named(flags, "hcl")]),
    )


def _make() -> tuple[FlagSet, dict[str, Flag[Any]]]:
    flags = FlagSet("agent", USAGE, DESCRIPTION)
    flags.boolean("dev", "Development mode: a server in memory that listens on 127.0.0.1.")
    flags.strings("config-file", "Configuration file, .json or .hcl.", placeholder="path")
    flags.strings(
        "config-dir", "Directory of such files; read in the order of their names.", placeholder="path"
    )
    flags.string("config-format", "Format of every file, hcl or json, whatever it is called.")
    flags.strings("hcl", "HCL text; counts more than files and other flags.", placeholder="text")
    by_key = {row.path: _add(flags, row) for row in KEYS.values() if row.flag}
    return flags, by_key


def _add(flags: FlagSet, row: Key) -> Flag[Any]:
    meaning = row.meaning.replace("`", "")
    if isinstance(row.status, Refused):
        meaning += f" Refused: {row.status.reason}."
    match row.kind:
        case Kind.BOOLEAN:
            return flags.boolean(row.flag, meaning, default=bool(row.default))
        case Kind.INTEGER | Kind.PORT:
            return flags.integer(row.flag, meaning, default=row.default, minimum=MIN_WHOLE, maximum=MAX_WHOLE)
        case Kind.DURATION:
            return flags.duration(row.flag, meaning, default=row.default)
        case Kind.STRINGS:
            return flags.strings(row.flag, meaning)
        case Kind.STRING_MAP:
            return flags.strings(row.flag, meaning, placeholder="key:value")
    return flags.string(row.flag, meaning, default=row.default if not row.shown else "")


def _value(row: Key, value: Any, origin: Origin) -> Any:
    if row.kind is Kind.STRING_MAP:
        return dict(_pair(row, text) for text in value)
    if row.kind is Kind.PORT:
        if value > MAX_PORT:
            raise ConfigError(
                f"{row.path}: invalid port: {value}: the highest is {MAX_PORT}",
                key=row.path,
                where=str(origin),
            )
        return value if value > 0 else -1
    if row.choices:
        folded = {choice.lower(): choice for choice in row.choices}
        wanted = {"error": "err", "warning": "warn"}.get(str(value).lower(), str(value).lower())
        if wanted not in folded:
            accepted = ", ".join(row.choices)
            raise FlagError(
                f'flag -{row.flag}: "{value}" can\'t be used: write one of {accepted}', key=row.flag
            )
        return value if row.kind is Kind.INTEGER else folded[wanted]
    return value


def _pair(row: Key, text: str) -> tuple[str, str]:
    """``key:value``; a key alone has an empty value (Consul)."""
    name, _, value = text.partition(":")
    if not name:
        raise FlagError(f'flag -{row.flag}: "{text}" has no key: write key:value', key=row.flag)
    return name, value


def _named(flags: FlagSet, name: str) -> Flag[Any]:
    flag = flags.named(name)
    assert flag is not None
    return flag


def _text(flags: FlagSet, parsed: Parsed, name: str) -> str:
    return str(parsed[_named(flags, name)])
