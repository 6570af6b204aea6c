"""meshnode: an open, Consul-compatible agent and encrypted service mesh.

The packages, from the one that people start to the ones that only compute:

``cli``       one file per command: parses, calls, prints
``agent``     composition root: configuration, wiring, start and stop order, reload
``runtime``   the only place of asyncio, sockets, TLS, clocks and processes
``http``, ``rpc``, ``gossip``, ``prove``   protocol cores: bytes or requests in, values and effects out
``control``   what a server does on each call: the replicated log, its commands and the state machine
``catalog``, ``kv``   the replicated state: nodes, services and checks; keys, locks and sessions
``pki``       certificates: a pure model of authority, request and renewal
``base``      errors, addresses, limits; imports nothing of ours

Imports point downwards only; ``tests/meta/test_architecture.py`` holds the table of allowed edges.
"""

from typing import Final

__all__ = ["CONSUL_API_VERSION", "__version__"]

__version__: Final = "0.1.0"

#: The release of Consul whose published interfaces are the contract; gossiped in the ``build`` tag.
CONSUL_API_VERSION: Final = "1.2.3"
