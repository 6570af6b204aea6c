"""The command line's way to the agent's HTTP API: address, token and TLS from flags or environment.

Uses only the standard library, and imports TLS only for ``https://``: ``members`` must answer at once.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote, urlencode, urlsplit

from meshnode.base.errors import ConfigError, MeshError

__all__ = ["ApiClient", "ApiError", "ApiSettings", "path_segment"]

DEFAULT_ADDRESS: Final = "127.0.0.1:8500"


class ApiError(MeshError):
    """The agent answered with a status other than 200."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"Unexpected response code: {status} ({body.strip()})")
        self.status = status
        self.body = body.strip()


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Where the agent is and how to talk to it; ``from_environment`` fills what no flag gave."""

    address: str = ""
    token: str = ""
    ca_file: str = ""
    ca_path: str = ""
    client_cert: str = ""
    client_key: str = ""
    tls_server_name: str = ""

    def with_environment(self, environ: Mapping[str, str]) -> ApiSettings:
        """Fill empty fields from Consul's variables (``CONSUL_HTTP_ADDR``, ``CONSUL_CACERT``, ...)."""
        address = self.address or environ.get("CONSUL_HTTP_ADDR", "") or DEFAULT_ADDRESS
        if "://" not in address:
            secure = environ.get("CONSUL_HTTP_SSL", "").lower() in {"1", "true", "t"}
            address = ("https://" if secure else "http://") + address
        return ApiSettings(
            address=address,
            token=self.token or environ.get("CONSUL_HTTP_TOKEN", ""),
            ca_file=self.ca_file or environ.get("CONSUL_CACERT", ""),
            ca_path=self.ca_path or environ.get("CONSUL_CAPATH", ""),
            client_cert=self.client_cert or environ.get("CONSUL_CLIENT_CERT", ""),
            client_key=self.client_key or environ.get("CONSUL_CLIENT_KEY", ""),
            tls_server_name=self.tls_server_name or environ.get("CONSUL_TLS_SERVER_NAME", ""),
        )


class ApiClient:
    """One agent; a connection per call, as a command makes one or two."""

    def __init__(self, settings: ApiSettings, timeout: float | None = 60.0) -> None:
        self._settings = settings
        self._timeout = timeout
        self._environ = os.environ

    def call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> bytes:
        """Send one request and return the body; raises :class:`ApiError` or :class:`MeshError`."""
        with_query = path + ("?" + urlencode(query) if query else "")
        connection = self._connect(self._timeout)
        try:
            response = self._send(connection, method, with_query, body)
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()

    def get_json(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """GET ``path`` and decode the answer."""
        return json.loads(self.call("GET", path, query))

    def stream(self, path: str, query: Mapping[str, str]) -> Iterator[bytes]:
        """Lines of a streamed answer, until the agent ends it."""
        connection = self._connect(None)
        try:
            response = self._send(connection, "GET", path + "?" + urlencode(query), None)
            while line := response.readline():
                yield line
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
    ) -> http.client.HTTPResponse:
        headers = {"X-Consul-Token": self._settings.token} if self._settings.token else {}
        auth = self._environ.get("CONSUL_HTTP_AUTH", "")
        if auth:
            from base64 import b64encode

            credentials = auth if ":" in auth else auth + ":"
            headers["Authorization"] = "Basic " + b64encode(credentials.encode()).decode()
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            raise ApiError(response.status, response.read(64 * 1024).decode(errors="replace"))
        return response

    def _connect(self, timeout: float | None) -> http.client.HTTPConnection:
        address = self._settings.address
        if address.startswith("unix://"):
            return _UnixConnection(address.removeprefix("unix://"), timeout)
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(
                f"-http-addr: {address!r} is not an address: write host:port, http://, https:// or unix:///path"
            )
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            raise ConfigError(
                f"-http-addr: {address!r} has a port that is not a number up to 65535"
            ) from None
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname, port, timeout=timeout)
        return self._connect_tls(parts.hostname, port, timeout)

    def _connect_tls(self, host: str, port: int, timeout: float | None) -> http.client.HTTPConnection:
        import ssl

        given = self._settings
        try:
            context = ssl.create_default_context(cafile=given.ca_file or None, capath=given.ca_path or None)
            if given.client_cert or given.client_key:
                context.load_cert_chain(given.client_cert, given.client_key or None)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(
                filter(None, (given.ca_file, given.ca_path, given.client_cert, given.client_key))
            )
            raise ConfigError(f"can't load the TLS files {files}: {error.strerror or error}") from None
        if self._environ.get("CONSUL_HTTP_SSL_VERIFY", "").lower() in {"0", "false", "f"}:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return _TlsConnection(host, port, timeout, context, given.tls_server_name or host)

    def _unreachable(self, error: Exception) -> MeshError:
        reason = (
            getattr(error, "reason", None)
            or getattr(error, "strerror", None)
            or str(error)
            or type(error).__name__
        )
        return MeshError(
            f"can't reach the agent at {self._settings.address}: {reason}. "
            "Is it running there? Set -http-addr or CONSUL_HTTP_ADDR to its address."
        )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _TlsConnection(http.client.HTTPConnection):
    def __init__(self, host: str, port: int, timeout: float | None, context: Any, server_name: str) -> None:
        super().__init__(host, port, timeout=timeout)
        self._context = context
        self._server_name = server_name

    def connect(self) -> None:
        super().connect()
        self.sock = cast(
            socket.socket, self._context.wrap_socket(self.sock, server_hostname=self._server_name)
        )


def path_segment(text: str) -> str:
    """Quote ``text`` for use as one segment of a path."""
    return quote(text, safe="")
