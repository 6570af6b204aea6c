"""What ends a proxy in the foreground; ``test_connect_proxy`` and ``test_tls_proxy`` have the commands themselves."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import NoReturn

import pytest

from meshnode.base.errors import MeshError
from meshnode.cli.foreground import Foreground, announce, failed, run_on_loop
from tests.support.asynchronous import asynchronous

LOG = logging.getLogger("tests.foreground")


class Proxy:
    """Work that sends its own process ``before`` while it runs and ``after`` while it ends."""

    def __init__(self, before: tuple[int, ...] = (), after: tuple[int, ...] = ()) -> None:
        self.events: list[str] = []
        self.before, self.after = before, after
        self.hurried = asyncio.Event()
        self.foreground = Foreground(
            "Test proxy",
            LOG,
            drain_timeout=10.0,
            hurry=self.hurry,
            stopping=lambda: self.events.append("stopping"),
        )

    def hurry(self) -> None:
        self.events.append("hurry")
        self.hurried.set()

    async def work(self) -> int:
        try:
            for number in self.before:
                os.kill(os.getpid(), number)
            if self.before:
                await asyncio.Event().wait()
            return 3
        finally:
            for number in self.after:
                os.kill(os.getpid(), number)
                await self.hurried.wait()
            self.events.append(f"ended within {self.foreground.drain_timeout:g} s")


@asynchronous
async def test_work_that_ends_by_itself_gives_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    proxy = Proxy()
    assert await proxy.foreground.run(proxy.work) == 3
    assert proxy.events == ["ended within 10 s"]
    assert capsys.readouterr().out == "==> Test proxy starting...\n"


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "interrupt"), (signal.SIGTERM, "terminated")])
def test_a_signal_lets_what_is_open_end(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, number: int, name: str
) -> None:
    caplog.set_level(logging.INFO, LOG.name)

    async def main() -> list[str]:
        proxy = Proxy(before=(number,))
        assert await proxy.foreground.run(proxy.work) == 0
        return proxy.events

    assert asyncio.run(main()) == ["stopping", "ended within 10 s"]
    assert caplog.messages == [f"Caught signal: {name}"]
    assert capsys.readouterr().out == "==> Test proxy starting...\n==> Test proxy shutdown\n"


@asynchronous
async def test_a_second_signal_waits_for_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOG.name)
    proxy = Proxy(before=(signal.SIGTERM,), after=(signal.SIGINT,))
    assert await proxy.foreground.run(proxy.work) == 0
    assert proxy.events == ["stopping", "hurry", "ended within 0 s"]
    assert caplog.messages == ["Caught signal: terminated", "Caught second signal: interrupt. Exiting"]


@asynchronous
async def test_what_the_work_raises_is_raised() -> None:
    async def work() -> NoReturn:
        raise MeshError("no")

    with pytest.raises(MeshError, match="no"):
        await Proxy().foreground.run(work)


def test_it_runs_on_uvloop() -> None:
    async def main() -> int:
        return 7 if type(asyncio.get_running_loop()).__module__.startswith("uvloop") else 1

    assert run_on_loop(main) == 7


def test_a_failure_is_told_on_standard_error_and_what_runs_before_its_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert failed("Failed running proxy", MeshError("port 80 is taken")) == 1
    announce(["Service: web"])
    shown = capsys.readouterr()
    assert shown.err == "==> Failed running proxy: port 80 is taken\n"
    assert shown.out == "    Service: web\n\n==> Log data will now stream in as it occurs:\n\n"
