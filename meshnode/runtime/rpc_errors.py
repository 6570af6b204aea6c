"""How a call to a server can fail on the way; what the server itself answers is ``rpc.method.RpcError``."""

from __future__ import annotations

from meshnode.base.errors import MeshError

__all__ = [
    "CallLostError",
    "CallTimeoutError",
    "ServerRefusedError",
    "ServerUnreachableError",
    "TlsRefusedError",
]


class ServerUnreachableError(MeshError):
    """No connection could be made; the call was not sent."""


class ServerRefusedError(ServerUnreachableError):
    """Its host refused the connection: nobody listens there, so the server doesn't run."""


class TlsRefusedError(MeshError):
    """TLS failed, on their side or on ours: the text explains it; the call was not executed."""


class CallLostError(MeshError):
    """The connection or stream went away during the call, which may have been executed."""


class CallTimeoutError(MeshError):
    """No answer in time; the call may have been executed."""
