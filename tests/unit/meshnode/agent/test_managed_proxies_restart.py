"""Managed proxies over restarts of the agent: who lives on, who is replaced, and what is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshnode.agent.managed_proxies import ManagedProxies, ManagedSettings
from tests.support.asynchronous import asynchronous
from tests.support.waiting import until
from tests.unit.meshnode.agent.proxy_lab import ENVIRONMENT, FakeLauncher, FakeProcess, Lab, lab, snapshot


async def left_running(folder: Path) -> tuple[FakeProcess, FakeLauncher]:
    """The proxy that an agent left running when it ended, and the launcher of the next agent, which finds it."""
    first = Lab(folder, FakeLauncher())
    first.proxies.start()
    first.register()
    await first.running("web-proxy")
    await first.proxies.stop()
    (old,) = first.launcher.processes
    launcher = FakeLauncher()
    launcher.there = {(old.pid, old.started): old}
    return old, launcher


@asynchronous
async def test_without_a_data_directory_proxies_end_with_the_agent() -> None:
    made = Lab(None, FakeLauncher())
    made.proxies.start()
    made.register()
    await made.running("web-proxy")
    assert made.launcher.started[0][2:] == (None, None)
    await made.proxies.stop()
    assert made.launcher.processes[0].ended.done()


@asynchronous
async def test_with_a_data_directory_they_outlive_the_agent_and_the_next_one_takes_them_over(
    tmp_path: Path,
) -> None:
    first = Lab(tmp_path, FakeLauncher())
    first.proxies.start()
    first.register()
    first.register("gone")
    await first.running("web-proxy", "gone-proxy")
    token = first.proxies.tokens.of("web-proxy")
    await first.proxies.stop()
    assert not any(process.ended.done() for process in first.launcher.processes)
    assert (tmp_path / "snapshot.json").stat().st_mode & 0o777 == 0o600
    launcher = FakeLauncher()
    launcher.there = {(process.pid, process.started): process for process in first.launcher.processes}
    async with lab(tmp_path, launcher) as second:
        second.register()
        second.proxies.start()
        assert await second.running("web-proxy") == {"web-proxy": 100}
        assert (launcher.started, second.proxies.tokens.of("web-proxy")) == ([], token)
        gone = first.launcher.processes[1]
        await until(gone.ended.done, "the proxy of a service that is gone has ended", interval=0.001)
        first.launcher.processes[0].exit(None)
        await until(lambda: launcher.started, "what was taken over is started again", interval=0.001)
        assert launcher.started[0][1]["CONSUL_HTTP_TOKEN"] == token


@asynchronous
async def test_an_agent_that_stops_before_it_has_started_leaves_what_runs_alone(tmp_path: Path) -> None:
    first = Lab(tmp_path, FakeLauncher())
    first.proxies.start()
    first.register()
    await first.running("web-proxy")
    await first.proxies.stop()
    before = snapshot(tmp_path)
    await Lab(tmp_path, FakeLauncher()).proxies.stop()
    assert snapshot(tmp_path) == before != {}


@asynchronous
async def test_what_was_started_in_another_way_is_replaced(tmp_path: Path) -> None:
    old, launcher = await left_running(tmp_path)
    async with lab(tmp_path, launcher) as second:
        second.register(Command=["other"])
        second.proxies.start()
        await second.running("web-proxy")
        assert (old.ended.done(), [started[0] for started in launcher.started]) == (True, [("other",)])


@pytest.mark.parametrize(
    ("changed", "taken_over"),
    [({"INVOCATION_ID": "other"}, True), ({"CONSUL_HTTP_ADDR": "127.0.0.1:8501"}, False)],
)
def test_another_address_of_the_api_means_another_process_and_another_environment_does_not(
    tmp_path: Path, changed: dict[str, str], taken_over: bool
) -> None:
    @asynchronous
    async def scenario() -> None:
        old, launcher = await left_running(tmp_path)
        second = Lab(tmp_path, launcher)
        second.proxies = ManagedProxies(
            second.agent.state, second.agent.changes, ManagedSettings(ENVIRONMENT | changed, tmp_path),
            clock=lambda: second.agent.now, launcher=launcher, sleep=second.sleep,
        )  # fmt: skip
        second.register()
        second.proxies.start()
        await second.running("web-proxy")
        assert (not old.ended.done(), launcher.started == []) == (taken_over, taken_over)
        await second.proxies.stop()

    scenario()


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "{}", '{"Proxies": []}', '{"Proxies": {"web-proxy": []}}', '{"Proxies": {"web-proxy": {}}}',
        '{"Proxies": {"web-proxy": {"Config": []}}}',
        '{"Proxies": {"web-proxy": {"Config": {"Pid": "1", "Started": 1, "ProxyToken": "t"}}}}',
        '{"Proxies": {"web-proxy": {"Config": {"Pid": 1, "Started": 1, "ProxyToken": ""}}}}',
    ],
)  # fmt: skip
def test_a_damaged_snapshot_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "snapshot.json").write_text(text)

    @asynchronous
    async def scenario() -> None:
        async with lab(tmp_path) as made:
            made.proxies.start()
            made.register()
            await made.running("web-proxy")

    scenario()
