from __future__ import annotations

from typing import Any

import pytest

from meshnode.cli import monitor
from tests.support.http_stub import StubAgent


def test_lines_are_passed_on_until_the_agent_ends(agent: StubAgent, run: Any) -> None:
    agent.answer(
        "GET /v1/agent/monitor", [b"2019/01/24 [INFO] one\n", b"2019/01/24 [WARN] caf\xc3", b"\xa9\n"]
    )
    done = run("monitor", "-log-level=debug")
    assert done.out.startswith(
        "2019/01/24 [INFO] one\n2019/01/24 [WARN] café\n\nRemote side ended the monitor!"
    )
    assert done.code == 0
    assert agent.last.query == {"loglevel": "debug"}


def test_an_unknown_level_is_the_agents_to_refuse(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/agent/monitor", b"Unknown log level: loud", status=400)
    done = run("monitor", "-log-level=loud")
    assert (done.code, done.out) == (1, "")
    assert done.err == "Error starting monitor: Unexpected response code: 400 (Unknown log level: loud)\n"


def test_an_interrupt_is_the_usual_end(agent: StubAgent, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(monitor.ClientFlags, "client", interrupted)
    with pytest.raises(KeyboardInterrupt):
        monitor.run([])  # before there is a stream it is an interrupt like any other
    agent.answer("GET /v1/agent/monitor", [b"one\n"])
    monkeypatch.undo()
    monkeypatch.setattr("meshnode.cli.api.ApiClient.stream", interrupted)
    assert run("monitor", f"-http-addr={agent.address}").code == 0
