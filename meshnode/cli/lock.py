"""``lock``: run a program while holding a lock or one place of a semaphore, and end it when that is lost."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from dataclasses import dataclass
from typing import Final, TypeVar

from meshnode.base.errors import ConfigError
from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.drive import Driver
from meshnode.lock.calls import LockError, Steps
from meshnode.lock.mutex import Mutex
from meshnode.lock.semaphore import LOCK_NAME, Semaphore
from meshnode.lock.session import DELETE, RELEASE, close_session, keep_session, open_session
from meshnode.runtime.child import FORWARDED, Child, ChildError, shell_program, start_program
from meshnode.runtime.tasks import spawn

__all__ = ["run"]

T = TypeVar("T")

CHILD_FAILED: Final = 2
#: Signals that end the lock.
ENDING: Final = (signal.SIGINT, signal.SIGTERM)
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
    name = flags.string(
        "name", "Name of the session; by default the child and the prefix.", placeholder="name"
    )
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

    async def lock() -> int:
        return await _Lock(options, driver).run()

    return asyncio.run(lock())


class _Lock:
    """The command under way: session, lock, child, in this order, and back."""

    def __init__(self, options: _Options, driver: Driver) -> None:
        self._options = options
        self._driver = driver
        self._child: Child | None = None
        self._told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self) -> int:
        """Everything; returns the exit code."""
        self._listen()
        name, behavior = self._options.name, RELEASE if self._options.limit == 1 else DELETE
        opening = spawn(self._outcome(open_session(name, behavior)), name="lock-session")
        await asyncio.wait({opening, self._told}, return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            return self._failed("Shutdown triggered or timeout during lock acquisition")
        session = opening.result()
        if isinstance(session, LockError):
            return self._failed(f"Lock setup failed: {session}")
        keeping = spawn(
            self._driver.run(keep_session(session, self._driver.clock())), name="lock-session-renewal"
        )
        try:
            return await self._with_session(session, keeping)
        finally:
            keeping.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELEASE_TIMEOUT):
                    await self._outcome(close_session(session))

    async def _with_session(self, session: str, keeping: asyncio.Task[str]) -> int:
        options = self._options
        lock = (
            Mutex(f"{options.prefix}/{LOCK_NAME}", session)
            if options.limit == 1
            else Semaphore(options.prefix, session, options.limit)
        )
        self._say("Attempting lock acquisition")
        steps = lock.acquire(self._driver.clock(), options.timeout)
        acquiring = spawn(self._outcome(steps), name="lock-acquisition")
        await asyncio.wait({acquiring, keeping, self._told}, return_when=asyncio.FIRST_COMPLETED)
        if not acquiring.done():
            acquiring.cancel()
            if keeping.done():
                return self._failed(f"Lock acquisition failed: {keeping.result()}")
            return self._failed("Shutdown triggered or timeout during lock acquisition")
        held = acquiring.result()
        if isinstance(held, LockError):
            return self._failed(f"Lock acquisition failed: {held}")
        if not held:
            return self._failed("Shutdown triggered or timeout during lock acquisition")
        code, lost = await self._with_lock(lock, keeping)
        if lost:
            return self._failed(f"Lock lost, the child was ended: {lost}")
        released = await self._give_back(lock)
        if released or code is None:
            return 1
        return CHILD_FAILED if code and options.child_exit_code else 0

    async def _with_lock(self, lock: Mutex | Semaphore, keeping: asyncio.Task[str]) -> tuple[int | None, str]:
        """Run the child; returns its exit code (``None``: it could not be started), and why the lock was lost."""
        if self._told.done():
            return 0, ""
        options = self._options
        # At a terminal the child stays in the foreground, so that it may ask its user something.
        own_group = not (options.pass_stdin or (sys.stdin is not None and sys.stdin.isatty()))
        self._say("Starting handler " + repr(" ".join(options.program)))
        try:
            self._child = child = await start_program(
                options.program,
                environment={"CONSUL_LOCK_HELD": "true"},
                input_data=None if options.pass_stdin else b"",
                capture=False,
                own_group=own_group,
            )
        except ChildError as error:
            self._failed(f"Error executing handler: {error}")
            return None, ""
        watching = spawn(self._driver.run(lock.monitor(options.retries)), name="lock-monitor")
        ending = spawn(child.wait(), name="lock-child")
        try:
            await asyncio.wait({watching, keeping, ending, self._told}, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                self._say("Child terminated, releasing lock")
                return ending.result(), ""
            if self._told.done():
                self._say("Shutdown triggered, killing child")
                return await child.end(first=self._told.result()), ""
            lost = (watching if watching.done() else keeping).result()
            self._say("Lock lost, killing child")
            return await child.end(), lost
        finally:
            watching.cancel()
            ending.cancel()
            await child.close()

    async def _give_back(self, lock: Mutex | Semaphore) -> int:
        """Release and clean up; returns 1 when that failed."""
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT):
                await self._driver.run(lock.release())
                gone = await self._driver.run(lock.clean_up())
        except (LockError, TimeoutError) as error:
            reason = str(error) or "the agent does not answer"
            return self._failed(f"Lock release failed: {reason}")
        self._say("Cleanup succeeded" if gone else "Cleanup aborted, lock in use")
        return 0

    async def _outcome(self, steps: Steps[T]) -> T | LockError:
        try:
            return await self._driver.run(steps)
        except LockError as error:
            return error

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, self._end, number)
        for number in FORWARDED:
            loop.add_signal_handler(number, self._forward, number)

    def _end(self, number: int) -> None:
        """The first such signal ends all in order; the next one does not wait for the child."""
        if not self._told.done():
            self._told.set_result(number)
        else:
            self._forward(signal.SIGKILL)

    def _forward(self, number: int) -> None:
        if self._child is not None:
            self._child.send(number)

    def _say(self, text: str) -> None:
        if self._options.verbose:
            print(text, flush=True)

    def _failed(self, text: str) -> int:
        print(text, file=sys.stderr, flush=True)
        return 1
