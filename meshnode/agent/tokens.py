"""The agent's own tokens: from the configuration, or set over the API, which wins until the configuration changes it.

With ``acl.enable_token_persistence`` those of the API are kept in ``<data_dir>/acl-tokens.json``, 0600.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from meshnode.agent.config.model import Acls, AgentConfig
from meshnode.base.errors import MeshError
from meshnode.runtime.private_file import write_private

__all__ = ["TOKEN_NAMES", "AgentTokens", "agent_tokens"]

_log = logging.getLogger("meshnode.acl")
#: Name in the API (1.2.3 and later) -> which token it is.
TOKEN_NAMES: Final[Mapping[str, str]] = {
    "acl_token": "default",
    "acl_agent_token": "agent",
    "acl_agent_master_token": "agent_master",
    "acl_replication_token": "replication",
    "default": "default",
    "agent": "agent",
    "agent_master": "agent_master",
    "agent_recovery": "agent_master",
    "replication": "replication",
}


class AgentTokens:
    """``path`` is where tokens of the API are kept; ``None``: nowhere."""

    def __init__(self, acls: Acls, path: Path | None) -> None:
        self._configured = _configured(acls)
        self._path = path
        self._set: dict[str, str] = self._load() if path is not None else {}

    def __getitem__(self, kind: str) -> str:
        if kind in self._set:
            return self._set[kind]
        return self._configured.get(kind, "")

    def reload(self, acls: Acls) -> None:
        """Take over the configuration; a token that it changed wins over one that the API set."""
        configured = _configured(acls)
        for kind, token in configured.items():
            if token != self._configured.get(kind, ""):
                self._set.pop(kind, None)
        self._configured = configured

    @property
    def for_requests(self) -> str:
        """What a request without a token gets."""
        return self["default"]

    @property
    def for_own_work(self) -> str:
        """What the agent's own calls carry: its token, else the default one."""
        return self["agent"] or self["default"]

    def set(self, name: str, token: str) -> None:
        """Set the token that the API calls ``name`` (a key of ``TOKEN_NAMES``); raises :class:`MeshError`."""
        before = dict(self._set)
        self._set[TOKEN_NAMES[name]] = token
        try:
            self._save()
        except OSError as error:
            self._set = before
            raise MeshError(
                f"the token was not set: {self._path} can't be written: {error.strerror}"
            ) from None

    def _load(self) -> dict[str, str]:
        assert self._path is not None
        try:
            kept = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
            _log.error("%s is passed over: %s. Set the tokens again", self._path, reason)
            return {}
        if not isinstance(kept, dict) or not all(isinstance(value, str) for value in kept.values()):
            _log.error("%s is passed over: it is not an object of tokens. Set the tokens again", self._path)
            return {}
        return {kind: value for kind, value in kept.items() if kind in TOKEN_NAMES.values()}

    def _save(self) -> None:
        if self._path is not None:
            write_private(self._path, json.dumps(self._set).encode())


def _configured(acls: Acls) -> dict[str, str]:
    return {
        "default": acls.default_token,
        "agent": acls.agent_token,
        "agent_master": acls.agent_master_token,
        "replication": acls.replication_token,
    }


def agent_tokens(config: AgentConfig) -> AgentTokens:
    """The tokens of an agent that starts with ``config``."""
    persists = config.acls.token_persistence and config.identity.data_dir
    return AgentTokens(config.acls, Path(config.identity.data_dir, "acl-tokens.json") if persists else None)
