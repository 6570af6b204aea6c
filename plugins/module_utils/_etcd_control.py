# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking etcd's members for things, through etcdctl on this server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils._etcd_member import (
    Listed,
    Server,
    parse_members,
)

#: Seconds that one command of etcdctl may take.
COMMAND_TIMEOUT = 3


@dataclass(frozen=True)
class Control:
    """Etcdctl with a server's certificate; C(tls) has ca_file, cert_file and key_file, which C(https) needs."""

    module: Any
    program: str
    tls: Mapping[str, str | None]

    def ask(self, url: str, *words: str) -> tuple[int, str, str]:
        """Exit code, output and complaint of one command to the member at this URL for clients."""
        command = [self.program, f"--endpoints={url}"]
        command += [f"--command-timeout={COMMAND_TIMEOUT}s", f"--dial-timeout={COMMAND_TIMEOUT}s"]
        if (tls := self.tls) and not url.startswith("http:"):
            command += [
                f"--cacert={tls['ca_file']}",
                f"--cert={tls['cert_file']}",
                f"--key={tls['key_file']}",
            ]
        answer: tuple[int, str, str] = self.module.run_command(
            [*command, *words], environ_update={"ETCDCTL_API": "3"}
        )
        return answer

    def complaint(self, servers: Iterable[Server], *words: str) -> str:
        """Of the last server that was asked; empty when one has done it."""
        trouble = "there is no other server"
        for server in servers:
            code, out, err = self.ask(server.client, *words)
            if code == 0:
                return ""
            trouble = last_line(err or out)
        return trouble

    def members(self, servers: Iterable[Server]) -> list[Listed] | None:
        """What the first server that answers says; None when none does. Raises MemberError."""
        for server in servers:
            code, out, _err = self.ask(server.client, "member", "list", "--write-out=json")
            if code == 0:
                return parse_members(out)
        return None

    def healthy(self, url: str) -> bool:
        """Whether reads and writes work there, which takes a majority."""
        return self.ask(url, "endpoint", "health")[0] == 0


def last_line(text: str) -> str:
    """The last line of what a command said."""
    return (text.strip().splitlines() or ["it said nothing"])[-1]
