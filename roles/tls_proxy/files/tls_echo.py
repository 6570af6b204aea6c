"""An HTTP or HTTPS service that answers with what it was asked, as JSON; of the standard library only.

The answer has the fields, in their order, of the echo service in Envoy's TLS sandbox: ``connection.servername`` is the
name that the TLS client sent, ``false`` when it sent none, and absent over plain HTTP. Forwarded headers are
believed of private addresses, as there.

Usage: tls_echo.py PORT [CERT_FILE KEY_FILE]      with two files it speaks HTTPS
"""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

IDLE_TIMEOUT = 60.0
HANDSHAKE_TIMEOUT = 10.0
MAX_BODY_BYTES = 1024 * 1024


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_TIMEOUT
    connection: socket.socket

    def setup(self) -> None:
        """The handshake is this connection's own: nobody else waits for it."""
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(HANDSHAKE_TIMEOUT)
            self.request.do_handshake()
        super().setup()

    def answer(self) -> None:
        """What was asked, whatever the method."""
        body = self.body()
        if body is None:
            return
        text = json.dumps(self.described(body), indent=2, ensure_ascii=False).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def __getattr__(self, name: str) -> Any:
        """Every method is answered: the base class looks for ``do_<METHOD>``."""
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def body(self) -> bytes | None:
        """The request's body; ``None``: it was refused."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self.chunked()
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdecimal()) or int(length[:20]) > MAX_BODY_BYTES:
            return self.refuse()
        return self.rfile.read(int(length))

    def chunked(self) -> bytes | None:
        """A body in pieces (RFC 9112 7.1)."""
        found = b""
        while True:
            try:
                size = int(self.rfile.readline(64).split(b";")[0], 16)
            except ValueError:
                return self.refuse()
            if size < 0 or len(found) + size > MAX_BODY_BYTES:
                return self.refuse()
            if not size:
                break
            found += self.rfile.read(size)
            self.rfile.readline(8)
        while self.rfile.readline(65537).strip():
            pass
        return found

    def refuse(self) -> None:
        """Say that the body can't be read."""
        self.close_connection = True
        self.send_error(413, f"The body has to have at most {MAX_BODY_BYTES} bytes")

    def described(self, body: bytes) -> dict[str, Any]:
        """The answer."""
        headers = self.named_headers()
        peer = self.client_address[0]
        believed = _is_private(peer)
        secure = isinstance(self.request, ssl.SSLSocket)
        protocol, ips = "https" if secure else "http", []
        if believed:
            protocol = headers.get("x-forwarded-proto", protocol).split(",")[0].strip()
            ips = [one.strip() for one in headers.get("x-forwarded-for", "").split(",") if one.strip()]
        hostname = _host(headers.get("x-forwarded-host", "") if believed else "") or _host(
            headers.get("host", "")
        )
        url = urlsplit(self.path)
        return {
            "path": url.path,
            "headers": headers,
            "method": self.command,
            "body": body.decode("utf-8", "replace"),
            "fresh": self.command in ("GET", "HEAD") and headers.get("if-none-match") == "*",
            "hostname": hostname,
            "ip": ips[0] if ips else peer,
            "ips": ips,
            "protocol": protocol,
            "query": {name: found if len(found) > 1 else found[0]
                      for name, found in parse_qs(url.query, keep_blank_values=True).items()},
            "subdomains": _subdomains(hostname),
            "xhr": headers.get("x-requested-with", "").lower() == "xmlhttprequest",
            "os": {"hostname": socket.gethostname()},
            "connection": {"servername": getattr(self.request, "servername", None) or False} if secure else {},
        }  # fmt: skip

    def named_headers(self) -> dict[str, str]:
        """In the order in which they came, names in lower case; one that comes twice is joined."""
        found: dict[str, str] = {}
        for name, value in self.headers.items():
            key = name.lower()
            found[key] = f"{found[key]}, {value}" if key in found else value
        return found

    def log_message(self, form: str, *values: object) -> None:
        """One line for the journal, without what a stranger could put into it."""
        text = "".join(character if character.isprintable() else "?" for character in form % values)
        print(f"{self.client_address[0]} {text}", file=sys.stderr, flush=True)


class Server(ThreadingHTTPServer):
    """Listens for IPv4 and IPv6 on one socket, so an IPv4 client is ``::ffff:1.2.3.4``."""

    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port: int, cert_file: str = "", key_file: str = "") -> None:
        self.context: ssl.SSLContext | None = None
        if cert_file:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(cert_file, key_file)
            self.context.sni_callback = _remember_name
        super().__init__(("::", port), Handler)

    def server_bind(self) -> None:
        """Both families; no reverse look-up of the own name."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "echo", self.server_address[1]

    def get_request(self) -> tuple[socket.socket, Any]:
        """A client; its handshake is left to its own thread."""
        accepted, address = super().get_request()
        if self.context is not None:
            accepted = self.context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        return accepted, address

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away, or speaks no TLS, is one line and no traceback."""
        print(f"{client_address}: {sys.exception()}", file=sys.stderr, flush=True)


def _remember_name(connection: Any, name: str | None, context: ssl.SSLContext) -> None:
    connection.servername = name


def _host(authority: str) -> str:
    host = authority.split(",")[0].strip()
    return host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]


def _subdomains(hostname: str) -> list[str]:
    """What is in front of the last two labels, nearest first; none of an address."""
    try:
        ipaddress.ip_address(hostname.strip("[]"))
    except ValueError:
        return hostname.split(".")[::-1][2:] if hostname else []
    return []


def _is_private(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_private)


if __name__ == "__main__":
    Server(int(sys.argv[1]), *sys.argv[2:4]).serve_forever()
