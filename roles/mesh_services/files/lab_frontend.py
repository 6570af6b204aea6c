"""A client of the lab's HTTP service, of the standard library only: asks it for each page that it is asked for.

It knows a port on loopback and nothing of the mesh: its sidecar listens there.

Usage: lab_frontend.py PORT UPSTREAM_PORT
"""

from __future__ import annotations

import http.client
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

IDLE_TIMEOUT = 60.0
UPSTREAM_TIMEOUT = 5.0
MAX_ANSWER_BYTES = 1024 * 1024


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_TIMEOUT

    def do_GET(self) -> None:
        """What the service says, or 502 with the reason."""
        status, body = ask(self.path)
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def ask(path: str) -> tuple[int, bytes]:
    """Status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[2]), timeout=UPSTREAM_TIMEOUT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, b"frontend has asked api, which says: " + answer.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        return 502, f"frontend can't reach api: {type(error).__name__}\n".encode()
    finally:
        connection.close()


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
