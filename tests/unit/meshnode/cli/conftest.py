from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from meshnode.cli.main import main
from tests.support.http_stub import StubAgent, stub_agent


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubAgent]:
    """An agent that the commands of this test talk to."""
    for name in ("HTTP_TOKEN", "HTTP_AUTH", "HTTP_SSL", "HTTP_SSL_VERIFY", "CACERT", "CAPATH", "CLIENT_CERT",
                 "CLIENT_KEY", "TLS_SERVER_NAME"):  # fmt: skip
        monkeypatch.delenv(f"CONSUL_{name}", raising=False)
    with stub_agent() as stub:
        monkeypatch.setenv("CONSUL_HTTP_ADDR", stub.address)
        yield stub


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run the command line in this process."""

    def run_it(*args: str) -> Done:
        capfd.readouterr()
        code = main(list(args))
        return Done(code, *capfd.readouterr())

    return run_it
