"""The agents that tests of one session share; each test has keys and names of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.unit.plugins.api_agents import ApiAgent, running


@pytest.fixture(autouse=True)
def _no_variables_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CONSUL_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def open_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiAgent]:
    """A server without ACLs."""
    with running(tmp_path_factory.mktemp("agent")) as agent:
        yield agent


@pytest.fixture(scope="session")
def acl_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApiAgent, str]]:
    """A server that denies by default, and the secret of its first token."""
    with running(tmp_path_factory.mktemp("acl"), acl={"enabled": True, "default_policy": "deny"}) as agent:
        status, text = agent.agent.api("/v1/acl/bootstrap", "PUT")
        assert status == 200, text
        yield agent, json.loads(text)["SecretID"]
