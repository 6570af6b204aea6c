"""A real HTTP server in a thread, for commands: answers what it was told, and writes down what it was asked."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["Asked", "StubAgent", "stub_agent"]


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class StubAgent:
    """``answers`` maps ``"PUT /v1/agent/leave"`` to (status, body); anything else is 404."""

    address: str
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def answer(self, call: str, body: Any = b"", status: int = 200) -> None:
        self.answers[call] = (status, body)

    @property
    def last(self) -> Asked:
        return self.asked[-1]


@contextlib.contextmanager
def stub_agent(tls: ssl.SSLContext | None = None) -> Iterator[StubAgent]:
    """Serve on a free port of 127.0.0.1 until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            stub.asked.append(Asked(self.command, parts.path, query, dict(self.headers), body))
            status, content = stub.answers.get(f"{self.command} {parts.path}", (404, b"no such path"))
            pieces = (
                content if isinstance(content, list) and content and isinstance(content[0], bytes) else None
            )
            self.send_response(status)
            if pieces is not None:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for piece in (*pieces, b""):
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                return
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

        def log_message(self, *_args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_args: object) -> None:
            pass  # a refused handshake is what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    stub = StubAgent(f"127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
