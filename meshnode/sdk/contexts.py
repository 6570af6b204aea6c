"""TLS contexts that renew themselves, and whose handshake fails unless the peer proved to be who it has to be.

A :class:`MeshContext` makes each new connection with the leaf and roots of the moment: ``wrap_bio`` (asyncio, uvloop,
anyio) and ``wrap_socket`` (blocking sockets) hand over to a plain context that is made anew when the material changes.
What is established keeps what it began with. Settings are as between sidecars; sessions end with the leaf or the roots
that they were made under. What a program does to the context, but for ``set_alpn_protocols``, has no effect.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from meshnode.proxy.authorize import Refusal
from meshnode.runtime.proxy.contexts import make_contexts
from meshnode.runtime.proxy.host import handshake_failure
from meshnode.runtime.proxy.interfaces import TlsMaterial

__all__ = ["Judge", "MeshContext", "MeshSslObject", "MeshSslSocket", "PeerRefusedError", "is_mesh_peer"]

#: Why the peer with this certificate (DER) won't do, or ``None``: it will.
Judge = Callable[[bytes | None], Refusal | None]

#: Not a refusal: the handshake goes on, or the peer went away, as a TCP check does (which of the last two that is
#: depends on the version of OpenSSL).
_NO_REFUSAL: Final = (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class PeerRefusedError(ssl.SSLCertVerificationError):
    """The chain is good and the identity is not; ``verify_message`` says why."""

    def __init__(self, because: str) -> None:
        super().__init__(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {because}")
        self.verify_code = 1
        self.verify_message = because


class MeshSslObject(ssl.SSLObject):
    """What asyncio speaks TLS with; its handshake ends with a look at the peer's identity.

    ``received`` and ``sent`` count the bytes inside the TLS.
    """

    owner: MeshContext
    received = 0
    sent = 0

    def do_handshake(self) -> None:
        """As in the base class; raises :class:`PeerRefusedError` as well."""
        with self.owner.judged(self):
            super().do_handshake()

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002  the name of the base class
        """As in the base class, counted."""
        found: Any = super().read(len, buffer)
        self.received += found if buffer is not None else _size(found)
        return found

    def write(self, data: Any) -> int:
        """As in the base class, counted."""
        count = super().write(data)
        self.sent += count
        return count


def _size(data: bytes) -> int:
    return len(data)


class MeshSslSocket(ssl.SSLSocket):
    """The same for blocking sockets."""

    owner: MeshContext

    def do_handshake(self, block: bool = False) -> None:
        """As in the base class; raises :class:`PeerRefusedError` as well."""
        with self.owner.judged(self):
            super().do_handshake(block)

    def accept(self) -> tuple[ssl.SSLSocket, Any]:
        """A listening socket lives long: each connection gets the material of its own moment."""
        accepted, address = socket.socket.accept(self)
        try:
            wrapped = self.owner.wrap_socket(
                accepted,
                server_side=True,
                do_handshake_on_connect=getattr(self, "do_handshake_on_connect", True),
                suppress_ragged_eofs=getattr(self, "suppress_ragged_eofs", True),
            )
        except BaseException:
            accepted.close()
            raise
        return wrapped, address


def is_mesh_peer(peer: object) -> bool:
    """Whether ``peer`` is an end of a connection that a :class:`MeshContext` made, so that its peer was judged."""
    return isinstance(peer, MeshSslObject | MeshSslSocket)


class _Judged:
    """Around one step of a handshake: when it was the last, the peer is judged."""

    def __init__(
        self, peer: ssl.SSLObject | ssl.SSLSocket, judge: Judge, on_refused: Callable[[str], None]
    ) -> None:
        self._peer = peer
        self._judge = judge
        self._on_refused = on_refused

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            refusal = self._judge(self._peer.getpeercert(binary_form=True))
            if refusal is None:
                return
            error = PeerRefusedError(refusal.because)
            self._on_refused(handshake_failure(error))
            raise error
        if isinstance(error, ssl.SSLError) and not isinstance(error, _NO_REFUSAL):
            self._on_refused(handshake_failure(error))


class MeshContext(ssl.SSLContext):
    """To be made by :meth:`make`. Safe to use from several threads."""

    _material: Callable[[], TlsMaterial]
    _judge: Judge
    _on_refused: Callable[[str], None]
    _server: bool
    _alpn: list[str]
    _made: tuple[TlsMaterial, ssl.SSLContext] | None
    _classes: tuple[type[MeshSslObject], type[MeshSslSocket]]

    @classmethod
    def make(
        cls,
        material: Callable[[], TlsMaterial],
        judge: Judge,
        *,
        server: bool,
        on_refused: Callable[[str], None] = lambda because: None,
    ) -> MeshContext:
        """``material`` gives what is in force now; ``judge`` says whom a handshake is refused.

        ``on_refused`` is told why each time that a handshake failed.
        """
        self = cls(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        # Nothing is loaded into this one: whoever goes round it gets no connection.
        self.check_hostname = False
        self.verify_mode = ssl.CERT_REQUIRED
        self._material, self._judge, self._on_refused = material, judge, on_refused
        self._server, self._alpn, self._made = server, [], None
        self._classes = (
            type("MeshSslObject", (MeshSslObject,), {"owner": self}),
            type("MeshSslSocket", (MeshSslSocket,), {"owner": self}),
        )
        self._current()
        return self

    def judged(self, peer: ssl.SSLObject | ssl.SSLSocket) -> _Judged:
        """For a step of the handshake with ``peer``."""
        return _Judged(peer, self._judge, self._on_refused)

    def set_alpn_protocols(self, alpn_protocols: Any) -> None:
        """As in the base class, for connections from now on."""
        self._alpn = list(alpn_protocols)
        self._made = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As in the base class, with the material of now. ``session`` is not used."""
        del session
        return self._current().wrap_bio(incoming, outgoing, server_side, server_hostname)

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """As in the base class, with the material of now. ``session`` is not used."""
        del session
        return self._current().wrap_socket(
            sock, server_side, do_handshake_on_connect, suppress_ragged_eofs, server_hostname
        )

    def _current(self) -> ssl.SSLContext:
        material = self._material()
        made = self._made
        if made is None or made[0] is not material:
            contexts = make_contexts(material)
            context = contexts.server if self._server else contexts.client
            context.sslobject_class, context.sslsocket_class = self._classes
            if self._alpn:
                context.set_alpn_protocols(self._alpn)
            made = self._made = (material, context)
        return made[1]
