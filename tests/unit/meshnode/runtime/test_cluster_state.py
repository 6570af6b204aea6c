"""A server's copy of the state: writes, reads that wait, snapshots; on the embedded log in memory."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL, PermissionDeniedError
from meshnode.control.body import NANOSECONDS
from meshnode.control.command import KvDelete, KvPut
from meshnode.control.endpoints.table import METHODS
from meshnode.control.log import LogUnavailableError, NotLeaderError
from meshnode.control.method import ReadMethod, WriteMethod
from meshnode.rpc.method import RpcError
from meshnode.runtime.cluster_state import ClusterState, SnapshotPolicy
from meshnode.runtime.log_sqlite import SqliteLog
from meshnode.runtime.tasks import spawn
from tests.support.state_api import Grants
from tests.support.waiting import until

IDS = itertools.count()


def read_method(name: str) -> ReadMethod:
    method = METHODS[name]
    assert isinstance(method, ReadMethod)
    return method


def write_method(name: str) -> WriteMethod:
    method = METHODS[name]
    assert isinstance(method, WriteMethod)
    return method


async def opened(
    data_dir: Path | None = None,
    *,
    campaign: bool = True,
    policy: SnapshotPolicy | None = None,
    **changes: Any,
) -> ClusterState:
    options: dict[str, Any] = {"authorizer_of": lambda _machine, _token: ALLOW_ALL} | changes
    state = ClusterState(
        SqliteLog(data_dir, "node1"), wall=lambda: 1000.0, new_id=lambda: f"id{next(IDS)}",
        on_halt=lambda error: pytest.fail(str(error)), policy=policy, **options,
    )  # fmt: skip
    await state.start()
    if campaign:
        await state.log.campaign()
        await until(lambda: state.leads, "it leads")
    return state


async def put(state: ClusterState, key: str, value: bytes = b"v", token: str = "") -> Any:
    body = {"Op": "set", "DirEnt": {"Key": key, "Value": value}}
    return await state.write(write_method("KVS.Apply"), body, token)


async def get(state: ClusterState, key: str, **options: Any) -> dict[str, Any]:
    return await state.read(read_method("KVS.Get"), "KVS.Get", {"Key": key, **options}, "")


def test_a_write_is_there_when_it_is_answered() -> None:
    async def main() -> None:
        state = await opened()
        assert await put(state, "a", b"1") is True
        reply = await get(state, "a")
        assert (reply["Entries"][0]["Value"], reply["Index"], reply["KnownLeader"]) == (b"1", 1, True)
        assert (await get(state, "a", RequireConsistent=True))["Index"] == 1
        await state.stop()

    asyncio.run(main())


def test_a_read_waits_for_its_key_and_for_nothing_else() -> None:
    async def main() -> None:
        state = await opened()
        await put(state, "a")
        waiting = spawn(get(state, "a", MinQueryIndex=1, MaxQueryTime=60 * NANOSECONDS), name="waits")
        await put(state, "b")
        assert not waiting.done()
        await put(state, "a", b"2")
        reply = await asyncio.wait_for(waiting, 5)
        assert (reply["Entries"][0]["Value"], reply["Index"]) == (b"2", 3)
        await state.stop()

    asyncio.run(main())


def test_a_read_whose_wait_is_over_shows_what_there_is() -> None:
    async def main() -> None:
        state = await opened()
        await put(state, "a")
        reply = await get(state, "a", MinQueryIndex=9, MaxQueryTime=NANOSECONDS // 100)
        assert (reply["Index"], len(reply["Entries"])) == (1, 1)
        assert await state.submit(KvPut("later", b"")) is True
        await state.stop()

    asyncio.run(main())


def test_many_who_wait_for_the_same_key_are_woken_by_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        state = await opened()
        await put(state, "a")
        looks = 0
        known = state.machine.kv.get

        def counted(key: str) -> Any:
            nonlocal looks
            looks += 1
            return known(key)

        body = {"MinQueryIndex": 1, "MaxQueryTime": 60 * NANOSECONDS}
        waiting = [spawn(get(state, "a", **body), name="waits") for _ in range(500)]
        await asyncio.sleep(0)
        monkeypatch.setattr(state.machine.kv, "get", counted)
        await put(state, "a", b"2")
        replies = await asyncio.gather(*waiting)
        assert {reply["Index"] for reply in replies} == {2}
        assert looks == 1
        await state.stop()

    asyncio.run(main())


def test_who_gives_up_waiting_leaves_no_watch() -> None:
    async def main() -> None:
        state = await opened()
        await put(state, "a")
        waiting = spawn(get(state, "a", MinQueryIndex=1, MaxQueryTime=60 * NANOSECONDS), name="waits")
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert len(state._watches) == 0
        await state.stop()

    asyncio.run(main())


def test_only_the_leader_writes() -> None:
    async def main() -> None:
        state = await opened(campaign=False)
        with pytest.raises(NotLeaderError, match="No cluster leader"):
            await put(state, "a")
        assert (await get(state, "a"))["KnownLeader"] is False
        await state.stop()

    asyncio.run(main())


def test_a_refusal_and_a_denial_reach_the_caller_and_change_nothing() -> None:
    def rights(_machine: object, token: str) -> Any:
        return ALLOW_ALL if token == "root" else Grants.of("key:a:read")

    async def main() -> None:
        state = await opened(authorizer_of=rights)
        with pytest.raises(PermissionDeniedError, match="Permission denied"):
            await put(state, "a")
        with pytest.raises(RpcError, match="Missing node registration"):
            await state.write(
                write_method("Session.Apply"), {"Op": "create", "Session": {"Node": "no"}}, "root"
            )
        assert state.machine.kv.get("a")[1] is None
        await state.stop()

    asyncio.run(main())


def test_after_the_stop_writes_are_refused_with_the_reason() -> None:
    async def main() -> None:
        state = await opened()
        await state.stop()
        with pytest.raises((LogUnavailableError, NotLeaderError)):
            await state.submit(KvPut("a", b""))
        await state.stop()

    asyncio.run(main())


def test_a_restart_finds_everything_with_snapshots_and_without(tmp_path: Path) -> None:
    async def fill(policy: SnapshotPolicy) -> int:
        state = await opened(tmp_path, policy=policy)
        for number in range(300):
            await put(state, f"k{number % 50}", b"%d" % number)
        await state.submit(KvDelete("k0"))
        if policy.check_interval < 1:
            await until(lambda: state._snapshot_index > 0, "a snapshot")
        index = state.machine.last_index
        await state.stop()
        return index

    async def check(index: int) -> None:
        state = await opened(tmp_path)
        assert state.machine.last_index == index
        assert state.machine.kv.get("k0")[1] is None
        entry = state.machine.kv.get("k49")[1]
        assert entry is not None
        assert entry.value == b"299"
        await put(state, "next")
        assert state.machine.last_index == index + 1
        await state.stop()

    asyncio.run(check(asyncio.run(fill(SnapshotPolicy(check_interval=3600.0)))))


def test_the_leader_writes_snapshots_by_itself_and_drops_what_is_before_them(tmp_path: Path) -> None:
    async def main() -> None:
        state = await opened(tmp_path, policy=SnapshotPolicy(commands=50, trailing=10, check_interval=0.01))
        for number in range(200):
            await put(state, f"k{number}")
            await asyncio.sleep(0)
        await until(lambda: state._snapshot_index >= 150, "snapshots")
        snapshot = await state.log.load_snapshot()
        assert snapshot is not None
        assert snapshot.index == state._snapshot_index
        await state.stop()
        again = await opened(tmp_path)
        assert len(again.machine.kv.entries) == 200
        await again.stop()

    asyncio.run(main())


def wakes_of(state: ClusterState) -> tuple[list[int], Callable[[], None]]:
    woken: list[int] = []
    return woken, lambda: woken.append(state.machine.last_index)


def test_a_watch_is_woken_at_each_change_until_it_is_taken_back() -> None:
    async def main() -> None:
        state = await opened()
        woken, wake = wakes_of(state)
        waiter = state.watch([("kv", "app/")], wake)
        for key in ("app/a", "else", "app/b"):
            await put(state, key)
        state.unwatch(waiter)
        await put(state, "app/c")
        assert woken == [1, 3]
        await state.stop()

    asyncio.run(main())
