"""Debian's ``serf`` as a foreign member of a pool, and our nodes next to it, each on its own loopback address.

Both use the LAN profile: there a message is sent four times, which reaches the other three nodes of a pool for sure.
The local profile sends it twice, and a query that misses a node is not repeated by anything.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import random
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshnode.base.address import Address
from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.serf.config import SerfConfig
from meshnode.gossip.serf.events import QueryReceived
from meshnode.gossip.serf.member import Status
from meshnode.gossip.serf.serf import Serf
from meshnode.runtime.gossip_shell import GossipShell
from tests.support.waiting import until

__all__ = ["OurNode", "Pool", "SerfAgent", "loopback_network", "mixed_pool"]

GOSSIP_PORT = 7946
RPC_PORT = 7373
#: Answers each query with its name and payload, and writes events down.
HANDLER = """#!/bin/sh
payload="$(cat)"
echo "$SERF_EVENT ${SERF_USER_EVENT}${SERF_QUERY_NAME} $payload" >> "$0.log"
[ "$SERF_EVENT" = query ] && printf '%s says %s' "$SERF_SELF_NAME" "$payload"
exit 0
"""


def loopback_network(seed: int) -> str:
    """The first three bytes of a part of 127.0.0.0/8 that no other test is likely to use."""
    rng = random.Random(seed)
    return f"127.{rng.randint(1, 254)}.{rng.randint(1, 254)}"


@dataclass
class SerfAgent:
    """One running ``serf agent``."""

    name: str
    host: str
    directory: Path
    arguments: tuple[str, ...] = ()
    process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> Address:
        return Address(self.host, GOSSIP_PORT)

    @property
    def log(self) -> str:
        return (self.directory / f"{self.name}.log").read_text()

    @property
    def handled(self) -> list[str]:
        """Lines that the event handler wrote: event type, its name, its payload."""
        path = self.directory / f"{self.name}.sh.log"
        return path.read_text().splitlines() if path.exists() else []

    def has_handled(self, line: str) -> bool:
        return line in self.handled

    async def start(self) -> None:
        handler = self.directory / f"{self.name}.sh"
        handler.write_text(HANDLER)
        handler.chmod(0o700)
        with (self.directory / f"{self.name}.log").open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                "serf", "agent", f"-node={self.name}", f"-bind={self.host}:{GOSSIP_PORT}",
                f"-rpc-addr={self.host}:{RPC_PORT}", "-profile=lan", "-log-level=debug",
                f"-event-handler={handler}", *self.arguments, stdout=log, stderr=log,
            )  # fmt: skip
        await until(lambda: "Serf agent running!" in self.log, f"{self.name} runs")

    async def run(self, command: str, *arguments: str) -> tuple[int, str]:
        """Run a ``serf`` client command against this agent: (exit status, output)."""
        process = await asyncio.create_subprocess_exec(
            "serf", command, f"-rpc-addr={self.host}:{RPC_PORT}", *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def members(self) -> dict[str, dict[str, Any]]:
        """``serf members`` by name."""
        status, output = await self.run("members", "-format=json")
        assert status == 0, output
        return {member["name"]: member for member in json.loads(output)["members"] or []}

    async def status_of(self, name: str) -> str | None:
        return (await self.members()).get(name, {}).get("status")

    async def kill(self) -> None:
        """End it without a goodbye."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def interrupt(self) -> None:
        """Ctrl-C: the agent leaves gracefully and ends."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        await self.process.wait()


@dataclass
class OurNode:
    """One of our nodes, with all that it reported."""

    name: str
    host: str
    key: bytes | None = None
    tags: dict[str, str] = field(default_factory=dict)
    config: SerfConfig = field(default_factory=lambda: SerfConfig(memberlist=MemberlistConfig.lan()))
    seed: int = 0
    keyring_path: Path | None = None
    snapshot_path: Path | None = None
    events: list[object] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    answers: bool = True

    def __post_init__(self) -> None:
        logger = logging.Logger(self.name, logging.DEBUG)
        logger.addHandler(_Lines(self.lines))
        self.shell = GossipShell(
            self._make,
            Address(self.host, GOSSIP_PORT),
            keyring_path=self.keyring_path,
            snapshot_path=self.snapshot_path,
            on_event=self._on_event,
            logger=logger,
        )

    def _make(self, address: Address) -> Serf:
        return Serf(
            name=self.name,
            address=address,
            tags=self.tags,
            config=self.config,
            keyring=Keyring([self.key]) if self.key else None,
            rng=random.Random(self.seed),
            entropy=os.urandom,
        )

    def _on_event(self, event: object) -> None:
        self.events.append(event)
        if isinstance(event, QueryReceived) and self.answers:
            self.shell.respond(event, f"{self.name} says {event.payload.decode()}".encode())

    def status_of(self, name: str) -> str | None:
        member = self.shell.serf.member(name)
        return str(member.status) if member else None

    def alive(self) -> set[str]:
        return {member.name for member in self.shell.serf.members() if member.status is Status.ALIVE}


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(f"{record.levelname} {record.getMessage()}")


@dataclass
class Pool:
    """A pool of both kinds."""

    theirs: list[SerfAgent]
    ours: list[OurNode]

    @property
    def names(self) -> set[str]:
        return {agent.name for agent in self.theirs} | {node.name for node in self.ours}

    async def converged(self, expected: set[str] | None = None) -> None:
        """Wait until every node lists every other as alive."""
        names = expected or self.names
        for node in self.ours:
            await until(lambda node=node: node.alive() == names, f"{node.name} sees {sorted(names)}")  # type: ignore[misc]
        for agent in self.theirs:

            async def sees(agent: SerfAgent = agent) -> bool:
                members = await agent.members()
                return {name for name, member in members.items() if member["status"] == "alive"} == names

            await until(sees, f"{agent.name} sees {sorted(names)}")


@contextlib.asynccontextmanager
async def mixed_pool(
    directory: Path,
    seed: int,
    key: bytes | None,
    *,
    theirs: int = 2,
    ours: int = 2,
    config: SerfConfig | None = None,
    serf_arguments: tuple[str, ...] = (),
    keyring_files: bool = False,
) -> AsyncIterator[Pool]:
    """A converged pool of ``theirs`` serf agents and ``ours`` of our nodes; everything is ended afterwards."""
    print(f"seed {seed}")
    network = loopback_network(seed)
    settings = config or SerfConfig(memberlist=MemberlistConfig.lan())
    sealed = (f"-encrypt={base64.b64encode(key).decode()}",) if key else ()
    agents = [
        SerfAgent(
            f"serf{index}", f"{network}.{10 + index}", directory,
            (*sealed, f"-tag=kind=theirs{index}", *serf_arguments),
        )
        for index in range(theirs)
    ]  # fmt: skip
    nodes = [
        OurNode(
            f"ours{index}", f"{network}.{20 + index}", key, {"kind": f"ours{index}"}, settings, seed + index,
            keyring_path=directory / f"ours{index}" / "local.keyring" if keyring_files else None,
        )
        for index in range(ours)
    ]  # fmt: skip
    pool = Pool(agents, nodes)
    try:
        await asyncio.gather(*(agent.start() for agent in agents), *(node.shell.start() for node in nodes))
        first = str(agents[0].address if agents else nodes[0].shell.address)
        for node in nodes if agents else nodes[1:]:
            result = await node.shell.join([first])
            assert result.joined == 1, result
        for agent in agents[1:]:
            status, output = await agent.run(
                "join", str(nodes[0].shell.address if nodes else agents[0].address)
            )
            assert status == 0, output
        await pool.converged()
        yield pool
    finally:
        await asyncio.gather(*(node.shell.stop() for node in nodes))
        await asyncio.gather(*(agent.kill() for agent in agents if agent.process is not None))
