"""``connect ca rotation``: how far a rotation of the service mesh's root is, and what is done about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from meshnode.base.errors import MeshError
from meshnode.base.goflags import Flag, FlagError, FlagSet, Parsed
from meshnode.cli.api import ApiClient
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.output import FormatFlag, labelled, print_json
from meshnode.cli.table import columns

__all__ = ["PATH", "run"]

PATH: Final = "/v1/connect/ca/rotation"
#: Seconds that one question waits for a change, and for its answer: the agent adds up to a sixteenth.
WAIT_SECONDS: Final = 60
ANSWER_TIMEOUT: Final = 90.0
#: Characters of a root's id that tell it apart: five bytes.
SHORT_ID: Final = 14
_ACTIONS: Final = {
    "start": "Make a new root, and begin to put it in the place of the present one.",
    "pause": "Stop the rotation in its phase.",
    "resume": "Let it go on.",
    "abort": "Give it up, with the new root. Not possible once that signs.",
    "distrust": "Trust the old root no more, at once. Who has a leaf of it is cut, and refused until it has a new one.",
}
_DONE: Final = {
    "start": "Rotation started.",
    "pause": "Rotation paused.",
    "resume": "Rotation resumed.",
    "abort": "Rotation given up: the root stays as it is.",
    "distrust": "Old root distrusted: nodes ask for new leaves now.",
}
_FAILING: Final = "Error rotating the CA's root"
_QUERYING: Final = "Error querying the rotation of the CA's root"


class _RotationFlags:
    def __init__(self) -> None:
        self.set = FlagSet(
            "connect ca rotation",
            "Usage: meshnode connect ca rotation [options]",
            "Shows how far the rotation of the certificate authority's root is: its phase, who is waited for, and what "
            "each node trusts. The phases are distribute, acknowledge, switch, reissue and retire. A pause before the "
            "switch keeps the new root from signing, one after it keeps the old root trusted.",
        )
        self.actions: dict[str, Flag[bool]] = {
            name: self.set.boolean(name, meaning) for name, meaning in _ACTIONS.items()
        }
        self.force = self.set.boolean("force", "With -start: wait for no node before the switch.")
        self.paused = self.set.boolean(
            "paused", "With -start: nodes learn the new root, -resume does the rest."
        )
        self.dry_run = self.set.boolean(
            "dry-run", "Print what -start would do, a line a step, and do nothing."
        )
        self.watch = self.set.boolean("watch", "Print a line at each change, until the rotation is over.")
        self.output = FormatFlag(self.set)
        self.client = ClientFlags(self.set, server=True)

    def action(self, parsed: Parsed) -> str:
        """The one that was asked for, or the empty text. Raises :class:`FlagError`."""
        given = [name for name, flag in self.actions.items() if parsed[flag]]
        if len(given) > 1:
            raise FlagError(f"-{given[0]} and -{given[1]} exclude each other: give one of them")
        action = given[0] if given else ""
        for flag, name in ((self.force, "force"), (self.paused, "paused")):
            if parsed[flag] and action != "start":
                raise FlagError(f"-{name} belongs to -start")
        if parsed[self.dry_run] and (action not in {"", "start"} or parsed[self.watch]):
            other = action if action not in {"", "start"} else "watch"
            raise FlagError(f"-dry-run tells what -start would do: leave out -{other}")
        return action


def run(args: list[str]) -> int:
    """Carry out the action, if there is one, then show the rotation."""
    flags = _RotationFlags()
    parsed = flags.set.parse(args[2:])
    parsed.reject_positionals()
    action, as_json = flags.action(parsed), flags.output.is_json(parsed)
    query, write_query = flags.client.query(parsed), flags.client.write_query(parsed)
    if parsed[flags.dry_run]:
        client = flags.client.client(parsed, _FAILING)
        plan = client.send_json("PUT", PATH, {"Action": "start"}, write_query | {"dry-run": ""})["Plan"]
        print_json(plan) if as_json else print("\n".join(plan))
        return 0
    if action:
        body = {"Action": action, "Force": parsed[flags.force], "Paused": parsed[flags.paused]}
        flags.client.client(parsed, _FAILING).call("PUT", PATH, write_query, json.dumps(body).encode())
        if not as_json:
            print(_DONE[action], flush=True)
    client = flags.client.client(parsed, _QUERYING)
    if parsed[flags.watch]:
        return _watch(client, query, as_json=as_json)
    if as_json:
        print_json(client.get_json(PATH, query))
    elif not action:
        print(_shown(client.get_json(PATH, query)))
    return 0


def _watch(client: ApiClient, query: Mapping[str, str], *, as_json: bool) -> int:
    """Tell each change until no rotation is left."""
    waiting: dict[str, str] = {}
    told = ""
    while True:
        answer = client.exchange("GET", PATH, {**query, **waiting}, timeout=ANSWER_TIMEOUT)
        if answer.status != 200:
            raise MeshError(f"{_QUERYING}: {answer.refusal}")
        try:
            found = json.loads(answer.body)
        except ValueError:
            raise MeshError(f"{_QUERYING}: {PATH} is not JSON") from None
        line = json.dumps(found, indent=4) if as_json else _line(found)
        if line != told:
            told = line
            print(line, flush=True)
        if not found["Phase"]:
            return 0
        if not answer.index.isdecimal():
            raise MeshError(f"{_QUERYING}: what answers can't be watched: it sent no X-Consul-Index")
        # An index that went back is of another life of the cluster: begin again.
        went_back = int(answer.index) < int(waiting.get("index", "0"))
        waiting = {} if went_back else {"index": answer.index, "wait": f"{WAIT_SECONDS}s"}


def _line(found: Mapping[str, Any]) -> str:
    phase = found["Phase"]
    return f"{phase}: {found['Status']}" if phase else f"{found['Status']}"


def _shown(found: Mapping[str, Any]) -> str:
    if not found["Phase"]:
        head = f"No rotation is running.{_over(found)}"
    else:
        rows = [
            ("Phase", found["Phase"] + (" (paused)" if found["Paused"] else "")),
            ("Status", found["Status"]),
            ("From root", found["OldRootID"]),
            ("To root", found["NewRootID"]),
            ("Started", found["Started"]),
            ("In this phase since", found["Since"]),
        ]
        if found["RetiresBy"]:
            rows.append(("Old root goes by", found["RetiresBy"]))
        head = labelled(rows)
    if not found["Nodes"]:
        return head
    header = ("Node", "Alive", "Trusts", "Leaves of")
    return f"{head}\n\n{columns([header, *(_node(row, found) for row in found['Nodes'])])}"


def _over(found: Mapping[str, Any]) -> str:
    """That the root which signs has expired. Servers of an earlier version don't tell when it does."""
    ends = str(found.get("ActiveRootEnds") or "")
    if not ends or datetime.fromisoformat(ends) > datetime.now(UTC):
        return ""
    return (
        f"\nThe root {found['ActiveRoot']} ended at {ends}: nobody takes a certificate of it. The leader puts\n"
        "another one in its place by itself; its log says what keeps it from that."
    )


def _node(row: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of the table: what the rotation is about by name, other roots by the beginning of their ids."""
    names = {found["OldRootID"]: "old", found["NewRootID"]: "new"} if found["Phase"] else {}

    def roots(ids: list[str]) -> str:
        known = [word for root, word in names.items() if root in ids]
        return " ".join([*known, *(each[:SHORT_ID] for each in ids if each not in names)]) or "-"

    return row["Node"], "yes" if row["Alive"] else "no", roots(row["Roots"]), roots(row["LeafRoots"])
