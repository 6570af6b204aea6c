"""``exposure``: which doors of an agent answer whom, as its configuration claims and as it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from meshnode.base.address import Address, parse_ip_address
from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.table import columns
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.exposure import (
    Answer,
    Door,
    Knock,
    Place,
    Settings,
    Way,
    call_claims,
    claims,
    differences,
)
from meshnode.prove.exposure_setups import covering, every

if TYPE_CHECKING:
    from meshnode.agent.config import AgentConfig

__all__ = ["DIFFERENT", "run", "settings_of", "table"]

#: Exit code when an agent isn't what its configuration claims.
DIFFERENT: Final = 2
_DESCRIPTION: Final = """
Tells from configuration files which doors of the agent answer whom: gossip, server RPC, HTTP, HTTPS and DNS, for
somebody on the node and for somebody on the network, in clear, with TLS and with a certificate of the mesh. It
knocks, with -observe, at the doors of the running agent from here, and prints where the two differ; nothing is changed
by that. -matrix starts agents of its own on loopback, one for each combination of what decides about doors.

Exits with 0 when everything is as claimed, and with 2 when something is not.
"""


def run(args: list[str]) -> int:
    """0 as claimed, 2 different; 1 (raised) when files or flags can't be used."""
    flags = FlagSet("exposure", "Usage: meshnode exposure [options] FILE_OR_DIRECTORY...", _DESCRIPTION)
    config_format = flags.string("config-format", "Format of every file, hcl or json, whatever it is called.")
    observing = flags.boolean("observe", "Knock at the doors of the running agent, too.")
    inside = flags.string("inside", "The node's own address.", default="127.0.0.1", placeholder="address")
    outside = flags.string(
        "outside", "The address that others use. Without it: advertise_addr.", placeholder="address"
    )
    matrix = flags.string(
        "matrix",
        "covering (every pair of settings) or full (every combination): start such agents here, and compare.",
        placeholder="which",
    )
    as_json = flags.boolean("json", "Print JSON.")
    parsed = flags.parse(args)
    if parsed[matrix]:
        return _matrix(parsed[matrix], parsed.positionals)
    if not parsed.positionals:
        raise FlagError("exposure: name the agent's configuration files, or give -matrix")
    from meshnode.agent.config import load_files  # here: help needs none of it

    config = load_files(parsed.positionals, parsed[config_format]).config
    places = {
        Place.INSIDE: parse_ip_address(parsed[inside], "-inside"),
        Place.OUTSIDE: parse_ip_address(parsed[outside] or config.addresses.advertise, "-outside"),
    }
    settings, keyring = settings_of(config), _keyring(config)
    claimed = claims(settings, places)
    seen: Mapping[Knock, Answer] = {}
    if parsed[observing]:
        from meshnode.runtime.exposure import Visitor, observe

        certificate = (config.tls.cert_file, config.tls.key_file) if config.tls.cert_file else None
        visitor = Visitor(config.identity.node_name, keyring, certificate)
        seen = asyncio.run(observe(settings, places, visitor))
    found = differences(claimed, seen)
    if parsed[as_json]:
        print(json.dumps(_as_data(claimed, seen, found), indent=4))
    else:
        print(table(settings, places, claimed, seen))
        calls = call_claims(
            verify_outgoing=config.tls.verify_outgoing,
            verify_server_hostname=config.tls.verify_server_hostname,
        )
        print(
            "\nIts calls are answered by: " + "; ".join(kind for kind, answered in calls.items() if answered)
        )
        print(_last_line(seen, found))
    return DIFFERENT if found else 0


def settings_of(config: AgentConfig) -> Settings:
    """What of a configuration decides about doors. A keyring on disk counts as a key, as it does for the agent."""
    addresses, ports, tls = config.addresses, config.ports, config.tls
    gossip = (Address(addresses.serf_lan, ports.serf_lan),)
    server = (Address(addresses.bind, ports.server),) if config.identity.server else ()
    return Settings(
        {
            Door.GOSSIP_UDP: gossip,
            Door.GOSSIP_TCP: gossip,
            Door.RPC: server,
            Door.HTTP: _bound(addresses.http, ports.http),
            Door.HTTPS: _bound(addresses.https, ports.https),
            Door.DNS: _bound(addresses.dns, ports.dns),
        },
        keyed=bool(_keyring(config)),
        encrypt_verify_incoming=config.gossip.verify_incoming,
        encrypt_verify_outgoing=config.gossip.verify_outgoing,
        certificate=bool(tls.cert_file),
        verify_incoming_rpc=tls.verify_incoming_rpc,
        verify_incoming_https=tls.verify_incoming_https,
    )


def table(
    settings: Settings,
    places: Mapping[Place, str],
    claimed: Mapping[Knock, Answer],
    seen: Mapping[Knock, Answer],
) -> str:
    """The doors, from where, and in which ways: what is claimed and, where there is any, what was seen."""
    ways: dict[tuple[Door, Place, str, str], list[Way]] = {}
    for knock, answer in claimed.items():
        came = seen.get(knock)
        mark = "" if came in (None, answer) else " <-- different"
        shown = f"{came or 'not observed'}{mark}" if seen else ""
        ways.setdefault((knock.door, knock.place, answer, shown), []).append(knock.way)
    rows = [["Door", "From", "Address", "Way", "Claimed", *(["Seen"] if seen else [])]]
    for (door, place, answer_text, shown), knocked in ways.items():
        bound = settings.address(door, places[place])
        row = [door, place, str(bound) if bound else "-", ", ".join(knocked), answer_text]
        rows.append([*row, *([shown] if seen else [])])
    return columns(rows)


def _as_data(
    claimed: Mapping[Knock, Answer], seen: Mapping[Knock, Answer], found: Sequence[str]
) -> dict[str, object]:
    doors = [
        {"door": k.door, "from": k.place, "way": k.way, "claimed": answer, "seen": seen.get(k)}
        for k, answer in claimed.items()
    ]
    return {"doors": doors, "differences": list(found)}


def _last_line(seen: Mapping[Knock, Answer], found: Sequence[str]) -> str:
    if found:
        return "\n" + "\n".join(f"DIFFERENT: {sentence}" for sentence in found)
    return (
        f"\nAS CLAIMED: {len(seen)} knocks." if seen else "\nClaimed only: -observe asks the running agent."
    )


def _bound(hosts: Sequence[str], port: int) -> tuple[Address, ...]:
    return tuple(Address(host, port) for host in hosts if port > 0 and not host.startswith("unix://"))


def _keyring(config: AgentConfig) -> Keyring:
    from meshnode.runtime.keyring_file import load_keyring

    file = config.keyring_file(wan=False)
    keys = load_keyring(file) if file is not None else []
    return Keyring(keys or ([config.gossip.encrypt] if config.gossip.encrypt else []))


def _matrix(which: str, rest: Sequence[str]) -> int:
    if which not in {"covering", "full"}:
        raise FlagError(f"-matrix: {which!r} is neither covering nor full")
    if rest:
        raise FlagError("-matrix makes its own configurations: leave out the files")
    from meshnode.cli.exposure_matrix import compare_all

    return DIFFERENT if compare_all(covering() if which == "covering" else every()) else 0
