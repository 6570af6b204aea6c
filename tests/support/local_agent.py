"""An agent's local parts with fakes around them: runners that are told what to find, and clocks that stand still."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshnode.agent.local_changes import LocalChanges
from meshnode.agent.local_services import LocalPolicy, LocalServices
from meshnode.agent.local_sync import CatalogSync
from meshnode.base.errors import MeshError
from meshnode.local.check_status import bounded_report
from meshnode.local.check_type import CheckType, TtlCheck
from meshnode.local.state import LocalSettings, LocalState
from meshnode.runtime.local_files import LocalFiles
from tests.support.local_catalog import NODE, CatalogServer


@dataclass
class FakeRunners:
    """``running``: key -> (check, callback, last output, remaining). ``started`` are keys, in order."""

    running: dict[str, tuple[CheckType, Callable[[str, str], None], str, float | None]] = field(
        default_factory=dict
    )
    started: list[str] = field(default_factory=list)

    def start(self, key: str, check: CheckType, on_result: Callable[[str, str], None], **how: Any) -> None:
        """``how``: as of :class:`~meshnode.agent.local_policy.Runners`."""
        self.started.append(f"{key} at once" if how.get("at_once") else key)
        self.running[key] = (check, on_result, how.get("last_output", ""), how.get("ttl_remaining"))

    def stop(self, key: str) -> None:
        self.running.pop(key, None)

    def ttl_update(self, key: str, status: str, output: str) -> None:
        check = self.running[key][0]
        if not isinstance(check, TtlCheck):
            raise MeshError("not a TTL check")
        self.find(key, status, bounded_report(output, check.output_max_size))

    def find(self, key: str, status: str, output: str = "") -> None:
        self.running[key][1](status, output)


class LocalAgent:
    def __init__(
        self,
        data_dir: Path | None = None,
        policy: LocalPolicy | None = None,
        server: CatalogServer | None = None,
    ) -> None:
        self.now = 1000.0
        self.wall = 5000.0
        self.server = server or CatalogServer()
        self.state = LocalState(NODE, LocalSettings(), random.Random(1))
        self.changes = LocalChanges(self.state)
        self.runners = FakeRunners()
        files = LocalFiles(data_dir) if data_dir is not None else None
        self.services = LocalServices(
            self.state, self.changes, self.runners, files, policy or LocalPolicy(),
            clock=lambda: self.now, wall_clock=lambda: self.wall, is_port_free=lambda _port: True,
        )  # fmt: skip
        self.sync = CatalogSync(
            self.state, self.changes, self.call, members=lambda: 3, token=lambda: "agent-token",
            clock=lambda: self.now, rng=random.Random(2),
        )  # fmt: skip

    async def call(self, method: str, body: Mapping[str, Any]) -> Any:
        return self.server.call(method, body)

    def status(self, check_id: str) -> str:
        entry = self.state.check(check_id)
        return entry.check.status if entry is not None else ""
