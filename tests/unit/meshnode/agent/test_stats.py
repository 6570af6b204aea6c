from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from meshnode.agent.stats import agent_stats


def pool() -> Any:
    return SimpleNamespace(
        shell=SimpleNamespace(serf=SimpleNamespace(stats=lambda: {"members": "1"})), servers=()
    )


def stats(**parts: Any) -> Any:
    given: dict[str, Any] = {
        "lan": pool(),
        "wan": None,
        "owner": None,
        "bootstrap": False,
        "datacenter": "dc1",
    }
    return agent_stats(**given | parts)


def test_a_client_has_no_wan_and_counts_servers() -> None:
    found = stats()
    assert set(found) == {"agent", "build", "consul", "runtime", "serf_lan"}
    assert found["consul"] == {"server": "false", "known_servers": "0"}
    assert found["build"]["version"] == "1.2.3"


def test_a_server_tells_who_leads() -> None:
    owner = SimpleNamespace(is_leader=True, view=lambda: SimpleNamespace(leader="10.0.0.1:8300"))
    found = stats(wan=pool(), owner=owner, bootstrap=True)
    assert found["consul"] == {
        "bootstrap": "true", "known_datacenters": "0", "leader": "true", "leader_addr": "10.0.0.1:8300",
        "server": "true",
    }  # fmt: skip
    assert found["serf_wan"] == {"members": "1"}


def test_memory_is_that_of_this_process() -> None:
    with open("/proc/self/status") as status:
        kib = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    resident = int(stats()["runtime"]["resident_bytes"])
    assert 0.5 * kib * 1024 < resident < 2 * kib * 1024
    assert stats()["runtime"]["cpu_count"] == str(os.cpu_count())
