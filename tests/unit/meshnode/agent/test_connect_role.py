"""What proxies report."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from meshnode.agent.config import AgentConfig
from meshnode.agent.connect_role import ConnectRole
from meshnode.base.metrics import Metrics
from meshnode.http.connect_effects import GetReports, ReportProxy
from meshnode.http.proxy_report import ProxyReport
from tests.support.asynchronous import asynchronous

AT = datetime(2026, 1, 1, tzinfo=UTC)
OWN = {
    "File": "/etc/agent.pem", "Subject": "CN=n1", "Issuer": "CN=ca", "Serial": "ab",
    "NotAfter": "2026-01-11T00:00:00+00:00", "Served": {"rpc": "ab", "https": None},
}  # fmt: skip


@asynchronous
async def test_what_proxies_report_is_kept_and_who_has_begun_to_listen_is_told(
    config: Callable[..., AgentConfig],
) -> None:
    listening: list[str] = []

    async def call(method: str, _body: Any) -> Any:
        raise AssertionError(method)

    role = ConnectRole(
        config(), call=call, token=lambda: "", own=list, rng=random.Random(1), metrics=Metrics(0.0),
        on_listening=listening.append,
    )  # fmt: skip
    listener = {"Name": "public", "Address": "", "Serial": "12:34"}
    report = ProxyReport("p", "db", "", "", (), (listener,), 1, {}, (), (), ())
    for one in (report, report, replace(report, proxy_id="q", listeners=())):
        await role.perform(ReportProxy(one))
    assert listening == ["p"]
    assert [found.proxy_id for found, _ in await role.perform(GetReports())] == ["p", "q"]
    await role.stop()
