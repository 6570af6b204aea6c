# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a server becomes a member of etcd's cluster: decided from what the other members say, and from nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

#: In the settings file: what was written, so that a later run knows what a process was started with.
SETTINGS_DIGEST = "MESHNODE_SETTINGS_DIGEST"

#: An option of modules, for C(server_named).
SERVERS_OPTION: dict[str, dict[str, Any]] = {
    "servers": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "client": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "peer": {"type": "str", "required": True},
        },
    },
}

Step = Literal["begin", "join", "add", "replace", "wait"]


class MemberError(Exception):
    """The server is no healthy member; the text says why and what to do."""


@dataclass(frozen=True)
class Server:
    """A server of the inventory: its name, and the URLs that its etcd is to be reached by."""

    name: str
    client: str
    peer: str


@dataclass(frozen=True)
class Listed:
    """A member as the cluster knows it. One that has never run has told no URLs for clients; a learner has no vote."""

    number: int
    name: str
    peers: tuple[str, ...]
    clients: tuple[str, ...]
    learner: bool = False

    @property
    def started(self) -> bool:
        return bool(self.clients)


def server_named(options: Iterable[Mapping[str, str]], name: str) -> tuple[tuple[Server, ...], Server]:
    """All servers of a module's options, and the one of that name; raises MemberError when there is none."""
    servers = tuple(Server(one["name"], one["client"], one["peer"]) for one in options)
    for server in servers:
        if server.name == name:
            return servers, server
    raise MemberError(f"name: {name} is not one of the servers: {', '.join(one.name for one in servers)}")


def parse_members(text: str) -> list[Listed]:
    """The answer of C(etcdctl member list -w json)."""
    try:
        answer = json.loads(text)
        return [
            Listed(
                int(entry["ID"]),
                str(entry.get("name") or ""),
                tuple(entry.get("peerURLs") or ()),
                tuple(entry.get("clientURLs") or ()),
                bool(entry.get("isLearner")),
            )
            for entry in answer.get("members") or []
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise MemberError(
            f"etcdctl member list answered {text[:200]!r}, which is no list of members"
        ) from None


def next_step(listed: list[Listed] | None, me: Server, *, may_begin: bool) -> Step:
    """What a server without data does next. C(listed) is None when no other server answers.

    A cluster is begun only where none can be: a second one beside it would have the same name and none of the data.
    """
    if not listed:
        return "begin" if may_begin else "wait"
    mine = own_entry(listed, me)
    if mine is None:
        return "add"
    # It has run, and its data are gone: under the old number it would break promises that it made to the others.
    return "replace" if mine.started else "join"


def own_entry(listed: Iterable[Listed], me: Server) -> Listed | None:
    """The entry with this server's address for peers, with TLS or without: one may become the other."""
    return next((entry for entry in listed if place_of(me.peer) in map(place_of, entry.peers)), None)


def place_of(url: str) -> str:
    """Host and port of a URL."""
    return url.rpartition("://")[2]


def initial_of_inventory(servers: Iterable[Server]) -> str:
    """C(initial-cluster) of a cluster that begins."""
    return ",".join(f"{server.name}={server.peer}" for server in sorted(servers, key=lambda one: one.name))


def initial_of_members(listed: Iterable[Listed], me: Server) -> str:
    """C(initial-cluster) for one who joins: exactly the members, whose names are known once they have run."""
    listed = list(listed)
    mine = own_entry(listed, me)
    pairs = [
        (me.name if entry == mine else entry.name or f"member-{entry.number:x}", url)
        for entry in listed
        for url in entry.peers
    ]
    return ",".join(f"{name}={url}" for name, url in sorted(pairs))


def render_initial(cluster: str, state: str, token: str) -> str:
    """The file that is read once, when a server becomes a member."""
    return (
        "# Managed by Ansible. Read by etcd while it has no data.\n"
        f"ETCD_INITIAL_CLUSTER={cluster}\nETCD_INITIAL_CLUSTER_STATE={state}\nETCD_INITIAL_CLUSTER_TOKEN={token}\n"
    )


def render_settings(settings: Mapping[str, Any], authorities: str) -> str:
    """Etcd's settings, named as its flags, as its environment; C(authorities) are read at its start only, too."""
    lines = [f"ETCD_{name.upper().replace('-', '_')}={_text(settings[name])}" for name in sorted(settings)]
    digest = hashlib.sha256("\n".join([*lines, authorities.strip()]).encode()).hexdigest()[:16]
    head = "# Managed by Ansible. etcd's flags, as it takes them from its environment."
    return "\n".join([head, *lines, f"{SETTINGS_DIGEST}={digest}"]) + "\n"


def _text(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if any(character in text for character in "\n\r\0\"'\\"):
        raise MemberError(f"settings: {text!r}: quotes, backslashes and line ends cannot be in a setting")
    return text


def settings_of(text: str) -> dict[str, str]:
    """NAME=value lines of a settings file."""
    lines = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, equals, value in lines if equals}
