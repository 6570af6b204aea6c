"""What a token may do, on any agent: a server asks its copy of the state, a client asks a server and remembers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from meshnode.acl.authorizer import ALLOW_ALL, Authorizer
from meshnode.acl.model import AclNotFoundError
from meshnode.acl.policy_authorizer import PolicyAuthorizer
from meshnode.acl.resolve import AclSettings, authorizer_of_texts, resolve
from meshnode.acl.store import AclStore
from meshnode.agent.config.model import Acls
from meshnode.agent.tokens import AgentTokens
from meshnode.base.errors import MeshError
from meshnode.http.errors import ServerCallError

__all__ = ["Access"]

_log = logging.getLogger("meshnode.acl")
#: Tokens that are remembered; then all are forgotten and asked for again.
MAX_TOKENS: Final = 4096


class Access:
    """``acls`` gives the configuration; ``local`` the rights of a token from this server's state, ``None`` without one.

    ``call`` asks a server.
    """

    def __init__(
        self,
        acls: Callable[[], Acls],
        tokens: AgentTokens,
        *,
        node_name: str,
        datacenter: str,
        local: Callable[[str], Authorizer | None],
        call: Callable[[str, Mapping[str, Any]], Awaitable[Any]],
    ) -> None:
        self._acls = acls
        self.tokens = tokens
        self._node_name = node_name
        self._datacenter = datacenter
        self._local = local
        self._call = call
        self._kept: dict[str, tuple[Authorizer | None, float]] = {}
        self._nobody = AclStore(set())
        self._settings: tuple[Acls, str, AclSettings] | None = None

    @property
    def enabled(self) -> bool:
        """Whether tokens count."""
        return self._acls().enabled

    def settings(self) -> AclSettings:
        """Access control as it is configured now."""
        acls, recovery = self._acls(), self.tokens["agent_master"]
        # A reload makes other settings; each write and each read asks for them.
        if self._settings is not None and self._settings[0] is acls and self._settings[1] == recovery:
            return self._settings[2]
        made = AclSettings(
            enabled=acls.enabled,
            default_allow=acls.default_policy == "allow",
            key_list_policy=acls.key_list_policy,
            datacenter=self._datacenter,
            node_name=self._node_name,
            master_token=acls.master_token,
            agent_master_token=recovery,
        )
        self._settings = (acls, recovery, made)
        return made

    async def resolve(self, token: str) -> Authorizer:
        """The rights of ``token``, empty: of the agent's default one. Raises ``AclNotFoundError``."""
        if not self.enabled:
            return ALLOW_ALL
        token = token or self.tokens.for_requests
        if token and token == self.tokens["agent_master"]:
            return resolve(self._nobody, token, self.settings(), time.time())
        known = self._local(token)
        return known if known is not None else await self._ask(token)

    async def _ask(self, token: str) -> Authorizer:
        now = asyncio.get_running_loop().time()
        kept = self._kept.get(token)
        if kept is not None and now < kept[1]:
            return _there(kept[0])
        try:
            found = await self._of_servers(token)
        except AclNotFoundError:
            self._keep(token, None, now)
            raise
        except MeshError as error:
            return self._while_down(kept, error)
        self._keep(token, found, now)
        return found

    async def _of_servers(self, token: str) -> Authorizer:
        body = {"Datacenter": self._datacenter, "ACL": token}
        try:
            reply = await self._call("ACL.GetPolicy", body)
        except ServerCallError as error:
            if "ACL not found" in str(error):
                raise AclNotFoundError from None
            raise
        until = reply.get("Until") or 0
        if 0 < until <= time.time():
            raise AclNotFoundError
        rows = reply.get("Policies") or []
        return authorizer_of_texts(
            ((row["Origin"], row["Rules"], row["Legacy"]) for row in rows), self.settings()
        )

    def _keep(self, token: str, found: Authorizer | None, now: float) -> None:
        if len(self._kept) >= MAX_TOKENS:
            self._kept.clear()
        self._kept[token] = found, now + self._acls().token_ttl

    def _while_down(self, kept: tuple[Authorizer | None, float] | None, error: MeshError) -> Authorizer:
        policy = self._acls().down_policy
        _log.warning("a token can't be looked up, %s applies: %s", policy, error)
        if policy == "allow":
            return ALLOW_ALL
        if policy != "deny" and kept is not None:
            return _there(kept[0])
        return _DENY_ALL


_DENY_ALL: Final = PolicyAuthorizer([], default_allow=False)


def _there(found: Authorizer | None) -> Authorizer:
    if found is None:
        raise AclNotFoundError
    return found
