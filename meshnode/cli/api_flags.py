"""The flags that every command which talks to an agent shares."""

from __future__ import annotations

import os
from collections.abc import Mapping

from meshnode.base.goflags import Flag, FlagSet, Parsed
from meshnode.cli.api import ApiClient
from meshnode.client.settings import ApiSettings

__all__ = ["ClientFlags"]

GROUP = "HTTP API Options"


class ClientFlags:
    """Adds the client flags to a set, and builds a client from what was parsed.

    ``server`` adds ``-datacenter`` and ``-stale`` for commands that a server answers.
    """

    def __init__(self, flags: FlagSet, *, server: bool = False) -> None:
        def add(name: str, meaning: str, placeholder: str = "value") -> Flag[str]:
            return flags.string(name, meaning, placeholder=placeholder, group=GROUP)

        self._address = add(
            "http-addr", "Address of the agent: host:port, http://, https:// or unix:///path.", "address"
        )
        self._token = add("token", "ACL token to use.")
        self._ca_file = add("ca-file", "CA certificate that the agent's certificate must come from.", "file")
        self._ca_path = add("ca-path", "Directory of such CA certificates.", "directory")
        self._client_cert = add("client-cert", "Certificate to show to the agent.", "file")
        self._client_key = add("client-key", "Key of that certificate.", "file")
        self._server_name = add("tls-server-name", "Name to expect in the agent's certificate.", "name")
        self._datacenter = add("datacenter", "Datacenter to ask.", "name") if server else None
        self._stale = (
            flags.boolean("stale", "Let any server answer, not only the leader.", group=GROUP)
            if server
            else None
        )

    def client(
        self,
        parsed: Parsed,
        failing: str = "",
        environ: Mapping[str, str] | None = None,
        token: str = "",
    ) -> ApiClient:
        """The client that the flags and the environment describe; ``failing`` begins its errors.

        ``token`` is used in place of the one described, for a command about that token.
        """
        return ApiClient(self.settings(parsed, environ, token), failing)

    def settings(
        self, parsed: Parsed, environ: Mapping[str, str] | None = None, token: str = ""
    ) -> ApiSettings:
        """What :meth:`client` is made of, for programs that make their own."""
        settings = ApiSettings(
            address=parsed[self._address],
            token=token or parsed[self._token],
            ca_file=parsed[self._ca_file],
            ca_path=parsed[self._ca_path],
            client_cert=parsed[self._client_cert],
            client_key=parsed[self._client_key],
            tls_server_name=parsed[self._server_name],
        )
        return settings.with_environment(os.environ if environ is None else environ)

    def query(self, parsed: Parsed) -> dict[str, str]:
        """Query parameters that the server flags stand for."""
        query: dict[str, str] = {}
        if self._datacenter is not None and parsed[self._datacenter]:
            query["dc"] = parsed[self._datacenter]
        if self._stale is not None and parsed[self._stale]:
            query["stale"] = ""
        return query

    def write_query(self, parsed: Parsed) -> dict[str, str]:
        """The same for a call that changes something: the leader does those, whatever ``-stale`` says."""
        return {key: value for key, value in self.query(parsed).items() if key != "stale"}
