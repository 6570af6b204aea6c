"""The rows of ``/v1/agent/certs``: every certificate of the node, the days it has left, and who presents it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from meshnode.base.errors import ConfigError
from meshnode.connect.leaf import Leaf, TrustedRoot
from meshnode.pki import bundle

__all__ = ["certificate_rows"]

_DAY: Final = 86400.0


def certificate_rows(
    own: Sequence[Mapping[str, Any]],
    leaves: Sequence[Leaf],
    roots: Sequence[TrustedRoot],
    served: Mapping[str, Mapping[str, str]],
    at: float,
) -> list[dict[str, Any]]:
    """The rows of ``/v1/agent/certs``: the agent's own certificates, the leaves of services, the roots.

    ``DaysLeft`` is negative when the time is over; ``Served`` maps a listener to the serial number that it presents.
    """
    rows = [
        {
            "Kind": "agent",
            "Name": row["File"],
            "Issuer": row["Issuer"],
            "Serial": row["Serial"],
            "NotAfter": row["NotAfter"],
            "DaysLeft": _days(datetime.fromisoformat(row["NotAfter"]).timestamp(), at),
            "Served": {name: serial for name, serial in row["Served"].items() if serial},
        }
        for row in own
    ]
    rows += [
        _row("leaf", leaf.service, leaf.certificate_pem, at, served.get(leaf.service, {})) for leaf in leaves
    ]
    rows += [_row("root", str(root.row.get("Name", root.id)), root.certificate_pem, at, {}) for root in roots]
    return rows


def _row(kind: str, name: str, pem: str, at: float, served: Mapping[str, str]) -> dict[str, Any]:
    try:
        found = bundle.describe(pem)
    except ConfigError as error:
        return {"Kind": kind, "Name": name, "Error": str(error), "Served": {}}
    ends = datetime.fromisoformat(found.not_after)
    serial = f"0{found.serial}" if len(found.serial) % 2 else found.serial
    return {
        "Kind": kind,
        "Name": name,
        "Issuer": found.issuer,
        "Serial": bytes.fromhex(serial).hex(":"),
        "NotAfter": ends.astimezone(UTC).isoformat(),
        "DaysLeft": _days(ends.timestamp(), at),
        "Served": dict(served),
    }


def _days(ends: float, at: float) -> float:
    # Leaves may live for seconds: a millionth of a day is a tenth of one.
    return round((ends - at) / _DAY, 6)
