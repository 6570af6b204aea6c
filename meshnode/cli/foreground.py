"""A proxy in the foreground, as ``connect proxy`` and ``tls-proxy`` run one.

Output and exit codes follow Consul's. A first SIGINT or SIGTERM lets what is open end, a second one does not wait.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from meshnode.base.errors import MeshError
from meshnode.cli.connect_proxy_engine import raise_descriptor_limit
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["Foreground", "announce", "failed", "run_on_loop"]

ENDING: Final = {signal.SIGINT: "interrupt", signal.SIGTERM: "terminated"}


def run_on_loop(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """What ``main`` returns, on uvloop, with as many open files as this process may have."""
    raise_descriptor_limit()
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def failed(what: str, error: MeshError) -> int:
    """Say on standard error that ``what`` did not go; the exit code for that."""
    print(f"==> {what}: {error}", file=sys.stderr, flush=True)
    return 1


def announce(lines: Iterable[str]) -> None:
    """Print ``lines`` as the last ones before those of the log."""
    _say(*(f"    {line}" for line in lines), "", "==> Log data will now stream in as it occurs:", "")


def _say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


class Foreground:
    """One run of the proxy ``title``. Signals are told to ``log``.

    ``stopping`` is called when a signal begins to end it, ``hurry`` at the second signal.
    """

    def __init__(
        self,
        title: str,
        log: logging.Logger,
        *,
        drain_timeout: float,
        hurry: Callable[[], None],
        stopping: Callable[[], None] = lambda: None,
    ) -> None:
        #: Seconds that what is open has to end; 0 after a second signal.
        self.drain_timeout = drain_timeout
        self._title = title
        self._log = log
        self._hurry = hurry
        self._on_stopping = stopping
        self._stopping = asyncio.Event()

    async def run(self, work: Callable[[], Coroutine[Any, Any, int]]) -> int:
        """The exit code: that of ``work`` when it ends by itself, 0 when a signal ends it.

        At a signal ``work`` is cancelled; it returns when nothing is open any more.
        """
        loop = asyncio.get_running_loop()
        for number, name in ENDING.items():
            loop.add_signal_handler(number, self._on_signal, name)
        _say(f"==> {self._title} starting...")
        stopping = spawn(self._stopping.wait(), name=f"end of {self._title}")
        running: asyncio.Task[int] = spawn(work(), name=self._title)
        try:
            await asyncio.wait([stopping, running], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                return running.result()
            self._on_stopping()
            await cancel_and_wait(running)
            _say(f"==> {self._title} shutdown")
            return 0
        finally:
            await cancel_and_wait(stopping, running)

    def _on_signal(self, name: str) -> None:
        if self._stopping.is_set():
            self._log.info("Caught second signal: %s. Exiting", name)
            self.drain_timeout = 0.0
            self._hurry()
            return
        self._log.info("Caught signal: %s", name)
        self._stopping.set()
