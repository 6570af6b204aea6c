"""Calls to etcd over gRPC, on one connection at a time: a member that fails is left for the next of the list.

Any failure of the transport, a time-out, and etcd's own "unavailable" end in ``EtcdUnavailableError`` and close the
connection, so that every stream on it notices at once and goes to another member too. Nothing is retried here: only
the caller knows whether a request may be made twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from grpclib.client import Channel, Handler
from grpclib.config import Configuration
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.protocol import H2Protocol

from meshnode.base.address import Address
from meshnode.control.log import LogUnavailableError
from meshnode.runtime.etcd_messages import Method
from meshnode.runtime.tasks import apart

__all__ = [
    "RETRY_INTERVAL",
    "EtcdClient",
    "EtcdRefusedError",
    "EtcdSettings",
    "EtcdUnavailableError",
    "etcd_tls",
]

_log = logging.getLogger("meshnode.etcd")
#: Seconds between attempts after a failure.
RETRY_INTERVAL: Final = 0.1
#: Seconds that a TLS goodbye may take.
CLOSE_TIMEOUT: Final = 1.0
#: Bytes in flight of one answer: etcd's largest is a page of entries.
WINDOW_BYTES: Final = 4 << 20
#: Statuses that say "not now" or "not here"; with any other, etcd has understood and refused.
_UNAVAILABLE: Final = frozenset(
    {Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.CANCELLED, Status.UNKNOWN, Status.INTERNAL}
)


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """``tls`` is called for each connection, so a renewed certificate is used from the next one on; ``None``: plain."""

    endpoints: tuple[Address, ...]
    tls: Callable[[], ssl.SSLContext] | None = field(default=None, repr=False)
    #: Under which all keys are, one for each datacenter.
    prefix: str = "meshnode/dc1/"
    #: With ``tls``, members that are asked without it after those of ``endpoints``: while etcd changes between the two.
    clear: tuple[Address, ...] = ()
    #: Seconds of one call; past them another member is asked.
    call_timeout: float = 2.0
    #: The same of an append, which may be made again without harm: what a write costs when raft's leader dies.
    append_timeout: float = 1.0
    #: Seconds until a leader that says nothing is replaced. etcd takes 2 or more with its own default timers.
    lease_ttl: int = 2


class EtcdUnavailableError(LogUnavailableError):
    """No answer; what was asked may have been done all the same. Another attempt goes to another member."""


class EtcdRefusedError(LogUnavailableError):
    """etcd answered with an error: nothing was done."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


def etcd_tls(ca_file: str, cert_file: str, key_file: str) -> Callable[[], ssl.SSLContext]:
    """Contexts for ``EtcdSettings.tls`` that read the files anew each time."""

    def context() -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=ca_file)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.load_cert_chain(cert_file, key_file)
        made.set_alpn_protocols(["h2"])
        return made

    return context


class _Protocol(H2Protocol):
    """Tells when the transport is gone, which grpclib doesn't."""

    gone: asyncio.Event | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.gone = asyncio.Event()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self.gone is not None:
            self.gone.set()


class _Channel(Channel):
    """A channel that can be waited for after ``close``, and that no call connects again after it."""

    made: _Protocol | None = None
    closed = False

    async def __connect__(self) -> H2Protocol:
        protocol = await super().__connect__()
        if self.closed:  # while it was connecting
            super().close()
            raise ConnectionAbortedError("the connection was given up")
        return protocol

    def close(self) -> None:
        self.closed = True
        super().close()

    def _protocol_factory(self) -> H2Protocol:
        self.made = _Protocol(Handler(), self._config, self._h2_config)
        return self.made

    async def wait_closed(self) -> None:
        if self.made is not None and self.made.gone is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self.made.gone.wait()


@dataclass(slots=True)
class _Connection:
    channel: _Channel
    endpoint: Address
    secure: bool
    answered: bool = False


