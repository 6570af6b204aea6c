"""Server RPC on port 8300: the first byte, yamux streams, msgpack net/rpc headers and bodies. Sans-IO.

In: bytes from a connection. Out: bytes to send, and requests or responses as values. The sockets and TLS are in
``runtime.rpc_*``.
"""

__all__: list[str] = []
