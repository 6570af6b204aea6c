"""The wall clock of one server jumps by an hour: locks stay exclusive, sessions live as long as they are renewed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from meshnode.testing.history import Workload, ask
from tests.support import scenarios
from tests.support.chaos_lab import CLIENT, SECONDS, SERVERS, Lab, judge, kept, lab_on_etcd
from tests.support.clocks import HOUR, Clock
from tests.support.mesh_agent import wait
from tests.support.programs import needs

pytestmark = needs("faketime")
TTL = 10


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("clocks")
    clocks = {name: Clock(directory / f"{name}.clock") for name in (*SERVERS, CLIENT)}
    for clock in clocks.values():
        clock.set()
    with lab_on_etcd(directory, {name: clock.environment for name, clock in clocks.items()}) as made:
        yield made


def clock_of(lab: Lab, name: str) -> Clock:
    return Clock(lab.mesh.directory.parent / f"{name}.clock")


def wall_clock(lab: Lab, name: str) -> float:
    """What the agent itself takes the time to be: that of the newest line of its log."""
    ask(lab.host(name), "/v1/status/leader")
    stamp = " ".join(lab.mesh[name].log.splitlines()[-1].split()[:2])
    return time.mktime(time.strptime(stamp, "%Y/%m/%d %H:%M:%S"))


@dataclass
class Contenders:
    """Sessions that are renewed and all want ``key`` all the time; ``got`` is who was told that it has it, and when.

    The first one, which gets it, is the client's: that of a server ends with the server.
    """

    hosts: list[str]
    key: str
    lock_delay: str = "1s"
    count: int = 4
    sessions: list[str] = field(default_factory=list)
    got: list[tuple[float, str]] = field(default_factory=list)

    def __enter__(self) -> Contenders:
        self._ends = threading.Event()
        for number in range(self.count):
            body = json.dumps({"TTL": f"{TTL}s", "LockDelay": self.lock_delay, "Name": f"contender {number}"})
            answer = ask(self.host(number), "/v1/session/create", "PUT", body.encode())
            assert answer.status == 200, answer
            self.sessions.append(json.loads(answer.body)["ID"])
        self.holder = self.sessions[0]
        self.acquire(0)
        self._threads = [threading.Thread(target=self._contend, args=(n,)) for n in range(self.count)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()
        for session in self.sessions:
            ask(self.hosts[-1], f"/v1/session/destroy/{session}", "PUT")

    def host(self, number: int) -> str:
        """Whom this contender asks."""
        return self.hosts[number % len(self.hosts) - 1]

    def acquire(self, number: int) -> None:
        host, session = self.host(number), self.sessions[number]
        answer = ask(host, f"/v1/kv/{self.key}?acquire={session}", "PUT", session.encode())
        if answer.status == 200 and answer.body.strip() == b"true":
            self.got.append((time.monotonic(), session))

    def owner(self) -> str:
        (entry,) = json.loads(ask(self.hosts[-1], f"/v1/kv/{self.key}?consistent").body)
        return str(entry.get("Session", ""))

    def _contend(self, number: int) -> None:
        while not self._ends.wait(0.2):
            ask(self.host(number), f"/v1/session/renew/{self.sessions[number]}", "PUT")
            if number:
                self.acquire(number)


def test_a_lock_stays_exclusive_while_clocks_jump(lab: Lab) -> None:
    with Contenders(lab.hosts, "lock/exclusive") as contenders, Workload(lab.hosts, "clock") as load:
        assert contenders.owner() == contenders.holder
        leader = lab.leader()
        follower = next(name for name in SERVERS if name != leader)
        for name in (leader, follower):
            for jump in (HOUR, -HOUR):
                clock_of(lab, name).set(jump)
                assert abs(wall_clock(lab, name) - wall_clock(lab, CLIENT) - jump) < 60, (
                    "the clock didn't jump"
                )
                load.runs_for(max(SECONDS / 2, TTL / 2))
                assert contenders.owner() == contenders.holder
            clock_of(lab, name).set()
        lab.mesh[leader].kill()
        lab.wait_leader(leader)
        scenarios.settle(load, SECONDS)
        assert contenders.owner() == contenders.holder
        assert {session for _, session in contenders.got} == {contenders.holder}
        lab.restart(leader)
    judge("a clock jumps by an hour, ahead and back", load, lab.hosts, within=scenarios.BOUND)


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["ahead", "back"])
def test_a_session_that_is_not_renewed_ends_in_time_on_a_clock_that_jumps(lab: Lab, jump: int) -> None:
    body = json.dumps({"TTL": f"{TTL}s"}).encode()
    session = json.loads(ask(lab.host(CLIENT), "/v1/session/create", "PUT", body).body)["ID"]
    began = time.monotonic()
    leader = lab.leader()
    clock_of(lab, leader).set(jump)

    def lives() -> bool:
        return json.loads(ask(lab.host(CLIENT), f"/v1/session/info/{session}").body) != []

    while time.monotonic() < began + TTL - 1:
        assert lives()
        time.sleep(0.5)
    wait(lambda: not lives(), "the session is over", 2 * TTL + 5)
    print(
        f"\na session of {TTL} s ended after {time.monotonic() - began:.1f} s, the leader's clock jumped {jump:+d} s"
    )
    clock_of(lab, leader).set()


def test_a_lock_is_free_again_soon_after_the_clock_went_back(lab: Lab) -> None:
    leader = lab.leader()
    with Contenders(lab.hosts, "lock/freed", lock_delay="3s") as contenders:
        clock_of(lab, leader).set()
        ask(lab.host(CLIENT), f"/v1/session/destroy/{contenders.holder}", "PUT")
        clock_of(lab, leader).set(-HOUR)
        began = time.monotonic()
        try:
            wait(lambda: len(contenders.got) > 1, "another one has the lock", 20)
        finally:
            clock_of(lab, leader).set()
        print(
            f"\nthe lock was free {time.monotonic() - began:.1f} s after the clock went back; its delay was 3 s"
        )
    assert len(kept(lab.host(CLIENT), "lock/freed")) == 1
