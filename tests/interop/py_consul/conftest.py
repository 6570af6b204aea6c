"""Every method of py-consul against running agents: a client of Consul that we did not write."""

from __future__ import annotations

import http.server
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import consul
import pytest

from meshnode.testing import Mesh
from tests.support.py_consul import client_of

_names = (f"name{number}" for number in itertools.count())


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONSUL_HTTP_ADDR", "CONSUL_HTTP_TOKEN", "CONSUL_HTTP_SSL", "CONSUL_HTTP_SSL_VERIFY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Mesh]:
    with Mesh(
        servers=1, clients=2, secure=True, config={"enable_script_checks": True, "connect": {"enabled": True}}
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def guarded() -> Iterator[Mesh]:
    with Mesh(servers=1, acl=True) as guarded:
        yield guarded


@pytest.fixture
def server(cluster: Mesh) -> consul.Consul:
    return client_of(cluster["server1"])


@pytest.fixture
def client(cluster: Mesh) -> consul.Consul:
    """Calls to a client agent, which passes them on to the server."""
    return client_of(cluster["client1"])


@pytest.fixture
def manager(guarded: Mesh) -> consul.Consul:
    """Calls with the management token."""
    return client_of(guarded["server1"], token=guarded.token)


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return next(_names)


@pytest.fixture
def web() -> Iterator[str]:
    """URL of a server that answers 200 to everything, if the header ``x-asks`` came with it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers.get("x-asks") == "py-consul" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()
