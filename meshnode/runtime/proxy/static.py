"""What a proxy can do without an agent, for development: a certificate that never changes, and everybody let in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from meshnode.proxy.authorize import Identity
from meshnode.proxy.decision_cache import Decision
from meshnode.runtime.proxy.interfaces import TlsMaterial

__all__ = ["AllowAll", "StaticCertificates"]

_YES = Decision(True, "a proxy of -dev-config asks nobody")


class StaticCertificates:
    """:class:`~meshnode.runtime.proxy.interfaces.CertificateProvider` of one certificate."""

    def __init__(self, material: TlsMaterial) -> None:
        self._material = material

    async def watch(self) -> AsyncIterator[TlsMaterial]:
        """The one certificate; nothing replaces it."""
        yield self._material
        await asyncio.Event().wait()


class AllowAll:
    """:class:`~meshnode.runtime.proxy.interfaces.Authorizer` that lets in whoever proves an identity."""

    async def decide(self, source: Identity) -> Decision:
        """Yes."""
        return _YES

    async def changes(self) -> AsyncIterator[None]:
        """Never."""
        await asyncio.Event().wait()
        yield  # pragma: no cover  (it makes this a generator)
