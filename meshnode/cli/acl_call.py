"""What the ``acl`` commands on tokens, policies and roles have in common: how they begin, and how they ask an agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshnode.base.goflags import FlagSet
from meshnode.cli.acl_print import AclOutput
from meshnode.cli.api import ApiClient
from meshnode.cli.api_flags import ClientFlags

__all__ = ["AclCall"]


class AclCall:
    """Adds the client flags to ``flags`` and parses ``args``, which hold no positionals.

    Raises :class:`~meshnode.base.errors.ConfigError` for what can't be used, a bad format of ``output`` included. The
    sentence ``failing`` begins the errors of a call to the agent, a :class:`~meshnode.base.errors.MeshError`.
    """

    def __init__(self, flags: FlagSet, args: list[str], output: AclOutput | None = None) -> None:
        self.client_flags = ClientFlags(flags, server=True)
        self.parsed = flags.parse(args)
        self.parsed.reject_positionals()
        if output is not None:
            output.check(self.parsed)

    def client(self, failing: str) -> ApiClient:
        """The client for calls of another kind."""
        return self.client_flags.client(self.parsed, failing)

    @property
    def query(self) -> dict[str, str]:
        """The query parameters of a read."""
        return self.client_flags.query(self.parsed)

    def get(self, path: str, *, failing: str) -> Any:
        """The JSON at ``path``."""
        return self.client(failing).get_json(path, self.query)

    def put(self, path: str, body: Mapping[str, Any], *, failing: str) -> Any:
        """Send ``body``; the JSON of the answer."""
        return self.client(failing).send_json("PUT", path, body, self.client_flags.write_query(self.parsed))

    def delete(self, path: str, *, failing: str) -> None:
        """Delete what is at ``path``."""
        self.client(failing).call("DELETE", path, self.client_flags.write_query(self.parsed))
