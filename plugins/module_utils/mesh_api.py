# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP API of an agent, for modules, lookups and the inventory: the standard library, and nothing of C(meshnode).

One request is one connection. The token travels in a header, never in a URL. Everything has an end: a request by its
time-out as a whole, an answer by its size, waiting for a leader by the number of tries.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from ansible.module_utils.basic import env_fallback

__all__ = [
    "API_OPTIONS",
    "REQUIRED_TOGETHER",
    "Answer",
    "MeshApi",
    "MeshApiError",
    "api_from",
    "arguments",
    "path_of",
    "words_of",
]

MAX_ANSWER_BYTES = 64 * 1024 * 1024
#: Of an error's body in a message.
MAX_SHOWN_CHARS = 500
#: Seconds before the first repetition; each further wait is twice as long, up to MAX_PAUSE.
FIRST_PAUSE = 0.5
MAX_PAUSE = 4.0
#: What a server without a leader answers; nothing was done then, so that asking again is safe.
NO_LEADER = "No cluster leader"

#: The options of the fragment C(meshnode.lab.mesh_api).
API_OPTIONS: dict[str, dict[str, Any]] = {
    "address": {
        "type": "str",
        "default": "127.0.0.1:8500",
        "fallback": (env_fallback, ["CONSUL_HTTP_ADDR"]),
    },
    "ssl": {"type": "bool", "default": False, "fallback": (env_fallback, ["CONSUL_HTTP_SSL"])},
    "token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["CONSUL_HTTP_TOKEN"])},
    "ca_file": {"type": "path", "fallback": (env_fallback, ["CONSUL_CACERT"])},
    "client_cert": {"type": "path", "fallback": (env_fallback, ["CONSUL_CLIENT_CERT"])},
    "client_key": {"type": "path", "no_log": False, "fallback": (env_fallback, ["CONSUL_CLIENT_KEY"])},
    "validate_certs": {
        "type": "bool",
        "default": True,
        "fallback": (env_fallback, ["CONSUL_HTTP_SSL_VERIFY"]),
    },
    "server_name": {"type": "str", "fallback": (env_fallback, ["CONSUL_TLS_SERVER_NAME"])},
    "datacenter": {"type": "str"},
    "timeout": {"type": "float", "default": 10.0},
    "retries": {"type": "int", "default": 5},
}
REQUIRED_TOGETHER = [("client_cert", "client_key")]


def arguments(**options: dict[str, Any]) -> dict[str, Any]:
    """The argument specification of a module: its own ``options`` and those of the API."""
    return {**options, **API_OPTIONS}


