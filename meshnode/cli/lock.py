"""``lock``: run a program while holding a lock or one place of a semaphore, and end it when that is lost."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.drive import Driver
from meshnode.lock.mutex import Mutex
from meshnode.lock.semaphore import LOCK_NAME, Semaphore
from meshnode.lock.session import DELETE, RELEASE, close_session, keep_session, open_session
from meshnode.runtime.child import Child, ChildError, shell_program, start_program

__all__ = ["run"]

CHILD_FAILED: Final = 2
#: Signals that end the lock, and those that are only the child's affair.
ENDING: Final = (signal.SIGINT, signal.SIGTERM)
FORWARDED: Final = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
#: Seconds to give the lock back in when we were told to end.
RELEASE_TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Options:
    prefix: str
    program: tuple[str, ...]
    name: str
    limit: int
    retries: int
    timeout: float | None
    child_exit_code: bool
    pass_stdin: bool
    verbose: bool


def run(args: list[str]) -> int:
    """Hold, run, release. 0 when the child ran; 2 when it failed and ``-child-exit-code`` was given; else 1."""
    flags = FlagSet(
        "lock",
        "Usage: consul lock [options] prefix child...",
        "Acquires a lock or a place of a semaphore below prefix, and runs the child while it is held.\n"
        "The child is ended when the lock is lost. It finds CONSUL_LOCK_HELD=true in its environment.",
    )
    child_exit_code = flags.boolean("child-exit-code", "Exit with 2 when the child fails.")
    limit = flags.integer("n", "How many may hold it at a time; 1 is a lock.", default=1)
    retries = flags.integer("monitor-retry", "Failed reads of a held lock to bear in a row.", default=3)
    name = flags.string("name", "Name of the session; by default the child and the prefix.", placeholder="name")
    pass_stdin = flags.boolean("pass-stdin", "Hand our standard input on to the child.")
    shell = flags.boolean("shell", "Run the child in a shell.", default=True)
    timeout = flags.duration("timeout", "Most time to wait for the lock; 0 is for ever.")
    attempt = flags.duration("try", "The same (deprecated).")
    verbose = flags.boolean("verbose", "Say what is going on.")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    if len(parsed.positionals) < 2:
        raise FlagError("Key prefix and child command must be specified")
    prefix, *child = parsed.positionals
    if parsed[limit] <= 0:
        raise ConfigError(f"-n: {parsed[limit]}: Lock holder limit must be positive")
    if parsed[retries] < 0:
        raise ConfigError(f"-monitor-retry: {parsed[retries]}: the number must be >= 0")
    if parsed.given(timeout) and parsed.given(attempt):
        raise ConfigError("-try is the old name of -timeout: give one of them")
    wait = parsed[attempt] if parsed.given(attempt) else parsed[timeout]
    if wait < 0 or (parsed.given(attempt) and wait == 0):
        raise ConfigError("-timeout: Timeout must be positive")
    prefix = prefix.strip("/")
    if not prefix:
        raise ConfigError("the prefix is empty: name a key in the KV store, such as service/web/leader")
    options = _Options(
        prefix=prefix,
        program=shell_program(" ".join(child)) if parsed[shell] else tuple(child),
        name=parsed[name] or f"Consul lock for '{' '.join(child)}' at '{prefix}'",
        limit=parsed[limit],
        retries=parsed[retries],
        timeout=wait or None,
        child_exit_code=parsed[child_exit_code],
        pass_stdin=parsed[pass_stdin],
        verbose=parsed[verbose],
    )
    driver = Driver(client_flags.client(parsed), client_flags.write_query(parsed))
    return asyncio.run(_Lock(options, driver).run())


class _Lock:
    def __init__(self, options: _Options, driver: Driver) -> None:
        self._options = options
        self._driver = driver
        self._child: Child | None = None
        self._told: asyncio.Future[int] = asyncio.get_event_loop_policy().new_event_loop().create_future()

    async def run(self) -> int:
        raise NotImplementedError
