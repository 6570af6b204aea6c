"""One HTTP/1.1 exchange over a socket: httptools reads, the standard library connects.

``http.client`` would do, but it loads ``ssl`` and ``email``, which takes longer than all the rest of ``members``; here
TLS is loaded only for ``https://``. Every failure is a :class:`MeshError` that says what to look at.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.base.http_answer import AnswerReader, MalformedAnswer
from meshnode.client.answer import MAX_ANSWER_BYTES
from meshnode.client.endpoint import (
    Endpoint,
    TlsFiles,
    broken_off,
    not_an_agent,
    oversized,
    tls_context,
    unreachable,
)

__all__ = ["Connection"]

READ_BYTES: Final = 64 * 1024
#: Seconds to connect.
CONNECT_TIMEOUT: Final = 10.0


class Connection:
    """One request and its answer; a context manager. ``timeout`` (seconds, ``None``: for ever) is for each read."""

    def __init__(self, endpoint: Endpoint, tls: TlsFiles, timeout: float | None) -> None:
        self._endpoint = endpoint
        self._reader = AnswerReader()
        self._bounded = timeout is not None
        self._connected = False
        context = tls_context(tls) if endpoint.secure else None
        try:
            self._socket = _connect(endpoint)
            if context is not None:
                self._socket = context.wrap_socket(
                    self._socket, server_hostname=tls.server_name or endpoint.host
                )
            self._socket.settimeout(timeout)
            self._connected = True
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from None

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; what is half read is lost."""
        self._socket.close()

    def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> None:
        """Send the request."""
        endpoint = self._endpoint
        lines = [f"{method} {target} HTTP/1.1", f"Host: {endpoint.authority}", "User-Agent: meshnode"]
        lines.append("Connection: close")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None or method != "GET":
            lines.append(f"Content-Length: {len(body or b'')}")
        head = "\r\n".join([*lines, "", ""]).encode()
        try:
            self._socket.sendall(head + (body or b""))
        except OSError as error:
            raise self._unreachable(error) from None

    def status(self) -> int:
        """The status of the answer; reads until it is there."""
        while not self._reader.status:
            self._read()
        return self._reader.status

    def header(self, name: str) -> str:
        """A header of the answer, once :meth:`status` is known; empty when it was not sent."""
        return self._reader.headers.get(name.lower(), "")

    def body(self) -> Iterator[bytes]:
        """The body, in pieces as they come."""
        total = 0
        while True:
            while self._reader.pieces:
                piece = self._reader.pieces.pop(0)
                total += len(piece)
                if self._bounded and total > MAX_ANSWER_BYTES:
                    raise oversized(self._endpoint, MAX_ANSWER_BYTES)
                yield piece
            if self._reader.complete:
                return
            self._read()

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except OSError as error:
            raise self._unreachable(error) from None
        if not data:
            if self._reader.ended():
                return
            if self._endpoint.secure and not self._reader.status:
                raise self._unreachable(EOFError())
            raise broken_off(self._endpoint)
        try:
            self._reader.feed(data)
        except MalformedAnswer as error:
            raise not_an_agent(self._endpoint, error) from None

    def _unreachable(self, error: Exception) -> MeshError:
        return unreachable(self._endpoint, error, connected=self._connected)


def _connect(endpoint: Endpoint) -> socket.socket:
    if endpoint.path:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.settimeout(CONNECT_TIMEOUT)
            opened.connect(endpoint.path)
        except BaseException:
            opened.close()
            raise
        return opened
    try:
        return socket.create_connection((endpoint.host, endpoint.port), CONNECT_TIMEOUT)
    except UnicodeError:
        raise OSError(f"{endpoint.host!r} is no host name") from None
