"""Writes ``docs/compatibility.md``: ``python -m tests.support.compatibility``, from the root of the repository.

What there is to be compatible with is ``contract.json``: routes, commands and keys of Consul 1.2.3. What we do with
each is read from the program's own tables. Which test proves it is ``proofs.json``: file -> test -> what it proves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from meshnode.agent.config.key import Key, Kind, Noted, Refused, Works
from meshnode.agent.config.keys import KEYS, SHAPES
from meshnode.cli.main import COMMANDS, NOT_IN_THIS_RELEASE
from meshnode.http.routes import ROUTES

__all__ = ["DOCUMENT", "Row", "contract", "missing", "proofs", "render", "rows"]

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = ROOT / "docs" / "compatibility.md"
_HERE: Final = Path(__file__).parent

WORKS: Final = "works"
READ: Final = "works, read only"
REFUSED: Final = "refused"
LATER: Final = "not in this release"
NO_EFFECT: Final = "no effect"
UNPROVED: Final = "built, not proved"
STATES: Final = (WORKS, READ, UNPROVED, REFUSED, NO_EFFECT, LATER)

#: What a key without a proof of its own has: that it is read, checked and handed to the part that uses it.
_UNIT: Final = "tests/unit/meshnode"
READING: Final = {
    "": f"{_UNIT}/agent/config/test_keys.py::test_each_key_works_and_reaches_the_model_or_says_why_not",
    "service": f"{_UNIT}/local/test_parse.py::test_the_configured_form_gives_the_same_service_in_either_spelling",
    "check": f"{_UNIT}/local/test_parse_checks.py::test_every_way_to_run_a_check_is_read_in_both_forms",
    "watch": f"{_UNIT}/watch/test_plan.py::test_what_is_asked",
}
#: Why what is known and not built is missing; by the beginning of a route, or the first word of a command.
REASONS: Final = {
    "/debug/pprof/": "there is no Go runtime to profile",
    "connect": "the service mesh is not built yet",
    "debug": "not built yet",
    "login": "auth methods are not built yet",
    "logout": "auth methods are not built yet",
}
#: The routes outside /v1 that are not in the router's table: the root and the web page.
_OUTSIDE: Final = ("GET /", "GET /ui/")
#: Commands that Consul never had.
_OWN: Final = frozenset(
    {
        "certs",
        "connect ca rotation",
        "connect connections",
        "exposure",
        "overhead",
        "prove",
        "tls-proxy",
        "tap",
    }
)
#: Routes outside /v1 that will not come.
NEVER: Final = frozenset({"/debug/pprof/"})
_NOT_YET: Final = "not in this release: "

INTRODUCTION: Final = """\
<!-- Written by `make docs` from contract.json and proofs.json in tests/support and from the program's own tables. -->
# Compatibility with Consul 1.2.3

Every route, command and configuration key of Consul 1.2.3, and what there is of later releases (*later*) and of our own
(*own*).

| state | meaning |
|---|---|
| works | does what Consul's does; the test beside it proves it |
| works, read only | a key that is read, checked and handed to who uses it; no test looks at its effect alone |
| built, not proved | no test is named for it: the build fails |
| refused | a value other than the default is an error that gives the reason; a route is unknown |
| no effect | accepted, and nothing comes of it |
| not in this release | a route under /v1 answers 501, a command fails, a key is refused, each by name |

What is not listed is unknown: a route answers 404, a command exits with 127, a key is an error that names the nearest
one. Consul Enterprise's own routes and commands are unknown too.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: ``since`` is empty for 1.2.3, else ``later`` or ``own``; ``because`` is a test where it works."""

    name: str
    since: str
    state: str
    because: str


def contract() -> Mapping[str, list[str]]:
    """``routes`` (``GET /v1/kv/:key``), ``commands`` and ``keys`` of Consul 1.2.3."""
    loaded: Mapping[str, list[str]] = json.loads((_HERE / "contract.json").read_text())
    return loaded


def proofs() -> dict[str, str]:
    """Route, command or key -> ``file::test``. A route is named as in the router's table."""
    stored = json.loads((_HERE / "proofs.json").read_text())
    found: dict[str, str] = {}
    for file, tests in stored.items():
        for test, names in tests.items():
            for name in names:
                assert name not in found, f"{name} is proved twice: by {found[name]} and {file}::{test}"
                found[name] = f"{file}::{test}"
    return found


def rows() -> dict[str, list[Row]]:
    """The rows of each table."""
    known = proofs()
    return {
        "Routes": list(_routes(known)),
        "Commands": list(_commands(known)),
        "Configuration keys": list(_keys(known)),
    }