class MeshApiError(Exception):
    """What was asked for could not be had; ``str()`` names the thing, the place and the fix.

    ``status`` is that of the answer, 0 when there was none; ``body`` is the text of the answer.
    """

    def __init__(self, message: str, status: int = 0, body: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = body


@dataclass(frozen=True)
class Answer:
    """One answer; the names of ``headers`` are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    url: str

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as a value; raises :class:`MeshApiError`."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise MeshApiError(
                f"{self.url}: answered with something else than JSON: does address name an agent?"
            ) from None


def path_of(*parts: str) -> str:
    """C(/v1/...) with each part quoted; the slashes of the last one stay, for it may be a key."""
    *before, last = parts
    return "/v1/" + "/".join([*(quote(part, safe="") for part in before), quote(last, safe="/")])


@dataclass
class MeshApi:
    """Where an agent answers, and what to show it. ``timeout`` is seconds for one request as a whole."""

    address: str
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    validate_certs: bool = True
    server_name: str | None = None
    datacenter: str | None = None
    timeout: float = 10.0
    retries: int = 5
    ssl: bool = False
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        if not 0 < self.timeout <= 3600:
            raise MeshApiError(
                f"timeout: {self.timeout:g} is out of range: write seconds from above 0 to 3600"
            )
        if not 0 <= self.retries <= 100:
            raise MeshApiError(f"retries: {self.retries} is out of range: write a number from 0 to 100")
        if self.token and not (self.token.isascii() and self.token.isprintable()):
            raise MeshApiError("token: has characters that no token has: is there a line break at its end?")
        if bool(self.client_cert) != bool(self.client_key):
            raise MeshApiError("client_cert and client_key go together: give both, or none")
        self._endpoint = _Endpoint.parse(self.address, secure=self.ssl)
        self._context: ssl.SSLContext | None = None

    # Verbs

    def get(self, path: str, **query: Any) -> Any:
        """The value that GET answers; ``None`` when there is nothing (404)."""
        answer = self.request("GET", path, query, accept=(200, 404))
        return None if answer.status == 404 else answer.json()

    def put(self, path: str, body: Any = None, **query: Any) -> Any:
        """PUT ``body`` as JSON (bytes as they are); the value that is answered, ``None`` for an empty answer."""
        answer = self.request("PUT", path, query, body)
        return answer.json() if answer.body.strip() else None

    def delete(self, path: str, **query: Any) -> Any:
        """DELETE; the value that is answered."""
        answer = self.request("DELETE", path, query)
        return answer.json() if answer.body.strip() else None

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        *,
        accept: Iterable[int] = (200,),
        token: str | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """One call; raises :class:`MeshApiError` for a status that is not in ``accept``.

        In ``query``, ``None`` is left out and ``True`` is a bare name. ``token`` takes the place of the option.
        """
        given = {"dc": self.datacenter, **(query or {})}
        words = {name: "" if value is True else value for name, value in given.items() if value is not None}
        target = f"{path}?{urlencode(words)}" if words else path
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        pause, tries_left = FIRST_PAUSE, self.retries
        while True:
            answer = self._once(method, target, data, token or self.token, timeout or self.timeout)
            if answer.status in accept:
                return answer
            if answer.status not in (500, 503) or NO_LEADER not in answer.text or not tries_left:
                raise self._refusal(answer, self.retries)
            tries_left -= 1
            self.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE)

    # One exchange

    def _once(
        self, method: str, target: str, data: bytes | None, token: str | None, timeout: float
    ) -> Answer:
        url = self._endpoint.text + target.partition("?")[0]
        headers = {"X-Consul-Token": token} if token else {}
        if data is not None or method != "GET":
            headers["Content-Length"] = str(len(data or b""))
        connection = _Connection(self._endpoint, self._tls(), self.server_name, timeout)
        late = threading.Event()

        def cut() -> None:
            late.set()
            connection.cut()

        # The socket's own time-out starts anew with each byte; this one does not.
        clock = threading.Timer(timeout, cut)
        clock.daemon = True
        clock.start()
        try:
            connection.request(method, target, data, headers)
            response = connection.getresponse()
            body = response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            failure: Exception = TimeoutError() if late.is_set() else error
            raise MeshApiError(_why(url, failure, self._endpoint, timeout, connection.connected)) from None
        finally:
            clock.cancel()
            connection.close()
        if late.is_set():
            raise MeshApiError(_why(url, TimeoutError(), self._endpoint, timeout, True))
        if len(body) > MAX_ANSWER_BYTES:
            raise MeshApiError(f"{url}: answers with more than {MAX_ANSWER_BYTES} bytes: ask for less")
        return Answer(response.status, body, {k.lower(): v for k, v in response.getheaders()}, url)

    def _tls(self) -> ssl.SSLContext | None:
        if not self._endpoint.secure:
            return None
        if self._context is None:
            self._context = self._make_context()
        return self._context

    def _make_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise MeshApiError(
                f"ca_file: {self.ca_file} can't be used ({words_of(error)}): name a PEM file with the agent's CA"
            ) from None
        # What is in the CA file is trusted as it is, intermediates included, as the command line does.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if self.client_cert:
            try:
                context.load_cert_chain(self.client_cert, self.client_key, password=_no_passphrase)
            except (OSError, ssl.SSLError) as error:
                raise MeshApiError(
                    f"client_cert, client_key: {self.client_cert} and {self.client_key} can't be used "
                    f"({words_of(error)}): name a certificate and its own key, both in PEM"
                ) from None
        if not self.validate_certs:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _refusal(self, answer: Answer, retries: int) -> MeshApiError:
        text = " ".join(answer.text.split())[:MAX_SHOWN_CHARS].rstrip(".")
        shown = (
            f"{answer.url}: {answer.status} {text or http.client.responses.get(answer.status, '')}".rstrip()
        )
        return MeshApiError(f"{shown}: {_fix(answer, text, retries)}".removesuffix(": "), answer.status, text)


def api_from(options: Mapping[str, Any]) -> MeshApi:
    """From the parameters of a module or the options of a plugin; raises :class:`MeshApiError`."""
    names = [name for name in API_OPTIONS if options.get(name) is not None]
    return MeshApi(**{name: options[name] for name in names})


@dataclass(frozen=True)
class _Endpoint:
    text: str
    host: str = ""
    port: int = 0
    socket_file: str = ""
    secure: bool = False

    @classmethod
    def parse(cls, text: str, *, secure: bool) -> _Endpoint:
        fix = "write host:port, http://host:port, https://host:port or unix:///path/of/socket"
        if text.startswith("unix://"):
            path = text.removeprefix("unix://")
            if not path.startswith("/") or "\0" in path:
                raise MeshApiError(f"address: {text!r} names no socket: {fix}")
            return cls(text, socket_file=path)
        whole = text if "://" in text else f"{'https' if secure else 'http'}://{text}"
        try:
            parts = urlsplit(whole)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise MeshApiError(f"address: {text!r} is not an address ({error}): {fix}") from None
        if parts.username is not None or parts.password is not None:
            raise MeshApiError(
                "address: has a user or a password in it: leave it out, and give a token as token"
            )
        strange = not text.isprintable() or " " in text or parts.query or parts.fragment
        if parts.scheme not in {"http", "https"} or not host or strange or parts.path.strip("/"):
            raise MeshApiError(f"address: {text!r} is not an address: {fix}")
        tls = parts.scheme == "https"
        return cls(whole.rstrip("/"), host, port or (443 if tls else 80), secure=tls)


class _Connection(http.client.HTTPConnection):
    """To a host, with TLS if there is a context, or to a socket file."""

    def __init__(
        self, endpoint: _Endpoint, context: ssl.SSLContext | None, server_name: str | None, timeout: float
    ) -> None:
        super().__init__(endpoint.host or "localhost", endpoint.port or None, timeout=timeout)
        self._endpoint, self._tls, self._server_name = endpoint, context, server_name
        self.connected = False

    def connect(self) -> None:
        if self._endpoint.socket_file:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._endpoint.socket_file)
        else:
            self.sock = socket.create_connection((self._endpoint.host, self._endpoint.port), self.timeout)
        if self._tls is not None:
            name = self._server_name or self._endpoint.host
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=name)
        self.connected = True

    def cut(self) -> None:
        """End it from another thread; what reads from it gets an error or the end."""
        if self.sock is not None:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return


def _no_passphrase() -> str:
    raise ssl.SSLError("the key is encrypted: store it without a passphrase")


def words_of(error: Exception) -> str:
    """What the system or OpenSSL says of the error, without its numbers; the kind of error when they say nothing."""
    said = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(said or type(error).__name__)


def _why(url: str, error: Exception, endpoint: _Endpoint, timeout: float, connected: bool) -> str:
    """A failed exchange in words."""
    if isinstance(error, TimeoutError):
        return f"{url}: no answer within {timeout:g} s: is the agent well? Else raise timeout"
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or ""
    ended = isinstance(error, ConnectionError | EOFError | http.client.RemoteDisconnected | ssl.SSLEOFError)
    if endpoint.secure and (("ALERT" in str(reason)) or (connected and ended)):
        return (
            f"{url}: the agent refused what was shown in TLS ({reason or 'it hung up'}): set client_cert and "
            "client_key (or CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY) to a pair that it trusts"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{url}: the agent's certificate is not trusted ({reason}): set ca_file (or CONSUL_CACERT) to the CA "
            "of its certificate, and server_name to a name that is in it"
        )
    if isinstance(error, ssl.SSLError):
        return f"{url}: TLS failed ({words_of(error)}): does that port speak TLS? Else write http://"
    if connected and isinstance(error, http.client.HTTPException | ConnectionError):
        hint = "" if endpoint.secure else ", or does the port speak TLS? Then write https://"
        return f"{url}: what answers there does not speak HTTP ({type(error).__name__}): is it an agent{hint}"
    return (
        f"{url}: can't reach the agent ({words_of(error)}): is it running there? "
        "Set address (or CONSUL_HTTP_ADDR) to where it answers"
    )


def _fix(answer: Answer, text: str, retries: int) -> str:
    """What to do about a refusal, or nothing when its text says all there is."""
    if NO_LEADER in text:
        return f"asked {retries + 1} times: bring enough servers up to elect a leader, or raise retries"
    if "to an HTTPS server" in text:
        return "write https:// in address"
    if "ACL support disabled" in text:
        return "this cluster has no ACLs: set acl.enabled in the configuration of its agents"
    if "ACL not found" in text:
        return "the cluster does not know the token: check token (or CONSUL_HTTP_TOKEN)"
    if answer.status in (401, 403):
        return "set token (or CONSUL_HTTP_TOKEN) to a token that may do this"
    if answer.status == 404:
        return "does address name an agent that has this path?"
    return ""
