"""Managed proxies are started, started again, taken over and ended; processes are fakes but for two tests."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.local_services import LocalPolicy
from meshnode.agent.managed_proxies import ManagedProxies, ManagedSettings
from meshnode.local.managed import ProxyDefaults
from meshnode.local.parse import parse_service
from meshnode.local.proxy_plan import ProxyRules
from meshnode.runtime.child import ChildError
from tests.support.asynchronous import asynchronous
from tests.support.local_agent import LocalAgent
from tests.support.waiting import until

ENVIRONMENT = {"PATH": os.environ["PATH"], "CONSUL_HTTP_ADDR": "127.0.0.1:8500"}
POLICY = LocalPolicy(
    allow_managed_proxies=True,
    proxies=ProxyRules(defaults=ProxyDefaults(own_command=("own", "connect", "proxy"))),
)


class FakeProcess:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.started = pid * 10
        self.ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int | None:
        return await asyncio.shield(self.ended)

    async def end(self) -> None:
        self.exit(-signal.SIGTERM)

    def exit(self, code: int | None) -> None:
        if not self.ended.done():
            self.ended.set_result(code)


class FakeLauncher:
    """Processes have the ids 100, 101, ...; ``there`` are those of an earlier run."""

    def __init__(self) -> None:
        self.started: list[tuple[tuple[str, ...], Mapping[str, str], Path | None, Path | None]] = []
        self.processes: list[FakeProcess] = []
        self.there: dict[tuple[int, int], FakeProcess] = {}
        self.refusal = ""

    def start(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        stdout: Path | None,
        stderr: Path | None,
    ) -> FakeProcess:
        if self.refusal:
            raise ChildError(self.refusal)
        self.started.append((arguments, environment, stdout, stderr))
        self.processes.append(FakeProcess(100 + len(self.processes)))
        return self.processes[-1]

    def adopt(self, pid: int, started: int) -> FakeProcess | None:
        return self.there.get((pid, started))


class Lab:
    def __init__(self, directory: Path | None, launcher: FakeLauncher | None, refusal: str = "") -> None:
        self.agent = LocalAgent(policy=POLICY)
        self.launcher = launcher or FakeLauncher()
        self.slept: list[float] = []
        self.proxies = ManagedProxies(
            self.agent.state,
            self.agent.changes,
            ManagedSettings(ENVIRONMENT, directory, refusal),
            clock=lambda: self.agent.now,
            launcher=launcher,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.agent.now += seconds
        await asyncio.sleep(0)

    def register(self, name: str = "web", **proxy: Any) -> None:
        body = {"Name": name, "Port": 80, "Token": "service-token", "Connect": {"Proxy": proxy}}
        self.agent.services.register_service(parse_service(body))

    async def running(self, *proxy_ids: str) -> dict[str, int]:
        await until(
            lambda: sorted(self.proxies.pids) == sorted(proxy_ids), f"{proxy_ids} run", interval=0.001
        )
        return self.proxies.pids


@asynccontextmanager
async def lab(
    directory: Path | None = None,
    launcher: FakeLauncher | None = None,
    *,
    refusal: str = "",
    real: bool = False,
) -> AsyncIterator[Lab]:
    made = Lab(directory, None if real else launcher or FakeLauncher(), refusal)
    try:
        yield made
    finally:
        await made.proxies.stop()


def snapshot(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "snapshot.json").read_text())
    return found["Proxies"]


@asynchronous
async def test_a_proxy_runs_with_its_command_its_token_and_the_api_in_its_environment(tmp_path: Path) -> None:
    async with lab(tmp_path) as made:
        made.proxies.start()
        made.register()
        assert await made.running("web-proxy") == {"web-proxy": 100}
        ((arguments, environment, stdout, stderr),) = made.launcher.started
        token = made.proxies.tokens.of("web-proxy")
        assert arguments == ("own", "connect", "proxy")
        assert environment == {
            **ENVIRONMENT, "CONSUL_PROXY_ID": "web-proxy", "CONNECT_PROXY_ID": "web-proxy",
            "CONSUL_HTTP_TOKEN": token, "CONSUL_PROXY_TOKEN": token, "CONNECT_PROXY_TOKEN": token,
        }  # fmt: skip
        assert stdout == tmp_path / "logs" / "web-proxy-stdout.log"
        assert stderr == tmp_path / "logs" / "web-proxy-stderr.log"
        assert made.proxies.tokens.identify(token) == ("web-proxy", "service-token")


@pytest.mark.parametrize("name", ["a/b", "..", "x" * 300, "ä", ".hidden"])
def test_any_id_has_a_file_of_its_own_in_the_directory_of_logs(tmp_path: Path, name: str) -> None:
    @asynchronous
    async def scenario() -> None:
        async with lab(tmp_path) as made:
            made.proxies.start()
            made.register(name)
            await made.running(f"{name}-proxy")
            path = made.launcher.started[0][2]
            assert path is not None
            assert path.parent == tmp_path / "logs"
            assert len(path.name.encode()) < 200

    scenario()


@asynchronous
async def test_a_proxy_ends_with_its_service_and_its_token_with_it(tmp_path: Path) -> None:
    async with lab(tmp_path) as made:
        made.proxies.start()
        made.register()
        made.register("db")
        await made.running("web-proxy", "db-proxy")
        token = made.proxies.tokens.of("web-proxy")
        made.agent.services.deregister_service("web")
        await made.running("db-proxy")
        assert [process.ended.done() for process in made.launcher.processes] == [True, False]
        assert made.proxies.tokens.identify(token) is None
        assert list(snapshot(tmp_path)) == ["db-proxy"]


@asynchronous
async def test_a_proxy_goes_on_over_another_configuration_and_not_over_another_command(
    tmp_path: Path,
) -> None:
    async with lab(tmp_path) as made:
        made.proxies.start()
        made.register(Config={"a": 1})
        made.register("db")
        await made.running("web-proxy", "db-proxy")
        made.register(Config={"a": 2, "bind_port": 9})
        made.register(Config={"a": 2}, Command=["other"])
        await until(lambda: made.proxies.pids.get("web-proxy") == 102, "another process runs", interval=0.001)
        assert [process.ended.done() for process in made.launcher.processes] == [True, False, False]
        assert [started[0][0] for started in made.launcher.started] == ["own", "own", "other"]
        tokens = {
            started[1]["CONSUL_HTTP_TOKEN"]
            for started in made.launcher.started
            if "db" not in started[1]["CONSUL_PROXY_ID"]
        }
        assert len(tokens) == 1


@asynchronous
async def test_a_proxy_that_ends_is_started_again_later_and_later(caplog: pytest.LogCaptureFixture) -> None:
    async with lab() as made:
        made.proxies.start()
        made.register()
        for number in range(5):
            await until(
                lambda number=number: len(made.launcher.processes) == number + 1, "it runs", interval=0.001
            )  # type: ignore[misc]
            made.launcher.processes[-1].exit(1)
        await until(lambda: len(made.launcher.processes) == 6, "it runs", interval=0.001)
        assert made.slept == [1.0, 1.0, 1.0, 2.0, 4.0]
        assert 'managed proxy "web-proxy": it ended with exit code 1: started again in 1s' in caplog.text
        made.agent.now += 10
        made.launcher.processes[-1].exit(None)
        await until(lambda: len(made.launcher.processes) == 7, "it runs", interval=0.001)
        assert made.slept[5:] == [1.0]


@asynchronous
async def test_a_command_that_is_not_there_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async with lab() as made:
        made.launcher.refusal = "can't run 'own': No such file or directory"
        made.proxies.start()
        made.register()
        await until(lambda: len(made.slept) > 3, "it is tried", interval=0.001)
        made.launcher.refusal = ""
        await made.running("web-proxy")
        assert "can't run 'own': No such file or directory: started again in 2s" in caplog.text


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
    first = Lab(tmp_path, FakeLauncher())
    first.proxies.start()
    first.register()
    await first.running("web-proxy")
    await first.proxies.stop()
    (old,) = first.launcher.processes
    launcher = FakeLauncher()
    launcher.there = {(old.pid, old.started): old}
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
        first = Lab(tmp_path, FakeLauncher())
        first.proxies.start()
        first.register()
        await first.running("web-proxy")
        await first.proxies.stop()
        (old,) = first.launcher.processes
        launcher = FakeLauncher()
        launcher.there = {(old.pid, old.started): old}
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


@asynchronous
async def test_a_root_agent_runs_none_and_says_why_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with lab(tmp_path, refusal="the agent runs as root: set the key") as made:
        with caplog.at_level(logging.INFO):
            made.proxies.start()
            made.register()
            await until(lambda: "is not started" in caplog.text, "it is said", interval=0.001)
            made.register(Config={"a": 1})
            made.register("db")
            await until(lambda: '"db-proxy" is not started' in caplog.text, "it is said", interval=0.001)
        assert caplog.text.count('the managed proxy "web-proxy" is not started: the agent runs as root') == 1
        assert (made.launcher.started, [one.id for one in made.agent.state.services()]) == (
            [], ["db", "db-proxy", "web", "web-proxy"],
        )  # fmt: skip


@asynchronous
async def test_a_script_is_run_at_the_start_and_after_each_change_with_the_configuration_to_read(
    tmp_path: Path,
) -> None:
    out = tmp_path / "seen"
    script = ["/bin/sh", "-c", f'cat >> {out}; echo " $CONNECT_PROXY_ID" >> {out}']
    async with lab(tmp_path, real=True) as made:
        made.proxies.start()
        made.register(ExecMode="script", Command=script, Config={"a": 1})
        await until(
            lambda: out.exists() and out.read_text().count("web-proxy\n") == 1, "it was run", interval=0.01
        )
        made.register(ExecMode="script", Command=script, Config={"a": 1})
        made.register(ExecMode="script", Command=script, Config={"a": 2})
        await until(lambda: out.read_text().count(" web-proxy\n") == 2, "it was run again", interval=0.01)
        seen = [json.loads(line.removesuffix(" web-proxy")) for line in out.read_text().splitlines()]
        assert [found["Config"]["a"] for found in seen] == [1, 2]
        assert seen[0]["ProxyServiceID"] == "web-proxy"
        assert seen[0]["ContentHash"] != seen[1]["ContentHash"]


@asynchronous
async def test_a_script_that_fails_is_run_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    done = tmp_path / "done"
    async with lab(tmp_path, real=True) as made:
        made.proxies.start()
        made.register(
            ExecMode="script", Command=["/bin/sh", "-c", f"test -e {done} || {{ touch {done}; exit 3; }}"]
        )
        await until(lambda: made.slept == [1.0], "it failed", interval=0.01)
        assert 'the script of proxy "web-proxy" failed: exit code 3: run again in 1s' in caplog.text


@asynchronous
async def test_a_real_process_is_started_again_and_ends_with_its_service(tmp_path: Path) -> None:
    async with lab(tmp_path, real=True) as made:
        made.proxies.start()
        made.register(Command=["/bin/sh", "-c", "echo up $CONSUL_PROXY_ID; exec sleep 1000"])
        first = (await made.running("web-proxy"))["web-proxy"]
        log = tmp_path / "logs" / "web-proxy-stdout.log"
        await until(lambda: log.read_text() == "up web-proxy\n", "it runs", interval=0.01)
        os.kill(first, signal.SIGKILL)
        await until(
            lambda: made.proxies.pids.get("web-proxy", first) != first, "it is there again", interval=0.01
        )
        second = made.proxies.pids["web-proxy"]
        await until(lambda: log.read_text() == "up web-proxy\n" * 2, "it runs", interval=0.01)
        made.agent.services.deregister_service("web")
        await made.running()
        await until(lambda: not Path(f"/proc/{second}").exists(), "it has ended", interval=0.01)
