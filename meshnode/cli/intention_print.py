"""Intentions as the ``intention`` commands print them, in the form of Consul 1.2, and how the commands name them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from meshnode.base.errors import MeshError
from meshnode.base.goflags import FlagError, Parsed
from meshnode.cli.api import ApiClient, ApiError
from meshnode.cli.table import columns

__all__ = ["EXACT", "EXPLAIN", "Row", "find_exact", "intention_table", "intention_text", "not_found", "pair_query",
           "positionals", "title"]  # fmt: skip

#: One intention as the API has it.
Row: TypeAlias = dict[str, Any]
#: Intentions by name.
EXACT: Final = "/v1/connect/intentions/exact"
#: A decision with its reasons.
EXPLAIN: Final = "/v1/connect/intentions/explain"


def title(row: Row) -> str:
    """``web => db (deny)``."""
    return _plain(f"{_end(row, 'Source')} => {_end(row, 'Destination')} ({_effect(row)})")


def intention_text(row: Row) -> str:
    """A whole intention in two columns."""
    lines = [
        ("Source:", _end(row, "Source")),
        ("Destination:", _end(row, "Destination")),
        ("Action:", _effect(row)),
        ("ID:", row.get("ID", "")),
    ]
    if row.get("Audit"):
        lines.append(("Audit:", "denials are let through and reported"))
    if row.get("Description"):
        lines.append(("Description:", row["Description"]))
    lines += [(f"Meta[{key}]:", value) for key, value in sorted((row.get("Meta") or {}).items())]
    lines.append(("Created At:", _rfc_850(row.get("CreatedAt") or "")))
    return columns([(_plain(label), _plain(text)) for label, text in lines])


def intention_table(rows: list[Row]) -> str:
    """A list with a header."""
    cells = [
        (
            row.get("ID", ""),
            _end(row, "Source"),
            _effect(row),
            _end(row, "Destination"),
            str(row.get("Precedence", "")),
        )
        for row in rows
    ]
    return columns([("ID", "Source", "Action", "Destination", "Precedence"), *cells])


def positionals(parsed: Parsed, *usages: str, before: Sequence[str] = ()) -> tuple[str, ...]:
    """The positional arguments, as many as one of ``usages`` (``SRC DST``, ``ID``) has; raises :class:`FlagError`.

    ``before``: those that stood before the flags.
    """
    given = (*before, *parsed.positionals)
    if len(given) in {len(usage.split()) for usage in usages} and all(given):
        return given
    hint = f": {parsed.misplaced()[0]} must come before them" if parsed.misplaced() else ""
    raise FlagError(f"Error: give {' or '.join(usages)}, not {len(given)} arguments{hint}")


def pair_query(source: str, destination: str) -> dict[str, str]:
    """The query that names an intention."""
    return {"source": source, "destination": destination}


def find_exact(client: ApiClient, source: str, destination: str, query: dict[str, str]) -> Row | None:
    """The intention with just these names; ``None`` when there is none."""
    try:
        found: Row = client.get_json(EXACT, pair_query(source, destination) | query)
    except ApiError as error:
        if error.status == 404 and error.body == "Intention not found":
            return None
        raise
    return found


def not_found(source: str, destination: str) -> MeshError:
    """Consul's sentence for names that no intention has."""
    return MeshError(f'Error: intention with source "{source}" and destination "{destination}" not found.')


def _plain(text: str) -> str:
    """What somebody wrote into an intention doesn't move the cursor of who reads it."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _end(row: Row, end: str) -> str:
    namespace, name = row.get(f"{end}NS") or "default", row.get(f"{end}Name") or ""
    return name if namespace == "default" else f"{namespace}/{name}"


def _effect(row: Row) -> str:
    count = len(row.get("Permissions") or ())
    return str(row.get("Action") or "") if not count else f"{count} permission{'s' if count > 1 else ''}"


def _rfc_850(text: str) -> str:
    """A time of the API in the local zone, as Go's ``time.RFC850`` has it; other texts as they are."""
    try:
        at = time.localtime(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError):
        return text
    return time.strftime("%A, %d-%b-%y %H:%M:%S %Z", at)
