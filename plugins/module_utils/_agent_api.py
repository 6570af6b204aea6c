# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking the agent on this node: C(/v1/...) over HTTP, HTTPS with a client certificate, or a unix socket."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

MAX_ANSWER_BYTES = 16 * 1024 * 1024
REQUEST_TIMEOUT = 5.0
#: Serf's numbers of member states.
ALIVE = 1


class ApiError(Exception):
    """The agent did not answer as it should; the text says what came instead, C(status) is 0 when no answer came."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Api:
    """Where the agent answers, and what to show it."""

    address: str
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    token: str | None = None

    def get(self, path: str) -> Any:
        """The JSON that the agent answers with; raises ApiError."""
        return self.call("GET", path)

    def call(self, method: str, path: str) -> Any:
        """The JSON that the agent answers that method with, None for an empty answer; raises ApiError."""
        connection = self._connection()
        try:
            connection.request(method, path, headers={"X-Consul-Token": self.token} if self.token else {})
            answer = connection.getresponse()
            body = answer.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"{self.address}{path}: {error or type(error).__name__}") from None
        finally:
            connection.close()
        if answer.status != 200:
            raise ApiError(
                f"{self.address}{path}: {answer.status} {body[:200].decode(errors='replace').strip()}",
                answer.status,
            )
        if len(body) > MAX_ANSWER_BYTES:
            raise ApiError(f"{self.address}{path}: answered with more than {MAX_ANSWER_BYTES} bytes")
        try:
            return json.loads(body) if body.strip() else None
        except ValueError:
            raise ApiError(f"{self.address}{path}: answered with something else than JSON") from None

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.address)
        if parts.scheme == "unix":
            return _UnixConnection(parts.path)
        if parts.scheme == "https":
            return http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=REQUEST_TIMEOUT, context=self._context()
            )
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=REQUEST_TIMEOUT)

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            # This is the node's own agent: its certificate must be from our CA, whatever address it was asked by.
            context.check_hostname = False
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            raise ApiError(
                f"{self.address}: cannot load {self.ca_file}, {self.cert_file}, {self.key_file}: {error}"
            ) from None
        return context


#: Options of the modules that ask the agent of their node, documented in the fragment node_agent.api.
API_OPTIONS: dict[str, dict[str, Any]] = {
    "address": {"type": "str", "default": "http://127.0.0.1:8500"},
    "ca_file": {"type": "path"},
    "cert_file": {"type": "path"},
    "key_file": {"type": "path", "no_log": False},
    "token": {"type": "str", "no_log": True},
}


def api_of(options: Mapping[str, Any]) -> Api:
    """From the parameters of a module."""
    return Api(**{name: options[name] for name in API_OPTIONS})


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=REQUEST_TIMEOUT)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


@dataclass(frozen=True)
class Cluster:
    """The cluster as one agent sees it."""

    alive: tuple[str, ...]
    others: tuple[str, ...]
    leader: str

    def lacks(self, members: int, *, leader: bool) -> str:
        """What is missing, in words; empty when nothing is."""
        missing = []
        if len(self.alive) < members:
            seen = ", ".join(self.alive) or "none"
            not_alive = f"; not alive: {', '.join(self.others)}" if self.others else ""
            missing.append(f"{len(self.alive)} of {members} members alive ({seen}{not_alive})")
        if leader and not self.leader:
            missing.append("no leader is known")
        return "; ".join(missing)


def look(api: Api, *, leader: bool) -> Cluster:
    """Ask for members and, if wanted, the leader; raises ApiError."""
    members = api.get("/v1/agent/members")
    if not isinstance(members, list):
        raise ApiError(f"{api.address}/v1/agent/members: answered with something else than a list")
    alive = sorted(str(member.get("Name")) for member in members if member.get("Status") == ALIVE)
    others = sorted(str(member.get("Name")) for member in members if member.get("Status") != ALIVE)
    return Cluster(tuple(alive), tuple(others), str(api.get("/v1/status/leader") or "") if leader else "")
