"""``certs``: every certificate of the agent's node, how long it is good for, and what its listeners present."""

from __future__ import annotations

from typing import Any, Final

from meshnode.base.goflags import FlagSet
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.output import FormatFlag, print_json
from meshnode.cli.table import columns

__all__ = ["EXIT_DUE", "run"]

#: Exit code when a certificate is over, or has fewer days left than ``-min-days``.
EXIT_DUE: Final = 2


def run(args: list[str]) -> int:
    """Print the table; exit code 2 when one is due, for monitoring."""
    flags = FlagSet(
        "certs",
        "Usage: meshnode certs [options]",
        "Lists the certificates of the agent's node: its own, the leaves of its services and the roots that it trusts. "
        "A listener that presents another certificate than the newest one is marked. Exit code 2: one is over, has "
        "fewer days left than -min-days, or isn't the one that is presented.",
    )
    minimum = flags.integer("min-days", "Days that must be left.", minimum=0, maximum=36500)
    shape, client_flags = FormatFlag(flags), ClientFlags(flags)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    as_json = shape.is_json(parsed)
    rows = client_flags.client(parsed, "Error retrieving certificates").get_json("/v1/agent/certs")
    if as_json:
        print_json(rows)
    elif not rows:
        print("This node has no certificates.")
    else:
        print(
            columns([("Kind", "Name", "Serial", "Days left", "Presented by"), *(_line(row) for row in rows)])
        )
    return EXIT_DUE if any(_is_due(row, parsed[minimum]) for row in rows) else 0


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    if "Error" in row:
        return row["Kind"], row["Name"], "-", "-", row["Error"]
    return row["Kind"], row["Name"], row["Serial"], f"{row['DaysLeft']:.2f}", _presented(row) or "-"


def _presented(row: dict[str, Any]) -> str:
    return ", ".join(
        name if serial == row["Serial"] else f"{name} (ANOTHER ONE: {serial})"
        for name, serial in sorted(row["Served"].items())
    )


def _is_due(row: dict[str, Any], least: int) -> bool:
    if "Error" in row:
        return True
    stale = any(serial != row["Serial"] for serial in row["Served"].values())
    return stale or row["DaysLeft"] <= 0 or row["DaysLeft"] < least
