"""Connections to one application: kept for a while, used again, never for a request that was sent before."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from meshnode.l7.http1_client import Http1Client
from meshnode.l7.http2 import Http2Client
from meshnode.l7.model import Bounds, RefusalError, RequestHead
from meshnode.l7.names import is_valid_for
from meshnode.l7.timeouts import Timeouts
from meshnode.proxy.config import Endpoint
from meshnode.runtime.proxy.host import handshake_failure
from meshnode.runtime.proxy.http_client_link import ClientLink
from meshnode.runtime.proxy.http_stream import ClientStream

__all__ = ["MAX_CONNECTIONS", "Target", "UpstreamPool"]

#: Connections to one application at once; a request beyond them is refused.
MAX_CONNECTIONS: Final = 4096
#: Connections that are kept while nobody uses them.
MAX_IDLE: Final = 256
_UNREACHABLE: Final = "the application can't be reached"


@dataclass(frozen=True, slots=True)
class Target:
    """The application. Unless empty, ``sni`` is sent, and ``name`` is what its certificate has to be valid for."""

    endpoint: Endpoint
    tls: ssl.SSLContext | None = None
    sni: str = ""
    name: str = ""
    http2: bool = False


class UpstreamPool:
    """``begin`` a request; ``check`` closes what nobody uses."""

    def __init__(
        self, target: Target, bounds: Bounds, timeouts: Timeouts, clock: Callable[[], float]
    ) -> None:
        self.target = target
        self._bounds = bounds
        self._timeouts = timeouts
        self._clock = clock
        self._links: set[ClientLink] = set()
        self._idle: dict[ClientLink, None] = {}
        self._connecting = 0
        self._sharing: asyncio.Lock = asyncio.Lock()
        if target.tls is not None:
            target.tls.set_alpn_protocols(["h2"] if target.http2 else ["http/1.1"])

    def __len__(self) -> int:
        """Connections that are open."""
        return len(self._links)

    async def begin(self, head: RequestHead, *, ended: bool) -> ClientStream:
        """Send the head of a request. Raises :class:`RefusalError`: 502, 503 or 504, and nothing was sent then."""
        link = self._free()
        if link is None and self.target.http2:
            async with self._sharing:
                link = self._free() or await self._connect()
        elif link is None:
            link = await self._connect()
        return link.begin(head, ended=ended)

    def _free(self) -> ClientLink | None:
        """The one used last: it is the least likely to be closed by now."""
        while self._idle:
            link, _ = self._idle.popitem()
            if link.free:
                if self.target.http2:
                    self._idle[link] = None
                return link
        return None

    async def _connect(self) -> ClientLink:
        if len(self._links) + self._connecting >= MAX_CONNECTIONS:
            raise RefusalError(503, f"the application has {MAX_CONNECTIONS} connections, which is the most")
        codec = Http2Client(self._bounds) if self.target.http2 else Http1Client(self._bounds)
        link = ClientLink(codec, self._bounds, self._clock, on_idle=self._on_idle, on_lost=self._on_lost)
        where = str(self.target.endpoint)
        self._connecting += 1
        try:
            async with asyncio.timeout(self._timeouts.connect):
                await self._open(link)
        except TimeoutError:
            raise RefusalError(
                504, f"{_UNREACHABLE}: no answer within {self._timeouts.connect:g} s", where
            ) from None
        except ssl.SSLError as error:
            reason = handshake_failure(error)
            raise RefusalError(502, f"the application's TLS can't be used: {reason}", where) from None
        except (OSError, UnicodeError) as error:
            raise RefusalError(502, f"{_UNREACHABLE}: {_reason(error)}", where) from None
        except ValueError as error:
            raise RefusalError(502, f"the application's TLS is not set up well: {error}", where) from None
        finally:
            self._connecting -= 1
        self._links.add(link)
        self._verify(link, where)
        if self.target.http2:
            self._idle[link] = None
        return link

    async def _open(self, link: ClientLink) -> None:
        loop, target = asyncio.get_running_loop(), self.target
        tls: dict[str, Any] = {"ssl": target.tls, "server_hostname": target.sni} if target.tls else {}
        if target.endpoint.path:
            await loop.create_unix_connection(lambda: link, target.endpoint.path, **tls)
        else:
            await loop.create_connection(lambda: link, target.endpoint.host, target.endpoint.port, **tls)

    def _verify(self, link: ClientLink, where: str) -> None:
        """The name in the certificate, which OpenSSL compares only with one that is sent."""
        target = self.target
        if target.tls is None or not target.name or target.tls.verify_mode is not ssl.CERT_REQUIRED:
            return
        assert link.transport is not None
        certificate = link.transport.get_extra_info("peercert") or {}
        names = certificate.get("subjectAltName", ())
        if not is_valid_for(names, target.name):
            link.close()
            shown = ", ".join(value for _, value in names[:3]) or "no name"
            raise RefusalError(
                502,
                f"the application's certificate is not valid for {target.name}",
                f"{where}, it is for {shown}",
            )

    def _on_idle(self, link: ClientLink) -> None:
        if link not in self._links:
            return
        self._idle.pop(link, None)
        self._idle[link] = None
        if len(self._idle) > MAX_IDLE and not self.target.http2:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.close()

    def _on_lost(self, link: ClientLink) -> None:
        self._links.discard(link)
        self._idle.pop(link, None)

    def check(self, now: float) -> None:
        """Close what was not used for ``upstream_idle`` seconds at ``now``."""
        for link in list(self._idle):
            if not link.streams and now - link.idle_since >= self._timeouts.upstream_idle:
                del self._idle[link]
                link.close()

    def close(self) -> None:
        """Close all."""
        for link in list(self._links):
            link.close()


def _reason(error: Exception) -> str:
    """``Connection refused``, without the address that Python puts in front."""
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number in errno.errorcode:
        return os.strerror(number)
    return "it is to be found under a name that can't be resolved" if number is not None else str(error)
