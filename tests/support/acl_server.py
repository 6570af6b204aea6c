"""The ACL methods over a state machine: no log, no network; what is planned is applied at once."""

from __future__ import annotations

from typing import Any

from meshnode.acl.model import Policy, Token
from meshnode.acl.resolve import AclSettings, resolve
from meshnode.control.command import AclPolicySet, AclTokenSet
from meshnode.control.endpoints.acl import METHODS
from meshnode.control.machine import StateMachine
from meshnode.control.method import Method, Moment, ReadMethod

__all__ = ["AT", "ON", "AclServer"]

AT = 1_700_000_000.0
ON = AclSettings(enabled=True, default_allow=False, datacenter="dc1", master_token="master")


class AclServer:
    """One server: tokens are resolved, commands applied at once, ids counted."""

    def __init__(self, settings: AclSettings = ON) -> None:
        self.machine = StateMachine()
        self.settings = settings
        self.at = AT
        self.ids = 0
        self.methods: dict[str, Method] = dict(METHODS)
        self.apply(AclPolicySet(Policy("read", "acl-read", rules='acl = "read"'), create=True))
        self.apply(AclPolicySet(Policy("write", "acl-write", rules='acl = "write"'), create=True))
        self.apply(AclTokenSet(Token("r", "reader", policies=("read",)), create=True))
        self.apply(AclTokenSet(Token("w", "writer", policies=("write",)), create=True))

    def new_id(self) -> str:
        self.ids += 1
        return f"10000000-0000-4000-8000-{self.ids:012}"

    def apply(self, command: Any) -> Any:
        return self.machine.apply(self.machine.last_index + 1, command)

    def call(self, name: str, body: dict[str, Any] | None = None, token: str = "writer") -> Any:
        body = {**(body or {}), "Token": token}
        authorizer = resolve(self.machine.acl, token, self.settings, self.at)
        method = self.methods[name]
        if isinstance(method, ReadMethod):
            assert method.watches(body) == (("acl",),)
            index, reply = method.read(self.machine, body, authorizer)
            assert index == self.machine.acl.index
            return reply
        command = method.plan(self.machine, body, authorizer, Moment(self.at, self.new_id))
        return method.reply(self.machine, self.apply(command))

    def token(self, **form: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.call("ACL.TokenSet", {"ACLToken": form, "Create": True})
        return made
