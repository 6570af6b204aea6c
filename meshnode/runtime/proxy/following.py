"""What the agent tells again and again, followed for as long as the task lives: what breaks is taken up again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

from meshnode.base.errors import ConfigError
from meshnode.runtime.proxy.interfaces import CertificateProvider, TlsMaterial

__all__ = ["RETRY_INTERVAL", "follow", "follow_certificates"]

#: Seconds until a broken subscription is tried again.
RETRY_INTERVAL: Final = 1.0

T = TypeVar("T")


async def follow(
    watch: Callable[[], AsyncIterator[T]],
    use: Callable[[T], Awaitable[object]],
    *,
    what: str,
    log: logging.Logger,
    after_a_gap: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Until cancelled, ``use`` each item of ``watch``; ``what`` is followed, for the log.

    ``after_a_gap`` is called before a subscription that ended is taken up again: what changed meanwhile is not told.
    """
    missed = False
    while True:
        try:
            if missed and after_a_gap is not None:
                await after_a_gap()
            async for item in watch():
                await use(item)
        except Exception as error:  # noqa: BLE001  the source is another's code; what was told until now goes on
            log.warning("%s are not followed for %g s: %s", what, RETRY_INTERVAL, error)
        missed = True
        await asyncio.sleep(RETRY_INTERVAL)


async def follow_certificates(
    provider: CertificateProvider,
    use: Callable[[TlsMaterial], None],
    ready: asyncio.Future[None],
    log: logging.Logger,
) -> None:
    """Until cancelled, ``use`` what ``provider`` gives. ``use`` raises :class:`ConfigError` for what can't be used.

    ``ready`` gets the outcome of the first; a later one that can't be used is logged, and the one before stays.
    """

    async def one(material: TlsMaterial) -> None:
        try:
            use(material)
        except ConfigError as error:
            if ready.done():
                log.error("the new certificate is not used, the old one stays: %s", error)
            else:
                ready.set_exception(error)
        else:
            if not ready.done():
                ready.set_result(None)

    await follow(provider.watch, one, what="certificates", log=log)
