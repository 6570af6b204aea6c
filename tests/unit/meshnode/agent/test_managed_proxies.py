"""Managed proxies are started, started again and ended; processes are fakes but for one test."""

from __future__ import annotations

import json
import logging
import os
import signal
from pathlib import Path

import pytest

from tests.support.asynchronous import asynchronous
from tests.support.waiting import until
from tests.unit.meshnode.agent.proxy_lab import ENVIRONMENT, lab, snapshot


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
        made.launcher.refusal = "No such file or directory"
        made.proxies.start()
        made.register()
        await until(lambda: len(made.slept) > 3, "it is tried", interval=0.001)
        made.launcher.refusal = ""
        await made.running("web-proxy")
        assert "can't run 'own': No such file or directory: started again in 2s" in caplog.text


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
