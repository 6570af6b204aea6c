"""What every package may use: errors, addresses, certificates of others. Imports nothing of ours and does no I/O.

In: plain values. Out: frozen value objects and the error root :class:`~meshnode.base.errors.MeshError`.
"""

from meshnode.base.address import Address
from meshnode.base.errors import ConfigError, LocalProtocolError, MeshError, RemoteProtocolError

__all__ = ["Address", "ConfigError", "LocalProtocolError", "MeshError", "RemoteProtocolError"]
