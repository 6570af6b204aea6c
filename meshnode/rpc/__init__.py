"""Server RPC on port 8300: the first byte, yamux streams, msgpack net/rpc headers and bodies. Sans-IO.

``selector``      what the first byte of a connection asks for, and whether it may have it
``yamux``         one connection as many streams (``yamux_frames`` header, ``yamux_stream`` states, ``yamux_effects``)
``codec``         net/rpc requests and responses in msgpack (``msgpack_extent`` finds where a value ends, within bounds)
``method``        the table of method names, and the error that a caller is told

In: bytes from a connection. Out: bytes to send, and requests or responses as values. The sockets and TLS are in
``runtime.rpc_*``.
"""

__all__: list[str] = []
