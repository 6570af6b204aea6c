"""The command line's way to the agent's HTTP API: address, token and TLS from flags or environment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import parse_boolean
from meshnode.cli.connection import Connection, Endpoint, TlsFiles, parse_endpoint

__all__ = ["DEFAULT_ADDRESS", "ApiAnswer", "ApiClient", "ApiError", "ApiSettings", "Query", "path_segment"]

#: Query parameters; as pairs, when one of them comes several times.
Query: TypeAlias = "Mapping[str, str] | Sequence[tuple[str, str]]"

DEFAULT_ADDRESS: Final = "127.0.0.1:8500"
#: Seconds that an answer may take; a keyring query over a large pool is the slowest.
ANSWER_TIMEOUT: Final = 60.0
_VARIABLES: Final = {
    "address": "CONSUL_HTTP_ADDR",
    "token": "CONSUL_HTTP_TOKEN",
    "auth": "CONSUL_HTTP_AUTH",
    "ca_file": "CONSUL_CACERT",
    "ca_path": "CONSUL_CAPATH",
    "client_cert": "CONSUL_CLIENT_CERT",
    "client_key": "CONSUL_CLIENT_KEY",
    "tls_server_name": "CONSUL_TLS_SERVER_NAME",
}


class ApiError(MeshError):
    """The agent answered with a status other than 200."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"Unexpected response code: {status} ({body.strip()})")
        self.status = status
        self.body = body.strip()


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """An answer of any status; ``index`` and ``content_hash`` are headers for blocking queries, empty if not sent."""

    status: int
    body: bytes
    index: str = ""
    content_hash: str = ""

    @property
    def refusal(self) -> str:
        """What an answer other than 200 says, in Consul's words."""
        return str(ApiError(self.status, self.body[:4096].decode(errors="replace")))


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Where the agent is and how to talk to it; ``with_environment`` fills what no flag gave."""

    address: str = ""
    token: str = ""
    auth: str = ""
    ca_file: str = ""
    ca_path: str = ""
    client_cert: str = ""
    client_key: str = ""
    tls_server_name: str = ""
    verify: bool = True

    def with_environment(self, environ: Mapping[str, str]) -> ApiSettings:
        """Fill empty fields from Consul's variables (``CONSUL_HTTP_ADDR``, ``CONSUL_CACERT``, ...)."""
        values = {name: getattr(self, name) or environ.get(_VARIABLES[name], "") for name in _VARIABLES}
        address = values["address"] or DEFAULT_ADDRESS
        if "://" not in address:
            secure = _variable(environ, "CONSUL_HTTP_SSL", default=False)
            address = ("https://" if secure else "http://") + address
        verify = _variable(environ, "CONSUL_HTTP_SSL_VERIFY", default=True)
        return ApiSettings(**values | {"address": address}, verify=verify)

    def endpoint(self) -> Endpoint:
        """Where that is; raises :class:`ConfigError` when the address can't be used."""
        return parse_endpoint(self.address)

    def headers(self) -> dict[str, str]:
        """Headers of every request; raises :class:`ConfigError` for a secret with a line break in it."""
        headers = {"X-Consul-Token": self.token} if self.token else {}
        if self.auth:
            from base64 import b64encode

            credentials = self.auth if ":" in self.auth else self.auth + ":"
            headers["Authorization"] = "Basic " + b64encode(credentials.encode()).decode()
        if not (self.token.isprintable() and self.token.isascii()):
            raise ConfigError("the token holds characters that no token has: look for a line break in it")
        return headers

    def __repr__(self) -> str:
        """Without what is secret."""
        shown = [f.name for f in fields(self) if f.name not in {"token", "auth"} and getattr(self, f.name)]
        return f"ApiSettings({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


def _variable(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = environ.get(name, "")
    try:
        return parse_boolean(text) if text else default
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}", key=name) from None


class ApiClient:
    """One agent; a connection per call, as a command makes one or two.

    ``failing`` begins the sentence of each failure, as in ``Error retrieving members: ...``.
    """

    def __init__(
        self, settings: ApiSettings, failing: str = "", timeout: float | None = ANSWER_TIMEOUT
    ) -> None:
        self._settings = settings
        self._failing = failing
        self._timeout = timeout

    def call(self, method: str, path: str, query: Query | None = None, body: bytes | None = None) -> bytes:
        """Send one request and return the body; raises :class:`ApiError` or :class:`MeshError`."""
        return b"".join(self._request(method, path, query, body, self._timeout))

    def get_json(self, path: str, query: Query | None = None) -> Any:
        """GET ``path`` and decode the answer."""
        return self._decoded(path, self.call("GET", path, query))

    def send_json(self, method: str, path: str, value: Any, query: Query | None = None) -> Any:
        """Send ``value`` as JSON (nothing when it is ``None``) and decode the answer."""
        body = None if value is None else json.dumps(value).encode()
        return self._decoded(path, self.call(method, path, query, body))

    def _decoded(self, path: str, answer: bytes) -> Any:
        try:
            return json.loads(answer)
        except ValueError:
            raise self._failed(
                MeshError(f"what answers at {self._settings.address} is no agent: {path} is not JSON")
            ) from None

    def stream(self, path: str, query: Query) -> Iterator[bytes]:
        """Pieces of a streamed answer as they come, until the agent ends it."""
        return self._request("GET", path, query, None, None)

    def _request(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: bytes | None,
        timeout: float | None,
    ) -> Iterator[bytes]:
        try:
            with self._sent(method, path, query, body, timeout) as connection:
                if connection.status() != 200:
                    text = b"".join(connection.body()).decode(errors="replace")
                    raise ApiError(connection.status(), text)
                yield from connection.body()
        except ConfigError:
            raise
        except MeshError as error:
            raise self._failed(error) from None

    def exchange(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: bytes | None = None,
        timeout: float = ANSWER_TIMEOUT,
    ) -> ApiAnswer:
        """Send one request and return the answer, whatever its status; raises :class:`MeshError` for none at all."""
        with self._sent(method, path, query, body, timeout) as connection:
            status = connection.status()
            content = b"".join(connection.body())
            index, content_hash = (
                connection.header("X-Consul-Index"),
                connection.header("X-Consul-ContentHash"),
            )
        return ApiAnswer(status, content, index, content_hash)

    def _sent(
        self, method: str, path: str, query: Query | None, body: bytes | None, timeout: float | None
    ) -> Connection:
        settings = self._settings
        target = path + ("?" + urlencode(query) if query else "")
        endpoint, headers = settings.endpoint(), settings.headers()
        tls = TlsFiles(
            ca_file=settings.ca_file,
            ca_path=settings.ca_path,
            certificate=settings.client_cert,
            key=settings.client_key,
            server_name=settings.tls_server_name,
            verify=settings.verify,
        )
        connection = Connection(endpoint, tls, timeout)
        try:
            connection.send(method, target, headers, body)
        except BaseException:
            connection.close()
            raise
        return connection

    def _failed(self, error: MeshError) -> MeshError:
        if not self._failing:
            return error
        if isinstance(error, ApiError):
            named = ApiError(error.status, error.body)
            named.args = (f"{self._failing}: {error}",)
            return named
        return MeshError(f"{self._failing}: {error}")


def path_segment(text: str) -> str:
    """Quote ``text`` for use as one segment of a path."""
    return quote(text, safe="")
