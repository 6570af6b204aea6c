"""An HTTP service for the lab, of the standard library only: answers a GET with what was asked, a POST with its body.

Usage: lab_api.py PORT
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_BODY_BYTES = 1024 * 1024
IDLE_TIMEOUT = 60.0


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_TIMEOUT

    def do_GET(self) -> None:
        """What was asked, as JSON."""
        asked = {
            "service": "api",
            "method": self.command,
            "path": self.path,
            "host": self.headers.get("Host", ""),
        }
        self._answer(200, json.dumps(asked).encode() + b"\n", "application/json")

    def do_POST(self) -> None:
        """The body, as it came."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self._answer(411, f"Content-Length has to be 0 to {MAX_BODY_BYTES}\n".encode(), "text/plain")
            return
        self._answer(200, self.rfile.read(int(length)), "application/octet-stream")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
