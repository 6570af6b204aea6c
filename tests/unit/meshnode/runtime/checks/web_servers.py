"""Web servers, good and bad, and the HTTP checks of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any

import pytest

from meshnode.local.check_status import Result
from meshnode.local.check_type import HttpCheck
from meshnode.runtime.checks.http import check_http
from tests.support.checks import no_tls
from tests.support.rpc_lab import LOOPS, run

__all__ = ["Web", "ask", "loops", "web"]


loops = pytest.mark.parametrize("loop", LOOPS)


class Web:
    """``answers``: path -> (status, headers, body); what was asked is kept."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []


@contextlib.contextmanager
def web(tls: SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            served.asked.append((self.command, self.path, headers, body))
            status, extra, content = served.answers.get(self.path, (404, {}, b"nothing here"))
            self.send_response(status)
            for name, value in extra.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_HEAD = _serve  # noqa: N815

        def log_message(self, *_args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_args: object) -> None:
            pass  # refused handshakes are what some tests are about

    server = Server((host, 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    served = Web(f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(
    url: str, contexts: Callable[[bool], SSLContext] = no_tls, loop: str = "asyncio", **more: Any
) -> Result:
    check = HttpCheck(url, **{"interval": 10, "timeout": 10, **more})
    return run(lambda: check_http(check, contexts), loop)
