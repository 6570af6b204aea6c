"""The agent's own tokens: configured, set over the API, kept."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from meshnode.agent.config.model import Acls
from meshnode.agent.tokens import AgentTokens
from meshnode.base.errors import MeshError

NONE = Acls(True, "dc1", "deny", "extend-cache", 30.0, False, True, "", "", "", "", "", "")
CONFIGURED = replace(NONE, agent_token="c-agent", default_token="c-default")


def test_the_agents_own_work_uses_its_token_or_else_the_default_one() -> None:
    assert AgentTokens(CONFIGURED, None).for_own_work == "c-agent"
    assert AgentTokens(replace(CONFIGURED, agent_token=""), None).for_own_work == "c-default"
    assert AgentTokens(CONFIGURED, None).for_requests == "c-default"


@pytest.mark.parametrize("name", ["acl_token", "default"])
def test_a_token_of_the_api_wins_until_the_configuration_changes_it(name: str) -> None:
    tokens = AgentTokens(CONFIGURED, None)
    tokens.set(name, "api")
    assert tokens.for_requests == "api"
    tokens.reload(replace(CONFIGURED, agent_token="other"))
    assert (tokens.for_requests, tokens.for_own_work) == ("api", "other")
    tokens.reload(replace(CONFIGURED, default_token="newer"))
    assert tokens.for_requests == "newer"


def test_the_token_for_the_primary_datacenter_is_configured_or_set_over_the_api() -> None:
    tokens = AgentTokens(replace(NONE, replication_token="c-copier"), None)
    assert tokens["replication"] == "c-copier"
    tokens.set("acl_replication_token", "api")
    assert tokens["replication"] == "api"
    assert tokens.for_own_work == ""


def test_tokens_of_the_api_outlive_a_restart_in_a_file_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "acl-tokens.json"
    AgentTokens(CONFIGURED, path).set("agent", "kept")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert AgentTokens(CONFIGURED, path).for_own_work == "kept"


@pytest.mark.parametrize("content", ["", "[]", '{"agent": 7}', '{"agent": "x"'])
def test_a_damaged_file_is_passed_over_and_named(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "acl-tokens.json"
    path.write_text(content)
    assert AgentTokens(CONFIGURED, path).for_own_work == "c-agent"
    assert str(path) in caplog.text


def test_unknown_kinds_in_the_file_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "acl-tokens.json"
    path.write_text(json.dumps({"agent": "x", "other": "y"}))
    tokens = AgentTokens(NONE, path)
    assert (tokens["agent"], tokens["other"]) == ("x", "")


def test_what_can_not_be_kept_is_not_set(tmp_path: Path) -> None:
    path = tmp_path / "no-such-directory" / "acl-tokens.json"
    tokens = AgentTokens(CONFIGURED, None)
    tokens._path = path
    with pytest.raises(MeshError, match="can't be written"):
        tokens.set("agent", "lost")
    assert tokens.for_own_work == "c-agent"
