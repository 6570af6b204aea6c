"""A server as a process, writing for as long as it leads: ``python -m tests.support.log_writer SETTINGS-AS-JSON``.

Lines on standard output, each written at once: ``leading EPOCH``, ``following NODE``, ``ack COMMAND INDEX``,
``fail COMMAND TYPE IN-DOUBT``. To be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import uvloop

from meshnode.base.address import Address
from meshnode.control.log import LeadershipChange, Log, LogError, LogUnavailableError
from meshnode.runtime.log_batcher import BatchLimits
from meshnode.runtime.log_sqlite import SqliteLog
from tests.support.log_lab import Server, serving


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def engine(settings: dict[str, Any]) -> Log:
    if "data_dir" in settings:
        return SqliteLog(Path(settings["data_dir"]), settings["node_id"])
    from meshnode.runtime.etcd_client import EtcdSettings, etcd_tls
    from meshnode.runtime.log_etcd import EtcdLog

    endpoints = tuple(Address.parse(text) for text in settings["endpoints"])
    tls = etcd_tls(*settings["tls"]) if settings.get("tls") else None
    return EtcdLog(EtcdSettings(endpoints, tls, settings["prefix"]), settings["node_id"])


async def write(server: Server, leading: asyncio.Event, name: str) -> None:
    number = 0
    while True:
        await leading.wait()
        number += 1
        command = f"{name}.{number}"
        try:
            written = await server.batcher.append(command.encode())
        except LogError as error:
            doubt = isinstance(error, LogUnavailableError) and error.in_doubt
            say("fail", command, type(error).__name__, doubt)
            await asyncio.sleep(0.02)
        else:
            assert server.state[written.index - 1] == command.encode()
            say("ack", command, written.index)


async def main(settings: dict[str, Any]) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    leading = asyncio.Event()
    node_id = settings["node_id"]

    def changed(change: LeadershipChange) -> None:
        if change.leader == node_id:
            say("leading", change.epoch)
            leading.set()
        else:
            say("following", change.leader or "-")
            leading.clear()

    log = engine(settings)
    log.subscribe(changed)
    limits = BatchLimits(**settings.get("limits", {}))
    async with serving(log, limits, campaign=False) as server:
        say("started", server.replica.applied)
        await log.campaign()
        tag = f"{node_id}-{os.getpid()}"
        writers = [
            asyncio.create_task(write(server, leading, f"{tag}-{n}"))  # noqa: TID251
            for n in range(settings.get("writers", 8))
        ]
        await ended.wait()
        for writer in writers:
            writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*writers)


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
