"""Writes ``docs/configuration.md`` from the key table: ``python -m meshnode.agent.config.document``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from meshnode.agent.config.key import Key, Kind, Noted, Refused
from meshnode.agent.config.keys import SECTIONS, SHAPES
from meshnode.base.duration import format_duration

__all__ = ["render"]

INTRODUCTION: Final = """\
<!-- Written by `python -m meshnode.agent.config.document` from the key table. Change the table, not this file. -->
# Configuration

An agent is configured as Consul 1.2.3 is: with JSON or HCL files, flags, and text in the environment. Each key of that
release, and the later ones below, either works or is refused by name with the reason; none is ignored in silence.
`meshnode validate FILE_OR_DIR...` checks files without starting an agent.

## Sources
Weakest first; scalars are replaced, lists appended, objects merged key by key:

1. built-in defaults, then those of `-dev`;
2. flags that are lists (`-join`, `-retry-join` and the like);
3. `-config-file` and `-config-dir` in the order given. A directory is read in the order of its file names, without
   subdirectories; only `.json` and `.hcl` count, unless `-config-format` says what every file is;
4. `CONSUL_LOCAL_CONFIG`, then `MESHNODE_LOCAL_CONFIG`: JSON or HCL text in the environment;
5. all other flags, then each `-hcl` text.

## Values
Durations are texts such as `"10s"`, `"1m30s"` or `"100ms"`. Every address may be a template of go-sockaddr, such as
`{{ GetPrivateIP }}` or `{{ GetInterfaceIP "eth0" }}`. A key that is set twice in one object is an error.

**Refused** keys may be written with their default value, which changes nothing; any other value is an error.

**Reload** marks keys that `meshnode reload` or SIGHUP puts in force; the others need a restart. Certificates and
keys are read again at each reload, without breaking a connection.
"""
_HEAD: Final = "| Key | Type | Default | Flag | Reload | Meaning | Status |\n|---|---|---|---|---|---|---|"
_INNER_HEAD: Final = "| Key | Type | Default | Meaning | Status |\n|---|---|---|---|---|"


def render() -> str:
    """The whole document."""
    parts = [INTRODUCTION]
    for title, rows in SECTIONS.items():
        parts += [
            f"\n## {title}",
            _HEAD,
            *(_row(row) for row in rows if row.kind is not Kind.OBJECT or row.shape),
        ]
    for name, rows in SHAPES.items():
        parts += [f"\n## Inside a {name}", _INNER_HEAD, *_inner(rows)]
    return "\n".join(parts) + "\n"


def _row(row: Key) -> str:
    flag = f"`-{row.flag}`" if row.flag else ""
    reload = "yes" if row.reload else ""
    return f"| `{row.path}` | {row.kind.value} | {_default(row)} | {flag} | {reload} | {row.meaning} | {_status(row)} |"


def _inner(rows: Iterable[Key]) -> list[str]:
    return [
        f"| `{row.path}` | {row.kind.value} | {_default(row)} | {row.meaning} | {_status(row)} |"
        for row in rows
        if row.kind is not Kind.OBJECT or row.shape
    ]


def _default(row: Key) -> str:
    if row.shown:
        return row.shown
    match row.default:
        case None | "" | () | {}:
            return ""
        case float() if row.kind is Kind.DURATION:
            return f"`{format_duration(row.default)}`"
        case str():
            return f"`{row.default}`"
    return f"`{json.dumps(row.default)}`"


def _status(row: Key) -> str:
    match row.status:
        case Refused(reason):
            return f"refused: {reason}"
        case Noted(reason):
            return f"no effect: {reason}"
    if row.choices:
        return f"one of {', '.join(f'`{choice}`' for choice in row.choices)}"
    return "works"


if __name__ == "__main__":
    Path("docs/configuration.md").write_text(render())
