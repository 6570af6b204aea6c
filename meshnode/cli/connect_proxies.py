"""``connect proxies``: the Envoys on the agent's gRPC port, and how far each of them is."""

from __future__ import annotations

from typing import Any, Final

from meshnode.base.goflags import FlagSet
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.output import FormatFlag, print_json
from meshnode.cli.table import columns

__all__ = ["PATH", "run"]

PATH: Final = "/v1/agent/connect/envoys"


def run(args: list[str]) -> int:
    """Print a row for each type of each Envoy, then what was refused."""
    flags = FlagSet(
        "connect proxies",
        "Usage: meshnode connect proxies [options]",
        "Lists the Envoys that are connected to the agent: for each type of configuration what was sent, what Envoy "
        "has applied, how long that took or is taking, and why Envoy refused what it refused. Built-in proxies are "
        "listed by 'meshnode connect connections'.",
    )
    proxy = flags.string("proxy", "Only the proxy with this ID.", placeholder="id")
    output, client_flags = FormatFlag(flags), ClientFlags(flags)
    parsed = flags.parse(args[1:])
    parsed.reject_positionals()
    rows = client_flags.client(parsed, "Error retrieving proxies").get_json(PATH)
    rows = [row for row in rows if parsed[proxy] in ("", row["ProxyID"])]
    if output.is_json(parsed):
        print_json(rows)
    elif not rows:
        print("No Envoy is connected to this agent." if not parsed[proxy] else "No such Envoy is connected.")
    else:
        header = ("Proxy", "Service", "Type", "Resources", "Sent", "Applied", "Lag")
        print(columns([header, *(_line(row, each) for row in rows for each in row["Types"])]))
        for line in (line for row in rows for line in _complaints(row)):
            print(f"\n{line}")
    return 0


def _line(row: dict[str, Any], each: dict[str, Any]) -> tuple[str, ...]:
    applied = "REFUSED" if each["Nack"] else each["Applied"] or "-"
    lag = f"{each['Lag'] * 1000:.1f}ms"
    return (
        row["ProxyID"],
        row["Service"],
        each["Type"],
        str(each["Resources"]),
        each["Version"] or "-",
        applied,
        lag,
    )


def _complaints(row: dict[str, Any]) -> list[str]:
    found = [
        f"{row['ProxyID']}: Envoy refuses {each['Type']} {each['NackVersion']}, and keeps "
        f"{each['Applied'] or 'nothing'}: {_printable(each['Nack'])}"
        for each in row["Types"]
        if each["Nack"]
    ]
    return [*found, *([f"{row['ProxyID']}: {_printable(row['Problem'])}"] if row["Problem"] else [])]


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
