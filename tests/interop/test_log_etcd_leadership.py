"""Who leads, on real etcd: handing over, being deposed, and nothing written after one's time."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import pytest

from meshnode.control.log import LogError, NotLeaderError
from meshnode.runtime.etcd_client import EtcdUnavailableError
from meshnode.runtime.etcd_messages import TXN, Method
from meshnode.runtime.log_etcd import EtcdLog
from tests.support.etcd_cluster import EtcdCluster
from tests.support.etcd_servers import PREFIXES, agree, same_state, servers
from tests.support.log_contract import run
from tests.support.log_lab import read_log
from tests.support.programs import needs
from tests.support.waiting import until

pytestmark = needs("etcd", "etcdctl")


def test_resigning_hands_over_at_once(three: EtcdCluster) -> None:
    async def main() -> None:
        async with servers(three, next(PREFIXES)) as (first, second, third):
            await first.batcher.append(b"1")
            began = time.monotonic()
            await first.log.resign()
            await until(lambda: second.leads or third.leads, "another leads", interval=0.002)
            print(f"\ngap after resigning: {time.monotonic() - began:.3f} s")
            leader = second if second.leads else third
            assert (await leader.batcher.append(b"2")).index == 2
            await same_state(first, second, third)
            with pytest.raises(NotLeaderError):
                await first.batcher.append(b"x")

    run(main)


def test_leadership_goes_to_the_server_that_was_named(three: EtcdCluster) -> None:
    async def main() -> None:
        async with servers(three, next(PREFIXES)) as (first, second, third):
            epochs = [first.epoch]
            for here, there in ((first, third), (third, second), (second, first)):
                began = time.monotonic()
                await here.log.transfer(there.log.node_id)
                await until(partial(getattr, there, "leads"), "the heir leads", interval=0.002)
                print(f"\ngap of a transfer: {time.monotonic() - began:.3f} s")
                await there.batcher.append(b"x")
                await until(partial(agree, here, there), "both know")
                epochs.append(there.epoch)
            with pytest.raises(NotLeaderError):
                await third.log.transfer("server2")
            assert epochs == sorted(set(epochs)), "each term has a greater epoch"

    run(main)


def test_when_the_heir_is_not_there_somebody_else_takes_over(three: EtcdCluster) -> None:
    async def main() -> None:
        async with servers(three, next(PREFIXES), 2, lease_ttl=2) as (first, second):
            await first.log.transfer("nobody")
            await until(lambda: first.leads or second.leads, "somebody leads")

    run(main)


@pytest.mark.parametrize("written_since", [True, False])
def test_a_leader_whose_time_is_over_can_not_write(three: EtcdCluster, written_since: bool) -> None:
    """The check is etcd's, in the transaction: what this server believes plays no part."""

    async def main() -> None:
        async with servers(three, next(PREFIXES), 2) as (first, second):
            await first.batcher.append(b"1")
            old = first.log
            assert isinstance(old, EtcdLog)
            believed = old.leadership
            await old.resign()
            await until(lambda: second.leads, "the other leads", interval=0.01)
            if written_since:
                await second.batcher.append(b"2")
            old._election._current = believed  # a leader that slept through all of it
            with pytest.raises(NotLeaderError, match="server2 is"):
                await old.append([b"stale"], believed.epoch)
            await second.batcher.append(b"3")
            await same_state(second, first)
            assert first.state == ([b"1", b"2", b"3"] if written_since else [b"1", b"3"])

    run(main)


def test_a_request_that_arrives_again_later_changes_nothing(three: EtcdCluster) -> None:
    """What was sent twice, because the first answer was lost, may be carried out long after the second one."""

    async def main() -> None:
        async with servers(three, next(PREFIXES), 1) as (server,):
            log = server.log
            assert isinstance(log, EtcdLog)
            sent = []
            call = log._client.call

            async def recording(method: Method, request: Any, timeout: float | None = None) -> Any:
                if method is TXN and request.success and request.success[0].HasField("request_put"):
                    sent.append(request)
                return await call(method, request, timeout)

            log._client.call = recording  # type: ignore[method-assign]
            for number in range(1, 4):
                await server.batcher.append(b"%d" % number)
            before = await read_log(log)
            for request in sent:
                assert not (await call(TXN, request)).succeeded
            assert await log.barrier() == 3
            assert await read_log(log) == before
            assert (await server.batcher.append(b"4")).index == 4

    run(main)


def test_an_append_whose_answer_was_lost_is_made_once(three: EtcdCluster) -> None:
    async def main() -> None:
        async with servers(three, next(PREFIXES), 1) as (server,):
            log = server.log
            assert isinstance(log, EtcdLog)
            call = log._client.call
            lost = 0

            async def losing(method: Method, request: Any, timeout: float | None = None) -> Any:
                nonlocal lost
                reply = await call(method, request, timeout)
                if method is TXN and request.success and request.success[0].HasField("request_put"):
                    lost += 1
                    if lost % 2:
                        raise EtcdUnavailableError("lost on the way back")
                return reply

            log._client.call = losing  # type: ignore[method-assign]
            commands = [b"%d" % number for number in range(20)]
            for index, command in enumerate(commands, 1):
                assert (await server.batcher.append(command)).index == index
            assert lost == 40
            assert [command for entry in await read_log(log) for command in entry.commands] == commands

    run(main)


def test_a_leader_that_is_deposed_writes_no_more_under_its_epoch_and_stands_again(three: EtcdCluster) -> None:
    async def main() -> None:
        async with servers(three, next(PREFIXES), 2) as (first, second):
            before = second.log.leadership
            await second.log.depose(before.epoch)
            await until(lambda: second.log.leadership.epoch > before.epoch, "another term")
            await until(partial(agree, first, second), "one leader")
            with pytest.raises(LogError):
                await first.log.append([b"late"], before.epoch)
            leader = first if first.leads else second
            await leader.batcher.append(b"on time")
            await same_state(first, second)
            assert leader.state == [b"on time"]

    asyncio.run(main())
