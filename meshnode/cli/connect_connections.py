"""``connect connections``: what the proxies of the agent's node have open, have ended and have refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from meshnode.base.duration import format_duration
from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.base.goflags import FlagSet
from meshnode.base.spiffe import ServiceId, parse_spiffe_id
from meshnode.cli.api import ApiClient, ApiError
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.intention_print import EXPLAIN, pair_query
from meshnode.cli.output import FormatFlag, labelled, print_json
from meshnode.cli.table import columns

__all__ = ["PATH", "cached_decisions", "cached_text", "explain_connection", "run"]

PATH: Final = "/v1/agent/connect/connections"
#: Factors of the units that bytes are shown in.
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")

Row: TypeAlias = dict[str, Any]


def run(args: list[str]) -> int:
    """Print a table for each kind of connection asked for."""
    flags = FlagSet(
        "connect connections",
        "Usage: meshnode connect connections [options]",
        "Lists the connections that go through the proxies of the agent's node: who with whom, allowed by what. With "
        "-closed those that have ended, and why; with -refused those that were not let through, and why. "
        "'meshnode intention explain -connection ID -proxy PROXY' tells all about one.",
    )
    service = flags.string("service", "Only proxies of this service.", placeholder="name")
    proxy = flags.string("proxy", "Only the proxy with this ID.", placeholder="id")
    closed = flags.boolean("closed", "List connections that have ended, the latest of each proxy.")
    refused = flags.boolean("refused", "List connections that were refused, the latest of each proxy.")
    output, client_flags = FormatFlag(flags), ClientFlags(flags)
    parsed = flags.parse(args[1:])
    parsed.reject_positionals()
    as_json = output.is_json(parsed)
    query = {flag.name: parsed[flag] for flag in (service, proxy) if parsed[flag]}
    answer = _asked(client_flags.client(parsed, "Error retrieving connections"), query)
    if as_json:
        print_json(answer)
        return 0
    if not answer["Proxies"]:
        print("No proxy reports to this agent." if not query else "No such proxy reports to this agent.")
        return 0
    wanted = [name for name, flag in (("Closed", closed), ("Refused", refused)) if parsed[flag]] or [
        "Connections"
    ]
    print("\n\n".join(_table(name, answer[name]) for name in wanted))
    return 0


def explain_connection(client: ApiClient, connection: int, proxy: str, *, as_json: bool) -> int:
    """Print what the node's proxies, or the one named, know of a connection: allowed or refused, by what.

    Raises :class:`MeshError` when nothing is known.
    """
    answer = _asked(client, {"id": str(connection)} | ({"proxy": proxy} if proxy else {}))
    found = {
        name: [row for row in answer[name] if connection in (row.get("ID"), row.get("Connection"))]
        for name in ("Connections", "Closed", "Refused")
    }
    if not any(found.values()):
        whose = f"Proxy {proxy} does not know" if proxy else "No proxy of this node knows"
        raise MeshError(
            f"{whose} connection {connection}: ids are those of 'meshnode connect connections' "
            "and of the proxy's log. The latest 256 that have ended, and as many refused ones, are kept."
        )
    if as_json:
        print_json(found)
        return 0
    told = [
        *(_live_text(row) for row in found["Connections"]),
        *(_closed_text(row) for row in found["Closed"]),
        *(_refused_text(row) for row in found["Refused"]),
    ]
    outbound = [
        row for row in (*found["Connections"], *found["Closed"]) if row.get("Direction") == "outbound"
    ]
    pairs = dict.fromkeys((_name(row.get("Source")), _name(row.get("Destination"))) for row in outbound)
    told += [_intentions_text(client, *pair) for pair in pairs]
    print("\n\n".join(told))
    return 0


def _intentions_text(client: ApiClient, source: str, destination: str) -> str:
    """Who decides about what goes out is the other side; what it goes by is the same for all."""
    try:
        answer = client.get_json(EXPLAIN, pair_query(source, destination))
    except ApiError as error:
        return f"The other side decides. What intentions say can't be read here: {error.body.strip() or error.status}"
    return "\n".join(["The other side decides. Now it goes by:", *answer["Text"]])


def cached_decisions(client: ApiClient, source: str, destination: str) -> list[Row]:
    """What the node's proxies of ``destination`` remember of ``source``; nothing where the agent can't tell."""
    # As people write them, ``default/web`` too; what proxies tell has one namespace.
    source, destination = (name.rpartition("/")[2] for name in (source, destination))
    try:
        found = client.get_json(PATH, {"service": destination}).get("Decisions") or []
    except ApiError:
        return []
    return [row for row in found if _name(row.get("Source")) == source]


def cached_text(rows: Sequence[Row]) -> list[str]:
    """A line for each: what is remembered, since when, and whether it is used without asking."""
    lines = []
    for row in rows:
        word = "allowed" if row.get("Allowed") is True else "denied"
        word = "each request by its permissions" if row.get("PerRequest") is True else word
        use = "used without asking" if row.get("Fresh") is True else "asked again before it is used"
        lines.append(f"{_text(row, 'ProxyID')} remembers, {_age(row, 'Age')} old: {word}, {use}")
    return lines


def _asked(client: ApiClient, query: dict[str, str]) -> dict[str, list[Row]]:
    answer = client.get_json(PATH, query)
    return {name: answer.get(name) or [] for name in ("Proxies", "Connections", "Closed", "Refused")}


# Tables


def _table(name: str, rows: Sequence[Row]) -> str:
    header, cells, nothing = _TABLES[name]
    return columns([header, *(cells(row) for row in rows)]) if rows else nothing


def _live_cells(row: Row) -> tuple[str, ...]:
    return (
        *_ends(row),
        _age(row, "Age"),
        _size(row, "BytesIn"),
        _size(row, "BytesOut"),
        _text(row, "Because"),
    )


def _closed_cells(row: Row) -> tuple[str, ...]:
    times = _age(row, "EndedAgo"), _age(row, "Age")
    return (*_ends(row), *times, _size(row, "BytesIn"), _size(row, "BytesOut"), _text(row, "CloseCause"))


def _refused_cells(row: Row) -> tuple[str, ...]:
    who = _text(row, "ID"), _text(row, "ProxyID"), _text(row, "Listener"), _name(row.get("Source"))
    request = _text(row, "Request") if row.get("Request") else "-"
    return (*who, _text(row, "Peer"), _age(row, "Ago"), _text(row, "Kind"), request, _text(row, "Because"))


def _ends(row: Row) -> tuple[str, ...]:
    names = _name(row.get("Source")), _name(row.get("Destination"))
    return (_text(row, "ID"), _text(row, "ProxyID"), _text(row, "Direction"), *names, _text(row, "Peer"))


_ENDS: Final = ("ID", "Proxy", "Direction", "Source", "Destination", "Peer")
_TABLES: Final[dict[str, tuple[tuple[str, ...], Callable[[Row], tuple[str, ...]], str]]] = {
    "Connections": (
        (*_ENDS, "Age", "In", "Out", "Allowed because"), _live_cells, "No connections are open.",
    ),
    "Closed": (
        (*_ENDS, "Ended", "Lasted", "In", "Out", "Cause"), _closed_cells, "No connections have ended.",
    ),
    "Refused": (
        ("ID", "Proxy", "Listener", "Source", "Peer", "Ago", "Kind", "Request", "Because"),
        _refused_cells, "No connections were refused.",
    ),
}  # fmt: skip


# One connection


def _live_text(row: Row) -> str:
    return labelled([("Connection:", f"{row['ID']}, open for {_age(row, 'Age')}"), *_facts(row)])


def _closed_text(row: Row) -> str:
    ended = f"{row['ID']}, ended {_age(row, 'EndedAgo')} ago after {_age(row, 'Age')}"
    return labelled([("Connection:", ended), *_facts(row), ("Ended because:", _text(row, "CloseCause"))])


def _refused_text(row: Row) -> str:
    asked = [_text(row, "Request")] if row.get("Request") else []
    asked += [f"on connection {_text(row, 'Connection')}"] if row.get("Connection") else []
    return labelled(
        [
            (
                "Request:" if asked else "Connection:",
                f"{row['ID']}, refused {_age(row, 'Ago')} ago ({_text(row, 'Kind')})",
            ),
            *([("Asked:", ", ".join(asked))] if asked else []),
            ("Proxy:", f"{_text(row, 'ProxyID')}, listener {_text(row, 'Listener')}"),
            ("Source:", _text(row, "Source")),
            ("Peer:", _text(row, "Peer")),
            *([("Rule:", _text(row, "Rule"))] if row.get("Rule") else []),
            ("Refused because:", _text(row, "Because")),
        ]
    )


def _facts(row: Row) -> list[tuple[str, str]]:
    return [
        ("Proxy:", f"{_text(row, 'ProxyID')}, listener {_text(row, 'Listener')}, {_text(row, 'Direction')}"),
        ("Source:", _text(row, "Source")),
        ("Destination:", _text(row, "Destination")),
        ("Peer:", f"{_text(row, 'Peer')}, certificate {_text(row, 'Serial')}"),
        *([("Known there as:", _text(row, "Local"))] if row.get("Local") else []),
        ("Bytes:", f"{row.get('BytesIn', 0)} from the mesh, {row.get('BytesOut', 0)} to it"),
        *([("Rule:", _text(row, "Rule"))] if row.get("Rule") else []),
        ("Allowed because:", _text(row, "Because")),
    ]


# Cells


def _text(row: Row, name: str) -> str:
    text = str(row.get(name, ""))
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text) or "-"


def _name(uri: Any) -> str:
    """A service's name for its SPIFFE ID; the whole of what is none."""
    try:
        identity = parse_spiffe_id(str(uri or ""))
    except RemoteProtocolError:
        return _text({"uri": uri or ""}, "uri")
    return identity.service if isinstance(identity, ServiceId) else str(identity)


def _age(row: Row, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, int | float):
        return "-"
    return format_duration(round(float(value), 3 if value < 1 else 1 if value < 10 else 0))


def _size(row: Row, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, int | float):
        return "-"
    size, unit = float(value), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f}{_UNITS[unit]}" if unit else f"{int(size)}B"
