"""The tokens of managed proxies: made once, somebody's as long as the proxy is there."""

from __future__ import annotations

from meshnode.agent.local_services import LocalPolicy
from meshnode.agent.managed_tokens import ManagedTokens
from meshnode.local.parse import parse_service
from tests.support.local_agent import LocalAgent


def agent_with(*names: str) -> LocalAgent:
    agent = LocalAgent(policy=LocalPolicy(allow_managed_proxies=True))
    for name in names:
        body = {"Name": name, "Port": 80, "Token": f"{name}-token", "Connect": {"Proxy": {}}}
        agent.services.register_service(parse_service(body))
    return agent


def test_a_token_is_made_once_and_is_one_proxys() -> None:
    agent = agent_with("a", "b")
    tokens = ManagedTokens(agent.state)
    assert not tokens
    first = tokens.of("a-proxy")
    assert tokens
    assert (tokens.of("A-proxy"), len(first)) == (first, 36)
    assert tokens.of("b-proxy") != first
    assert tokens.identify(first) == ("a-proxy", "a-token")
    assert tokens.identify("") is None
    assert tokens.identify("a-token") is None


def test_a_token_is_nobodys_when_the_proxy_is_gone_or_its_id_is_another_services() -> None:
    agent = agent_with("a")
    tokens = ManagedTokens(agent.state)
    token = tokens.of("a-proxy")
    agent.services.deregister_service("a")
    assert tokens.identify(token) is None
    agent.services.register_service(parse_service({"Name": "a-proxy", "Token": "mine"}))
    assert tokens.identify(token) is None


def test_tokens_of_an_earlier_run_go_on_and_those_that_are_not_kept_are_forgotten() -> None:
    agent = agent_with("a", "b")
    tokens = ManagedTokens(agent.state)
    tokens.restore({"a-proxy": "old-a", "b-proxy": "old-b"})
    assert (tokens.of("a-proxy"), tokens.identify("old-b")) == ("old-a", ("b-proxy", "b-token"))
    tokens.keep(["A-Proxy"])
    assert (tokens.identify("old-a"), tokens.identify("old-b")) == (("a-proxy", "a-token"), None)
    assert tokens.of("b-proxy") != "old-b"
    tokens.keep([])
    assert not tokens
