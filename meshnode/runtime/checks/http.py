"""HTTP checks: one request on a connection of its own, redirects followed as Go's client follows them.

An answer counts once its head is there: a body that breaks off or takes too long doesn't change the status, as in
Consul. Not as there: no proxy is taken from the environment, and a password in the URL is not shown.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from meshnode.base.errors import MeshError
from meshnode.local.check_status import (
    CRITICAL,
    OutputTail,
    Result,
    http_error,
    http_output,
    status_of_http,
)
from meshnode.local.check_type import HttpCheck, effective_timeout
from meshnode.runtime.checks.dial import DialTimeoutError, error_words, open_stream
from meshnode.runtime.checks.http_client import AnswerHead, CheckAnswer, close, request_bytes
from meshnode.runtime.checks.tls_words import HUNG_UP, CheckContexts, new_context, tls_failure

__all__ = ["MAX_REQUESTS", "USER_AGENT", "check_http"]

USER_AGENT: Final = "Consul Health Check"
#: Of one run, redirects included: Go stops at the tenth redirect, which it doesn't follow.
MAX_REQUESTS: Final = 10
_ACCEPT: Final = "text/plain, text/*, */*"
#: Headers that the request itself decides on, as in Go.
_OWN: Final = frozenset({"host", "content-length", "transfer-encoding", "trailer", "connection"})
#: Not sent on to another host.
_SECRET: Final = frozenset({"authorization", "www-authenticate", "cookie", "cookie2"})
_TO_GET: Final = frozenset({301, 302, 303})
_SAME_METHOD: Final = frozenset({307, 308})
_SAFE: Final = "/%:@!$&'()*+,;=-._~?"


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked now; redirects change it."""

    url: str
    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    #: ``Host`` as it was asked for; empty: that of the URL.
    host: str = ""

    @property
    def parts(self) -> SplitResult:
        return urlsplit(self.url)


async def check_http(check: HttpCheck, contexts: CheckContexts) -> Result:
    """Run ``check`` once; its definition has no fault. ``contexts`` is asked for HTTPS only."""
    run = _Run(check, contexts)
    try:
        async with asyncio.timeout(effective_timeout(check)):
            await run.follow()
    except (DialTimeoutError, TimeoutError):
        if run.head is None:
            while_ = "" if run.connected else " while waiting for connection"
            words = f"net/http: request canceled{while_} (Client.Timeout exceeded while awaiting headers)"
            return run.failed(words)
    except ssl.SSLError as error:
        if run.head is None:
            return run.failed(tls_failure(error, run.tls_name))
    except (MeshError, ValueError) as error:
        if run.head is None:
            return run.failed(str(error))
    except OSError as error:
        if run.head is None:
            return run.failed(f"read: {error_words(error)}" if run.connected else HUNG_UP)
    return run.result()


class _Run:
    """One run, which may be several requests."""

    def __init__(self, check: HttpCheck, contexts: CheckContexts) -> None:
        self._check = check
        self._contexts = contexts
        self._method = check.method or "GET"
        self._request = _first_request(check, self._method)
        self._body = OutputTail(check.output_max_size)
        self._reader: CheckAnswer | None = None
        self.connected = False
        self.tls_name = ""

    @property
    def head(self) -> AnswerHead | None:
        """The answer that counts; a redirect that is going to be followed doesn't."""
        head = self._reader.head if self._reader else None
        return None if head is None or self._redirects(head) else head

    def failed(self, words: str) -> Result:
        """There is no answer."""
        return Result(CRITICAL, http_error(self._method, self._request.url, words))

    def result(self) -> Result:
        """What the answer means."""
        head = self.head
        assert head is not None, "the run has ended with an answer"
        text = http_output(self._method, self._check.url, head.status, head.reason, self._body.raw_text())
        return Result(status_of_http(head.status), text)

    async def follow(self) -> None:
        """Ask, and ask where the answer points to."""
        for asked in range(1, MAX_REQUESTS + 1):
            head = await self._ask()
            if not self._redirects(head):
                return
            if asked < MAX_REQUESTS:
                self._reader = None
                self._request = _redirected(self._request, head)
        raise MeshError(f"stopped after {MAX_REQUESTS} redirects")

    def _redirects(self, head: AnswerHead) -> bool:
        if self._check.disable_redirects:
            return False
        return head.status in _TO_GET or (head.status in _SAME_METHOD and bool(head.headers.get("location")))

    async def _ask(self) -> AnswerHead:
        request, parts = self._request, self._request.parts
        secure, host = parts.scheme == "https", parts.hostname
        if parts.scheme not in ("http", "https"):
            raise MeshError(f'unsupported protocol scheme "{parts.scheme}"')
        if not host:
            raise MeshError("http: no Host in request URL")
        self.connected = False
        self.tls_name = self._check.tls_server_name or host
        context = (
            await new_context(self._contexts, skip_verify=self._check.tls_skip_verify) if secure else None
        )
        # Longer than the run may take: its end is the caller's.
        port = parts.port or (443 if secure else 80)
        stream, writer = await open_stream(
            host, port, effective_timeout(self._check) + 1, context, self.tls_name
        )
        self.connected = True
        try:
            writer.write(_serialized(request))
            await writer.drain()
            self._reader = CheckAnswer(self._body, bodiless=request.method == "HEAD")
            head = await self._reader.read(stream, head_only=True)
            if not self._redirects(head):
                await self._reader.read(stream)
        except BaseException:
            writer.transport.abort()
            raise
        await close(writer)
        return head


def _first_request(check: HttpCheck, method: str) -> _Request:
    given = [(name, value) for name, values in check.header.items() for value in values]
    headers = [(name, value) for name, value in given if name.lower() not in _OWN]
    present = {name.lower() for name, value in headers if value}
    for name, value in (("User-Agent", USER_AGENT), ("Accept", _ACCEPT)):
        if name.lower() not in present:
            headers = [pair for pair in headers if pair[0].lower() != name.lower()]
            headers.append((name, value))
    parts = urlsplit(check.url)
    if parts.username is not None and "authorization" not in present:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers.append(("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
    host = next((value for name, value in given if name.lower() == "host"), "")
    return _Request(check.url, method, tuple(headers), check.body.encode("utf-8", "replace"), host)


def _redirected(request: _Request, head: AnswerHead) -> _Request:
    location = head.headers.get("location", "").encode("latin-1").decode("utf-8", "replace")
    if not location:
        raise MeshError(f"{head.status} response missing Location header")
    url = urljoin(request.url, location)
    relative = not urlsplit(location).netloc
    old, new = request.parts.hostname or "", urlsplit(url).hostname or ""
    headers = request.headers
    if new != old and not new.endswith(f".{old}"):
        headers = tuple(pair for pair in headers if pair[0].lower() not in _SECRET)
    changed = replace(request, url=url, headers=headers, host=request.host if relative else "")
    if head.status in _SAME_METHOD:
        return changed
    return replace(changed, method="HEAD" if request.method == "HEAD" else "GET", body=b"")


def _serialized(request: _Request) -> bytes:
    parts = request.parts
    target = quote(parts.path or "/", safe=_SAFE) + (
        f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    )
    place = parts.netloc.rpartition("@")[2]
    host = request.host or (place if place.isascii() else _ascii_place(parts))
    headers = (("Host", host), *request.headers)
    return request_bytes(request.method, target, headers, request.body)


def _ascii_place(parts: SplitResult) -> str:
    name = (parts.hostname or "").encode("idna").decode("ascii")
    return f"{name}:{parts.port}" if parts.port else name
