"""What a token may do, on servers and on clients, and while no server answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from meshnode.acl import authorizer as acl
from meshnode.acl.authorizer import ALLOW_ALL, Authorizer, Resource
from meshnode.acl.model import AclNotFoundError
from meshnode.agent.access import Access
from meshnode.agent.config.model import Acls
from meshnode.agent.tokens import AgentTokens
from meshnode.base.errors import MeshError
from meshnode.http.errors import ServerCallError

ACLS = Acls(
    True, "dc1", "deny", "extend-cache", 30.0, False, False, "", "", "agent-master", "", "default", ""
)
RULES = {"Origin": "policy p", "Rules": 'key "a" { policy = "read" }', "Legacy": False}


class Servers:
    """Answers ``ACL.GetPolicy``, or fails."""

    def __init__(self, outcome: Any = None) -> None:
        self.outcome = outcome or {"Policies": [RULES], "Until": 0}
        self.asked: list[str] = []

    async def __call__(self, method: str, body: Mapping[str, Any]) -> Any:
        assert method == "ACL.GetPolicy"
        self.asked.append(body["ACL"])
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def access(servers: Servers, acls: Acls = ACLS, local: Authorizer | None = None) -> Access:
    return Access(
        lambda: acls, AgentTokens(acls, None), node_name="n1", datacenter="dc1",
        local=lambda _token: local, call=servers,
    )  # fmt: skip


def reads(rights: Authorizer, key: str = "a") -> bool:
    return rights.decide(Resource.KEY, key, acl.Access.READ).allowed


def test_everything_is_allowed_while_access_control_is_off() -> None:
    servers = Servers()
    assert asyncio.run(access(servers, replace(ACLS, enabled=False)).resolve("x")) is ALLOW_ALL
    assert servers.asked == []


def test_a_client_asks_a_server_once_and_remembers() -> None:
    async def main() -> None:
        servers = Servers()
        made = access(servers)
        for _ in range(3):
            rights = await made.resolve("secret")
            assert (reads(rights), reads(rights, "b")) == (True, False)
        assert servers.asked == ["secret"]

    asyncio.run(main())


@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize(("ttl", "asked"), [("0s", 3), ("1h", 1)])
def test_a_client_remembers_as_long_as_it_is_told(config: Any, later: bool, ttl: str, asked: int) -> None:
    keys = {"acl": {"token_ttl": ttl}} if later else {"acl_ttl": ttl}
    acls = config(acl_datacenter="dc1", **keys).acls

    async def main() -> None:
        servers = Servers()
        made = access(servers, acls)
        for _ in range(3):
            await made.resolve("secret")
        assert len(servers.asked) == asked

    asyncio.run(main())


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("later", [True, False])
def test_lists_of_keys_need_a_right_of_their_own_where_the_configuration_says_so(
    config: Any, lists: bool, later: bool
) -> None:
    policy = {"enable_key_list_policy": lists}
    keys = {"acl": policy} if later else {"acl_enable_key_list_policy": lists}
    acls = config(acl_datacenter="dc1", acl_default_policy="deny", **keys).acls
    rights = asyncio.run(access(Servers(), acls).resolve("secret"))
    assert rights.decide(Resource.KEY, "a", acl.Access.LIST).allowed is not lists


@pytest.mark.parametrize(
    "keys",
    [
        {"acl_agent_master_token": "r"},
        {"acl": {"tokens": {"agent_master": "r"}}},
        {"acl": {"tokens": {"agent_recovery": "r"}}},
    ],
)
def test_the_agents_recovery_token_may_be_written_in_three_ways(config: Any, keys: Any) -> None:
    made = access(Servers(MeshError("down")), config(acl_datacenter="dc1", **keys).acls)
    assert asyncio.run(made.resolve("r")).decide(Resource.AGENT, "n1", acl.Access.WRITE).allowed


def test_the_settings_are_new_after_a_reload_and_after_another_recovery_token() -> None:
    current = [ACLS]
    made = Access(
        lambda: current[0], AgentTokens(ACLS, None), node_name="n1", datacenter="dc1",
        local=lambda _token: None, call=Servers(),
    )  # fmt: skip
    before = made.settings()
    assert made.settings() is before
    current[0] = replace(ACLS, default_policy="allow", master_token="m")
    assert (before.default_allow, made.settings().default_allow) == (False, True)
    assert made.settings().master_token == "m"
    made.tokens.set("acl_agent_master_token", "another")
    assert made.settings().agent_master_token == "another"


def test_a_request_without_a_token_has_the_agents_default_one() -> None:
    servers = Servers()
    asyncio.run(access(servers).resolve(""))
    assert servers.asked == ["default"]


def test_a_server_asks_its_own_state() -> None:
    servers = Servers()
    assert asyncio.run(access(servers, local=ALLOW_ALL).resolve("x")) is ALLOW_ALL
    assert servers.asked == []


def test_the_agents_master_token_needs_no_server() -> None:
    rights = asyncio.run(access(Servers(MeshError("down"))).resolve("agent-master"))
    assert rights.decide(Resource.AGENT, "n1", acl.Access.WRITE).allowed
    assert not rights.decide(Resource.AGENT, "n2", acl.Access.WRITE).allowed
    assert not reads(rights)


def test_an_unknown_token_and_one_that_is_over_are_refused_and_that_is_remembered() -> None:
    async def main() -> None:
        servers = Servers(ServerCallError("ACL not found"))
        made = access(servers)
        for _ in range(2):
            with pytest.raises(AclNotFoundError):
                await made.resolve("nobody")
        assert servers.asked == ["nobody"]
        with pytest.raises(AclNotFoundError):
            await access(Servers({"Policies": [RULES], "Until": 1.0})).resolve("old")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("policy", "known", "may"),
    [
        ("allow", False, True),
        ("deny", False, False),
        ("deny", True, False),
        ("extend-cache", False, False),
        ("extend-cache", True, True),
        ("async-cache", True, True),
    ],
)
def test_the_down_policy_decides_while_no_server_answers(policy: str, known: bool, may: bool) -> None:
    async def main() -> None:
        servers = Servers()
        made = access(servers, replace(ACLS, down_policy=policy, token_ttl=0.0))
        if known:
            await made.resolve("secret")
        servers.outcome = MeshError("No known Consul servers")
        assert reads(await made.resolve("secret")) is may

    asyncio.run(main())
