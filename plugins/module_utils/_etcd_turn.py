# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A member of etcd in its turn: who has to be well before it is restarted, and which URLs the others find it by."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ansible_collections.meshnode.lab.plugins.module_utils._etcd_control import Control
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_departure import majority
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_member import (
    Listed,
    Server,
    own_entry,
    place_of,
)

#: Seconds that a port may take to answer.
KNOCK_TIMEOUT = 2.0
#: Both ports of etcd answer this to everybody whom they speak HTTP with.
REQUEST = b"GET /version HTTP/1.0\r\n\r\n"


def spoken(url: str) -> str:
    """C(http) or C(https), whichever the port at this URL speaks; empty when nobody answers. It only knocks."""
    host, _colon, port = place_of(url).rpartition(":")
    address = (host.strip("[]"), int(port))
    try:
        with socket.create_connection(address, KNOCK_TIMEOUT) as connection:
            connection.sendall(REQUEST)
            if connection.recv(16).split()[1:2] == [b"200"]:
                return "http"
    except OSError:  # such as a port with TLS, which hangs up
        pass
    return "https" if _speaks_tls(address) else ""


def _speaks_tls(address: tuple[str, int]) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(address, KNOCK_TIMEOUT) as raw, context.wrap_socket(raw):
            return True
    except ssl.SSLError as error:  # one that wants a certificate says so in an alert, which is TLS
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


@dataclass
class Turn:
    """One member among its servers. C(pause) waits a little, or raises with what it is told when time is over."""

    control: Control
    me: Server
    servers: tuple[Server, ...]
    pause: Callable[[str], None]
    knock: Callable[[str], str] = spoken
    #: Whether others that are to speak TLS may be asked in clear, which somebody on the way could bring about.
    clear_members: bool = False

    def reached(self, server: Server) -> Server:
        """The server with the URL for clients that its port speaks now, which changes while TLS comes or goes."""
        scheme = self.knock(server.client)
        trusted = scheme == "https" or server == self.me or self.clear_members
        if not scheme or (server.client.startswith("https:") and not trusted):
            return server
        return replace(server, client=f"{scheme}://{place_of(server.client)}")

    def others(self) -> list[Server]:
        """The other servers, as they are reached now."""
        return [self.reached(server) for server in self.servers if server != self.me]

    def asked(self) -> list[Server]:
        """Who is asked about the members: this server first, which is here."""
        return [self.reached(self.me), *self.others()]

    def promote(self) -> str:
        """Make a learner a voter; what was done. Etcd refuses while it lacks data, and is asked again."""
        others = self.others()
        entry = own_entry(self.control.members(others) or [], self.me)
        if entry is None or not entry.learner:
            return ""
        refused = self.control.complaint(others, "member", "promote", f"{entry.number:x}")
        return "" if refused else "become a voter"

    def others_are_well(self) -> None:
        """Wait until there is a majority without this one, where there is one with it; of two, until both are well."""
        asked = self.asked()
        listed = self.control.members(asked) or []
        voters = [entry for entry in listed if not entry.learner]
        mine = own_entry(voters, self.me)
        if mine is None or not self.control.healthy(asked[0].client):
            return  # nothing is lost by its restart
        needed = min(majority(len(voters)), len(voters) - 1)
        while True:
            ill = [one.name for one in voters if one != mine and not self._well(one, asked)]
            if len(voters) - 1 - len(ill) >= needed:
                return
            self.pause(
                f"etcd would lose its majority by a restart of {self.me.name}: {', '.join(sorted(ill))} is not well: "
                "bring it back first"
            )

    def _well(self, entry: Listed, asked: Iterable[Server]) -> bool:
        server = next((one for one in asked if own_entry([entry], one)), None)
        url = server.client if server else entry.clients[0] if entry.clients else ""
        return bool(url) and self.control.healthy(url)

    def announce(self) -> str:
        """Before a restart: the others hear of the URL that is to come, beside the one that is; what was done."""
        return self._update(lambda peers: (*peers, self.me.peer) if self.me.peer not in peers else peers)

    def settle(self, *, pretend: bool = False) -> str:
        """After it: they hear of the one URL that is left; what was, or would be, done."""
        return self._update(lambda _peers: (self.me.peer,), pretend=pretend)

    def _update(self, wanted: Callable[[tuple[str, ...]], tuple[str, ...]], *, pretend: bool = False) -> str:
        while True:
            asked = self.asked()
            entry = own_entry(self.control.members(asked) or [], self.me)
            if entry is None:
                return ""
            peers = wanted(entry.peers)
            if sorted(peers) == sorted(entry.peers):
                return ""
            words = ("member", "update", f"{entry.number:x}", f"--peer-urls={','.join(peers)}")
            trouble = "" if pretend else self.control.complaint(asked, *words)
            if not trouble:
                return f"URLs for peers: {' '.join(peers)}"
            self.pause(f"etcd does not take other URLs of {self.me.name}: {trouble}")
