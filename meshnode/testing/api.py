"""Requests to an agent's HTTP API, on the standard library: no proxy, no pool, one connection for each."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypedDict
from urllib.parse import urlencode

from meshnode.base.errors import MeshError

__all__ = ["FIRST_ERROR", "Answer", "ApiError", "Body", "Options", "Query", "checked", "send"]

#: Bytes and text are sent as they are; everything else as JSON.
Body: TypeAlias = Any
#: Parameters of the query; ``True`` is a parameter without a value, ``None`` and ``False`` leave it out.
Query: TypeAlias = Mapping[str, str | int | bool | None]
#: The least status that is an error.
FIRST_ERROR: Final = 400


class Options(TypedDict, total=False):
    """What a request may have besides its path; ``timeout`` is in seconds, an empty ``token`` is none."""

    method: str
    body: Body
    query: Query | None
    token: str
    timeout: float


class ApiError(MeshError):
    """The agent answered with an error: ``status`` and ``text`` are its own words."""

    def __init__(self, request: str, status: int, text: str) -> None:
        super().__init__(f"{request}: {status} {text.strip()}")
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. Names in ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode(errors="replace")

    @property
    def value(self) -> Any:
        """The body read as JSON; ``None`` when it is empty, text when it isn't JSON."""
        if not self.content:
            return None
        if not self.headers.get("content-type", "").startswith("application/json"):
            return self.text
        return json.loads(self.content)

    @property
    def index(self) -> int:
        """``X-Consul-Index``, for the next blocking query; 0 when there is none."""
        return int(self.headers.get("x-consul-index", "0"))


def send(
    host: str,
    port: int,
    path: str,
    *,
    method: str = "GET",
    body: Body = None,
    query: Query | None = None,
    token: str = "",
    timeout: float = 30.0,
) -> Answer:
    """Send one request and return what came back, errors as well; raises :class:`OSError` when nothing did.

    ``timeout`` is in seconds, for each wait on the socket: make it longer than the ``wait`` of a blocking query.
    """
    headers = {"X-Consul-Token": token} if token else {}
    if not isinstance(body, str | bytes | None):
        body, headers["Content-Type"] = json.dumps(body), "application/json"
    given = {key: value for key, value in (query or {}).items() if value not in (None, False)}
    parameters = urlencode({key: "" if value is True else value for key, value in given.items()})
    target = f"{path}{'&' if '?' in path else '?'}{parameters}" if parameters else path
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request(method, target, body.encode() if isinstance(body, str) else body, headers)
        answer = connection.getresponse()
        content = answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{method} {path}: the answer was cut off: {error!r}") from None
    finally:
        connection.close()
    return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, content)


def checked(answer: Answer, request: str) -> Answer:
    """``answer`` itself; raises :class:`ApiError` when its status is an error."""
    if answer.status >= FIRST_ERROR:
        raise ApiError(request, answer.status, answer.text)
    return answer
