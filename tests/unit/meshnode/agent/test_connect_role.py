"""What proxies report."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

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


@pytest.mark.parametrize("reported", [True, False])
@asynchronous
async def test_a_node_goes_on_reporting_after_a_restart_where_it_did_before(
    config: Callable[..., AgentConfig], reported: bool
) -> None:
    called: asyncio.Queue[str] = asyncio.Queue()

    async def call(method: str, body: Mapping[str, Any]) -> Any:
        called.put_nowait(method)
        if method == "ConnectCA.Reported":
            assert body["Node"] == config().identity.node_name
            return {"Reported": reported}
        return await asyncio.get_running_loop().create_future()

    role = ConnectRole(
        config(), call=call, token=lambda: "", own=list, rng=random.Random(1), metrics=Metrics(0.0)
    )
    role.start()
    assert await called.get() == "ConnectCA.Reported"
    if reported:
        assert await called.get() == "ConnectCA.Roots"
    await role.stop()
    assert ("leaves" in vars(role)) is reported
    assert called.empty()
