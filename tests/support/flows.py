"""Traffic through proxies: long-lived flows that count every byte, and requests with a connection each."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.support.waiting import until

__all__ = ["Flow", "Requests", "all_live", "ask", "flowing", "requesting"]

#: Seconds that an answer may take on a machine that does much else.
PATIENCE = 30.0
#: Seconds between two rounds of a flow, and between two requests.
PAUSE = 0.02


@dataclass
class Flow:
    """One connection: what is sent comes back, round after round. ``seed`` makes its bytes."""

    port: int
    seed: int
    rounds: int = 0
    received: int = 0
    ended: float = 0.0
    because: str = ""
    _task: asyncio.Task[None] | None = field(default=None, repr=False)
    _stopping: bool = False

    def start(self) -> None:
        self._task = spawn(self._run(), name=f"flow {self.seed}")

    async def _run(self) -> None:
        try:
            await self._talk()
        except (OSError, asyncio.IncompleteReadError) as error:
            self.because = str(error) or type(error).__name__
        self.ended = time.monotonic()

    async def _talk(self) -> None:
        rng = random.Random(self.seed)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            while not self._stopping:
                sent = rng.randbytes(rng.randrange(1, 4000))
                writer.write(sent)
                came = await asyncio.wait_for(reader.readexactly(len(sent)), PATIENCE)
                if came != sent:
                    raise ConnectionError(f"other bytes came back in round {self.rounds}")
                self.rounds += 1
                self.received += len(came)
                await asyncio.sleep(PAUSE * len(came) / 2000)
            writer.write_eof()
            if await asyncio.wait_for(reader.read(), PATIENCE):
                raise ConnectionError("bytes came that nobody has sent")
        finally:
            writer.close()

    async def stop(self) -> None:
        """End it cleanly: the end has to come back as well."""
        self._stopping = True
        if self._task is not None:
            await self._task

    @property
    def lives(self) -> bool:
        return self.rounds > 0 and not self.ended


@contextlib.asynccontextmanager
async def flowing(ports: Sequence[int]) -> AsyncIterator[list[Flow]]:
    """A flow to each of ``ports``, which may be there several times; ended one way or the other at the end."""
    flows = [Flow(port, seed) for seed, port in enumerate(ports)]
    for flow in flows:
        flow.start()
    try:
        yield flows
    finally:
        for flow in flows:
            flow._stopping = True
        await cancel_and_wait(*(flow._task for flow in flows))


@dataclass
class Requests:
    """Connections, one after the other, to ports in turn; each asks once."""

    done: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0

    async def one(self, port: int, data: bytes) -> None:
        """Connect, ask, and hear the end of the answer."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                came = await ask(port, data)
        except (OSError, TimeoutError) as error:
            came = b""
            reason = str(error) or type(error).__name__
        else:
            reason = f"{len(came)} of {len(data)} bytes came back"
        if came == data:
            self.done += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
        else:
            self.failures.append(f"{time.strftime('%H:%M:%S')} port {port}: {reason}")


async def all_live(flows: Sequence[Flow]) -> None:
    """Each has made a round; one that has ended instead fails the test with its reason."""

    def live() -> bool:
        ended = [
            f"to port {flow.port}, after {flow.rounds} rounds: {flow.because}" for flow in flows if flow.ended
        ]
        assert not ended, f"{len(ended)} of {len(flows)} flows have ended: {ended[:5]}"
        return all(flow.rounds for flow in flows)

    await until(live, f"all {len(flows)} talk", 60)


async def ask(port: int, data: bytes = b"hello") -> bytes:
    """All that comes back until the end; raises ``OSError`` for a reset, and when no end comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), PATIENCE)
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def requesting(ports: Sequence[int], at_once: int = 1) -> AsyncIterator[Requests]:
    """``at_once`` clients for each port, until the block ends; the last request of each is waited for."""
    found, over = Requests(), asyncio.Event()

    async def client(port: int, seed: int) -> None:
        rng = random.Random(seed)
        while not over.is_set():
            await found.one(port, rng.randbytes(rng.randrange(1, 2000)))
            await asyncio.sleep(PAUSE)

    tasks = [
        spawn(client(port, seed), name=f"requests to {port}")
        for seed, port in enumerate(list(ports) * at_once)
    ]
    try:
        yield found
        over.set()
        await asyncio.gather(*tasks)
    finally:
        await cancel_and_wait(*tasks)