def missing() -> dict[str, list[str]]:
    """What the contract names and none of our tables knows."""
    listed = contract()
    routes = {_shape(f"{method} {route.pattern}") for route in ROUTES for method in route.methods}
    commands = {*COMMANDS, *NOT_IN_THIS_RELEASE}
    commands |= {name for name in listed["commands"] if name.split()[0] in NOT_IN_THIS_RELEASE}
    keys = {name for name, _ in _every_key()}
    outside = [*_OUTSIDE, *(f"GET {path}" for path in REASONS if not path.startswith("/v1"))]
    return {
        "routes": [name for name in listed["routes"] if _shape(name) not in routes and name not in outside],
        "commands": [name for name in listed["commands"] if name not in commands],
        "keys": [name for name in listed["keys"] if name not in keys],
    }


def _routes(known: Mapping[str, str]) -> Iterator[Row]:
    listed = contract()["routes"]
    shapes = {_shape(name) for name in listed}
    for route in ROUTES:
        for method, handler in route.methods.items():
            name = f"{method} {route.pattern}"
            since = "" if _shape(name) in shapes else "later"
            if handler is None:
                yield Row(name, since, LATER, _reason(route.pattern))
            else:
                yield _built(name, since, known)
    for name in listed:
        path = name.partition(" ")[2]
        if name in _OUTSIDE:
            yield Row(name, "", WORKS, known[name])
        elif not path.startswith("/v1/"):
            yield Row(name, "", REFUSED if path in NEVER else LATER, _reason(path))


def _built(name: str, since: str, known: Mapping[str, str]) -> Row:
    proof = known.get(name, "")
    return Row(name, since, WORKS if proof else UNPROVED, proof or "name a test in tests/support/proofs.json")


def _shape(name: str) -> str:
    """A route without the names of its open parts."""
    return re.sub(r"[:*]\w+", ":", name)


def _reason(name: str) -> str:
    return next(reason for beginning, reason in REASONS.items() if name.startswith(beginning))


def _commands(known: Mapping[str, str]) -> Iterator[Row]:
    listed = contract()["commands"]
    for name in sorted({*COMMANDS, *listed, *NOT_IN_THIS_RELEASE}):
        since = "" if name in listed else "own" if name in _OWN else "later"
        if name in COMMANDS:
            yield _built(name, since, known)
        else:
            yield Row(name, since, LATER, REASONS[name.split()[0]])


def _keys(known: Mapping[str, str]) -> Iterator[Row]:
    listed = contract()["keys"]
    for name, key in _every_key():
        since = "" if name in listed else "own" if name.startswith("state_log.") else "later"
        match key.status:
            case Refused(reason) if reason.startswith(_NOT_YET):
                yield Row(name, since, LATER, reason.removeprefix(_NOT_YET))
            case Refused(reason):
                yield Row(name, since, REFUSED, reason)
            case Noted(reason):
                yield Row(name, since, NO_EFFECT, reason)
            case Works() if name in known:
                yield Row(name, since, WORKS, known[name])
            case Works():
                yield Row(name, since, READ, READING[name.partition(".")[0] if name not in KEYS else ""])


def _every_key() -> Iterator[tuple[str, Key]]:
    """Each key that holds a value; what is inside a definition is named ``service.port``.

    What is inside something that is refused as a whole is left out.
    """
    for path, row in KEYS.items():
        if row.kind is not Kind.OBJECT or row.shape:
            yield path, row
    refused = {
        row.shape: row.status for row in KEYS.values() if row.shape and isinstance(row.status, Refused)
    }
    for shape, inner in SHAPES.items():
        parents = {row.parent for row in inner}
        for row in inner:
            if row.path not in parents:
                yield f"{shape}.{row.path}", _refused(row, refused.get(shape))


def _refused(row: Key, status: Refused | None) -> Key:
    if status is None:
        return row
    return Key(row.path, row.kind, row.default, row.meaning, status)


def render() -> str:
    """The whole document."""
    tables = rows()
    parts = [INTRODUCTION, "| | " + " | ".join(STATES) + " |", "|---|" + "---|" * len(STATES)]
    for title, table in tables.items():
        counts = [sum(row.state == state for row in table) for state in STATES]
        parts.append(f"| {title} | " + " | ".join(map(str, counts)) + " |")
    for title, table in tables.items():
        parts += [f"\n## {title}", "| Name | Since | State | Test, or reason |", "|---|---|---|---|"]
        parts += _lines(table)
    return "\n".join(parts) + "\n"


def _lines(table: Iterable[Row]) -> Iterator[str]:
    for row in table:
        because: Any = f"`{row.because}`" if "::" in row.because else row.because
        yield f"| `{row.name}` | {row.since} | {row.state} | {because} |"


if __name__ == "__main__":
    DOCUMENT.write_text(render())