class EtcdClient:
    """One connection to one member, whichever answers."""

    def __init__(self, settings: EtcdSettings) -> None:
        if not settings.endpoints:
            raise ValueError("etcd needs at least one endpoint")
        self._settings = settings
        self._members = [(one, settings.tls) for one in settings.endpoints]
        self._members += [(one, None) for one in settings.clear]
        self._position = 0
        self._connection: _Connection | None = None
        self._closed = False

    @property
    def endpoint(self) -> Address:
        """The member that is asked now."""
        return self._members[self._position][0]

    async def close(self) -> None:
        """Close the connection; every call and stream ends with ``EtcdUnavailableError``."""
        connection, self._closed = self._connection, True
        self._drop()
        if connection is not None:
            await connection.channel.wait_closed()

    def reconnect(self) -> None:
        """Use a new connection from now on (after new certificates); streams resume on it by themselves."""
        self._drop()

    async def call(self, method: Method, request: Any, timeout: float | None = None) -> Any:
        """One request, one answer. Raises ``EtcdUnavailableError`` or ``EtcdRefusedError``."""
        return await apart(self._call(method, request, timeout), name=f"etcd {method.path}")

    async def _call(self, method: Method, request: Any, timeout: float | None) -> Any:
        cardinality = Cardinality.STREAM_STREAM if method.streams else Cardinality.UNARY_UNARY
        connection = self._open()
        try:
            async with asyncio.timeout(timeout or self._settings.call_timeout):
                opened = connection.channel.request(method.path, cardinality, method.request, method.response)
                async with opened as stream:
                    await stream.send_message(request, end=True)
                    reply = await stream.recv_message()
        except _FAILURES as error:
            raise self._failure(connection, error) from error
        if reply is None:
            raise self._failure(connection, ConnectionError("it ended the call without an answer"))
        connection.answered = True
        return reply

    async def stream(self, method: Method, request: Any) -> AsyncGenerator[Any, None]:
        """One request, then whatever comes, until it fails as ``call`` does. Ends too when the member has no leader."""
        connection = self._open()
        try:
            opened = connection.channel.request(
                method.path,
                Cardinality.STREAM_STREAM,
                method.request,
                method.response,
                metadata={"hasleader": "true"},
            )
            async with opened as stream:
                name = f"etcd {method.path}"
                await apart(_in_time(stream.send_message(request), self._settings.call_timeout), name=name)
                while (reply := await apart(stream.recv_message(), name=name)) is not None:
                    connection.answered = True
                    yield reply
        except _FAILURES as error:
            raise self._failure(connection, error) from error
        raise self._failure(connection, ConnectionError("it ended the stream"))

    def _open(self) -> _Connection:
        if self._closed:
            raise EtcdUnavailableError("the connection to etcd is closed")
        if self._connection is None:
            configuration = Configuration(
                http2_connection_window_size=WINDOW_BYTES, http2_stream_window_size=WINDOW_BYTES
            )
            endpoint, context = self._members[self._position]
            try:
                tls = context() if context is not None else None
            except OSError as error:
                raise EtcdUnavailableError(f"the certificates for etcd can't be read: {error}") from error
            channel = _Channel(endpoint.host, endpoint.port, ssl=tls, config=configuration)
            self._connection = _Connection(channel, endpoint, secure=tls is not None)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.channel.close()

    def _failure(self, connection: _Connection, error: Exception) -> LogUnavailableError:
        where = f"etcd at {connection.endpoint}"
        if isinstance(error, GRPCError):
            what = error.message or error.status.name
            if error.status not in _UNAVAILABLE:
                return EtcdRefusedError(error.status, f"{where} refuses: {what}")
        elif isinstance(error, TimeoutError):
            what = "no answer in time"
        else:
            what = str(error) or type(error).__name__
            lost = isinstance(error, StreamTerminatedError | ConnectionResetError)
            if lost and connection.secure and not connection.answered:
                what += " before it answered anything: if it is up, does it accept our certificate?"
        if connection is self._connection:
            self._drop()
            self._position = (self._position + 1) % len(self._members)
            _log.warning("%s: %s; going to %s", where, what, self.endpoint)
        return EtcdUnavailableError(f"{where}: {what}")


async def _in_time(what: Awaitable[None], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await what


#: All that grpclib and the transport raise for a peer that fails; ``OSError`` covers TLS.
_FAILURES: Final = (GRPCError, ProtocolError, StreamTerminatedError, TimeoutError, OSError)
