"""The command line's way to the agent's HTTP API: address, token and TLS from flags or environment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from meshnode.base.errors import ConfigError, MeshError
from meshnode.cli.connection import Connection
from meshnode.client.answer import ApiError
from meshnode.client.settings import ApiSettings, Query, path_segment

__all__ = ["ApiAnswer", "ApiClient", "ApiError", "path_segment"]

#: Seconds that an answer may take; a keyring query over a large pool is the slowest.
ANSWER_TIMEOUT: Final = 60.0


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
        connection = Connection(endpoint, settings.tls(), timeout)
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
