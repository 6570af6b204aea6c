from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

PATH = "/v1/operator/autopilot/configuration"
CONFIG = {
    "CleanupDeadServers": True, "LastContactThreshold": "200ms", "MaxTrailingLogs": 250,
    "ServerStabilizationTime": 10_000_000_000, "RedundancyZoneTag": "", "DisableUpgradeMigration": False,
    "UpgradeVersionTag": "a", "CreateIndex": 4, "ModifyIndex": 9,
}  # fmt: skip


def test_the_configuration_is_seven_lines(agent: StubAgent, run: Any) -> None:
    agent.answer(f"GET {PATH}", CONFIG)
    done = run("operator", "autopilot", "get-config")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "CleanupDeadServers = true\nLastContactThreshold = 200ms\nMaxTrailingLogs = 250\n"
        'ServerStabilizationTime = 10s\nRedundancyZoneTag = ""\nDisableUpgradeMigration = false\n'
        'UpgradeVersionTag = "a"\n'
    )


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        ([], {}),
        (["-cleanup-dead-servers=false"], {"CleanupDeadServers": False}),
        (["-max-trailing-logs", "9"], {"MaxTrailingLogs": 9}),
        (["-last-contact-threshold=1m"], {"LastContactThreshold": "1m0s"}),
        (["-server-stabilization-time=0s"], {"ServerStabilizationTime": "0s"}),
        (["-redundancy-zone-tag=z", "-upgrade-version-tag="], {"RedundancyZoneTag": "z", "UpgradeVersionTag": ""}),
        (["-disable-upgrade-migration"], {"DisableUpgradeMigration": True}),
    ],
)  # fmt: skip
def test_only_what_is_given_changes_and_the_index_is_checked(
    agent: StubAgent, run: Any, flags: list[str], changes: dict[str, Any]
) -> None:
    agent.answer(f"GET {PATH}", CONFIG)
    agent.answer(f"PUT {PATH}", True)
    done = run("operator", "autopilot", "set-config", *flags)
    assert (done.code, done.out, done.err) == (0, "Configuration updated!\n", "")
    assert json.loads(agent.last.body) == CONFIG | changes
    assert agent.last.query == {"cas": "9"}


def test_a_change_by_someone_else_is_a_failure(agent: StubAgent, run: Any) -> None:
    agent.answer(f"GET {PATH}", CONFIG)
    agent.answer(f"PUT {PATH}", False)
    done = run("operator", "autopilot", "set-config", "-max-trailing-logs=1")
    assert (done.code, done.out) == (
        1,
        "Configuration could not be atomically updated, please try again\n",
    )


@pytest.mark.parametrize("flag", ["-max-trailing-logs=-1", "-last-contact-threshold=5", "word"])
def test_bad_values_are_refused_before_the_agent_is_asked(agent: StubAgent, run: Any, flag: str) -> None:
    done = run("operator", "autopilot", "set-config", flag)
    assert (done.code, done.out, agent.asked, done.err.count("\n")) == (1, "", [], 1)
