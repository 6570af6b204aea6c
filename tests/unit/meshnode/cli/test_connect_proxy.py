"""The command itself, before anything listens; ``tests/interop/test_connect_proxy.py`` has the rest."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import resource
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from meshnode.cli.connect_proxy_engine import (
    MAX_DESCRIPTORS,
    SidecarMaker,
    make_engine,
    raise_descriptor_limit,
)
from meshnode.client.settings import ApiSettings
from meshnode.proxy.config import ProxyConfig
from meshnode.runtime.proxy.process import OneProcess
from meshnode.runtime.proxy.workers import Workers
from tests.support.asynchronous import asynchronous
from tests.support.http_stub import StubAgent

MAKER = SidecarMaker(ApiSettings(address="http://127.0.0.1:1", token="secret"), "web", "dc1", 20)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """The command takes over the log of this process."""
    root = logging.getLogger("meshnode")
    before = root.handlers[:], root.level, root.propagate
    yield
    root.handlers, root.propagate = before[0], before[2]
    root.setLevel(before[1])


def test_what_cannot_be_prepared_is_told_as_consul_tells_it(run: Any, agent: StubAgent) -> None:
    done = run("connect", "proxy")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("==> Error preparing configuration: -service or -proxy-id must be specified")

    agent.answer("GET /v1/agent/services", {"web": {}})
    done = run("connect", "proxy", "-sidecar-for", "web")
    assert (done.code, done.out) == (1, "==> Consul Connect proxy starting...\n")
    assert done.err.startswith("==> Error preparing configuration: No sidecar proxy registered for web\n")


def test_help_is_help(run: Any) -> None:
    done = run("connect", "proxy", "-h")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: consul connect proxy [options]")


def test_a_signal_ends_it_while_it_waits_for_the_agent(run: Any, agent: StubAgent) -> None:
    class Stopping(dict[str, Any]):
        """The first question of the proxy is when it is told to stop."""

        def get(self, key: str, default: Any = None) -> Any:
            if key.startswith("GET /v1/agent/connect/ca/leaf"):
                os.kill(os.getpid(), signal.SIGTERM)
            return default

    agent.answers = Stopping()
    done = run("connect", "proxy", "-service", "web", "-upstream", "db:8181", "-log-level", "debug")
    assert done.code == 0
    assert (
        "    Configuration mode: Flags\n               Service: web\n              Upstream: db => :8181\n"
        in done.out
    )
    assert "\n\n==> Log data will now stream in as it occurs:\n\n" in done.out
    assert "[INFO] Caught signal: terminated\n" in done.out
    assert done.out.endswith("==> Consul Connect proxy shutdown\n")


def test_what_makes_a_sidecar_can_be_sent_to_a_worker_and_shows_no_token() -> None:
    again = pickle.loads(pickle.dumps(MAKER))
    assert again == MAKER
    assert "secret" not in repr(MAKER)


@pytest.mark.parametrize(("workers", "kind"), [(1, OneProcess), (2, Workers)])
@asynchronous
async def test_one_process_or_several_run_it(workers: int, kind: type) -> None:
    await asyncio.sleep(0)
    assert isinstance(make_engine(MAKER, ProxyConfig("web"), workers), kind)


def test_a_process_may_open_as_many_files_as_it_is_allowed_to() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(before[1], MAX_DESCRIPTORS), before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
