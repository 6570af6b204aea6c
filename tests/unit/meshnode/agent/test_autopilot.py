"""The leader's care for the servers, over a real log in memory and a clock that stands still."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL
from meshnode.agent.autopilot import Autopilot, log_stats
from meshnode.base.errors import MeshError
from meshnode.base.metrics import Metrics
from meshnode.control.autopilot import DEFAULT, AutopilotConfig
from meshnode.control.command import AutopilotSet, KvPut
from meshnode.control.log import LeadershipChange, LogUnavailableError
from meshnode.control.server_health import LogStats, Peer
from meshnode.runtime.cluster_state import ClusterState
from meshnode.runtime.log_sqlite import SqliteLog
from tests.support.asynchronous import asynchronous
from tests.support.waiting import until
from tests.unit.meshnode.control.test_server_health import peer

INITIAL = AutopilotConfig(True, 0.4, 99)


class Care:
    """An ``Autopilot`` with a leader ``id1`` and whatever else is put into ``peers`` and ``answers``."""

    def __init__(self, state: ClusterState, *, shared: bool = True) -> None:
        self.state = state
        self.peers: list[Peer] = [peer(1, leads=True)]
        #: Name -> what the server answers; an exception is raised.
        self.answers: dict[str, Any] = {}
        self.removed: list[str] = []
        self.pauses: list[float] = []
        self.at = 100.0
        self.metrics = Metrics(0.0)
        self._paused: asyncio.Future[None] | None = None
        self.autopilot = Autopilot(
            lambda: self.state,
            lambda: self.peers,
            self._ask,
            self.removed.append,
            own_id="id1",
            shared=shared,
            initial=INITIAL,
            metrics=self.metrics,
            clock=lambda: 1.0,
            wall=lambda: self.at,
            pause=self._pause,
        )

    async def _ask(self, asked: Peer) -> LogStats:
        answer = self.answers[asked.info.name]
        if isinstance(answer, Exception):
            raise answer
        stats: LogStats = answer
        return stats

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._paused = asyncio.get_running_loop().create_future()
        await self._paused

    async def looked(self, times: int) -> None:
        """Let it look until it has done so so often."""
        while len(self.pauses) < times:
            if self._paused is not None and not self._paused.done():
                self._paused.set_result(None)
            before = len(self.pauses)
            await until(lambda: len(self.pauses) > before, "a look", interval=0.001)  # noqa: B023

    def gauge(self, name: str) -> float:
        return next(
            value for key, value in self.metrics.latest(1.0).gauges.items() if key.name.endswith(name)
        )


@asynccontextmanager
async def leading(*, shared: bool = True) -> AsyncIterator[Care]:
    state = ClusterState(
        SqliteLog(None, "id1"),
        authorizer_of=lambda machine, token: ALLOW_ALL,
        wall=lambda: 0.0,
        new_id=lambda: str(random.random()),
        on_halt=lambda error: None,
    )
    await state.start()
    await state.log.campaign()
    care = Care(state, shared=shared)
    try:
        yield care
    finally:
        await care.autopilot.stop()
        await state.stop()


def caught_up(state: ClusterState, contact: float = 0.001) -> LogStats:
    return LogStats(contact, state.machine.epoch, state.machine.last_index)


@asynchronous
async def test_a_new_cluster_gets_the_settings_of_the_configuration_once() -> None:
    async with leading() as care:
        care.autopilot.lead(1)
        await care.looked(1)
        config = care.state.machine.autopilot.config
        assert (config.last_contact_threshold, config.max_trailing_logs) == (0.4, 99)
        await care.state.submit(AutopilotSet(DEFAULT))
        care.autopilot.lead(0)
        care.autopilot.lead(2)
        await care.looked(3)
        assert care.state.machine.autopilot.config.max_trailing_logs == DEFAULT.max_trailing_logs


@asynchronous
async def test_each_server_is_asked_and_one_that_does_not_answer_is_not_well() -> None:
    async with leading() as care:
        care.peers += [peer(2), peer(3), peer(4, "failed")]
        care.answers = {"server2": caught_up(care.state), "server3": MeshError("no answer")}
        report, tolerance = await care.autopilot.look(care.state)
        assert [(each.peer.info.name, each.healthy) for each in report] == [
            ("server1", True), ("server2", True), ("server3", False), ("server4", False),
        ]  # fmt: skip
        assert [each.stats is None for each in report] == [False, False, True, True]
        assert tolerance == 0
        assert (care.gauge("autopilot.healthy"), care.gauge("failure_tolerance")) == (0.0, 0.0)


@asynchronous
async def test_three_healthy_servers_bear_the_failure_of_one() -> None:
    async with leading() as care:
        care.peers += [peer(2), peer(3)]
        care.answers = dict.fromkeys(("server2", "server3"), caught_up(care.state))
        report, tolerance = await care.autopilot.look(care.state)
        assert (all(each.healthy for each in report), tolerance) == (True, 1)
        assert (care.gauge("autopilot.healthy"), care.gauge("failure_tolerance")) == (1.0, 1.0)


@asynchronous
async def test_stable_since_is_when_the_health_last_changed() -> None:
    async with leading() as care:
        care.peers.append(peer(2))
        seen = []
        for at, answer in ((100.0, True), (110.0, True), (120.0, False), (130.0, False), (140.0, True)):
            care.at = at
            care.answers["server2"] = caught_up(care.state) if answer else LogStats()
            report, _ = await care.autopilot.look(care.state)
            seen.append([each.since for each in report])
        assert seen == [[100.0, 100.0], [100.0, 100.0], [100.0, 120.0], [100.0, 120.0], [100.0, 140.0]]


@asynchronous
async def test_a_server_that_lags_is_not_well() -> None:
    async with leading() as care:
        care.peers.append(peer(2))
        await care.state.submit(AutopilotSet(AutopilotConfig(True, 1.0, 1)))
        care.answers["server2"] = caught_up(care.state)
        healthy = []
        for _ in range(3):
            report, _tolerance = await care.autopilot.look(care.state)
            healthy.append(report[1].healthy)
            await care.state.submit(KvPut("a", b"1"))
        assert healthy == [True, True, False]


@asynchronous
async def test_failed_servers_are_removed_when_enough_others_run_and_every_fifth_look_only() -> None:
    async with leading() as care:
        care.peers = [peer(1, leads=True), peer(2, "failed"), peer(3, "failed")]
        care.autopilot.lead(1)
        await care.looked(1)
        assert care.removed == []
        care.peers += [peer(4, "leaving"), peer(5, "leaving"), peer(6, "leaving")]
        await care.looked(5)
        assert care.removed == []
        await care.looked(6)
        assert care.removed == ["server2", "server3"]
        assert set(care.pauses) == {2.0}


@asynchronous
async def test_nobody_is_removed_when_the_settings_say_no() -> None:
    async with leading() as care:
        care.peers = [peer(number, "failed" if number == 9 else "leaving") for number in range(2, 10)]
        await care.state.submit(AutopilotSet(AutopilotConfig(cleanup_dead_servers=False)))
        care.autopilot.lead(1)
        await care.looked(6)
        assert care.removed == []


@asynchronous
async def test_who_does_not_lead_cares_for_nobody() -> None:
    async with leading() as care:
        care.peers = [peer(number, "failed" if number == 9 else "leaving") for number in range(2, 10)]
        await care.state.log.resign()
        care.autopilot.lead(1)
        await care.looked(6)
        assert (care.removed, care.state.machine.autopilot.index) == ([], 0)


# How a server stands to the log


class Follower:
    """A log that another server leads: ``barrier`` fails with ``failure``, if there is one."""

    def __init__(self, failure: Exception | None, age: float) -> None:
        self.node_id = "id2"
        self.leadership = LeadershipChange("id1", 4)
        self._failure = failure
        self._age = age

    async def barrier(self) -> int:
        if self._failure is not None:
            raise self._failure
        return 7

    def contact_age(self) -> float:
        return self._age


def follower(failure: Exception | None, age: float = 0.0) -> ClusterState:
    log: Any = Follower(failure, age)
    state = ClusterState(
        log,
        authorizer_of=lambda machine, token: ALLOW_ALL,
        wall=lambda: 0.0,
        new_id=str,
        on_halt=lambda error: None,
    )
    state.machine.apply(7, KvPut("a", b"1"))
    return state


@asynchronous
async def test_a_follower_reads_the_log_to_find_out_whether_it_is_in_touch() -> None:
    stats = await log_stats(follower(None, age=1.9))
    assert stats.last_index == 7
    assert stats.last_contact is not None
    assert stats.last_contact < 1.0


@pytest.mark.parametrize(("age", "contact"), [(1.9, 1.9), (float("inf"), None)])
@pytest.mark.parametrize("failure", [LogUnavailableError("etcd is away"), TimeoutError()])
def test_a_follower_cut_off_from_the_log_says_since_when(
    failure: Exception, age: float, contact: float | None
) -> None:
    assert asyncio.run(log_stats(follower(failure, age))) == LogStats(contact, 0, 7)


@asynchronous
async def test_a_server_without_the_log_says_so_and_the_leader_is_in_touch() -> None:
    assert await log_stats(None) == LogStats(None, 0, 0)
    async with leading() as care:
        await care.state.submit(KvPut("a", b"1"))
        assert await log_stats(care.state) == LogStats(0.0, 0, 1)
