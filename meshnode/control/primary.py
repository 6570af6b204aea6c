"""What the primary datacenter does for all of them: who may connect, what proxies are told, the mesh's CA.

Source: Consul, documentation of ``primary_datacenter`` and of Connect in several datacenters.
"""

from __future__ import annotations

from typing import Final

__all__ = ["NOT_PRIMARY", "PRIMARY_METHODS", "place_of"]

#: Carried out in the primary datacenter, in whichever they are called. Reads of intentions and config entries aren't
#: here: each datacenter has a copy.
PRIMARY_METHODS: Final = frozenset(
    {
        "Intention.Apply",
        "ConfigEntry.Apply",
        "ConfigEntry.Delete",
        "ConnectCA.ConfigurationGet",
        "ConnectCA.ConfigurationSet",
        "ConnectCA.Revoke",
        "ConnectCA.Rotation",
        "ConnectCA.RotationSet",
    }
)
#: Consul's sentence, for what only the primary can do.
NOT_PRIMARY: Final = "not the primary datacenter"


def place_of(method: str, wanted: str, own: str, primary: str) -> str:
    """The datacenter that carries ``method`` out when ``wanted`` (empty: ``own``) was asked for."""
    place = wanted or own
    return primary if place == own and method in PRIMARY_METHODS else place
