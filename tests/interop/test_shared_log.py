"""Three servers on one log in Debian's etcd: whoever is killed, what was acknowledged stays."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.support.etcd_cluster import EtcdCluster, etcd_cluster
from tests.support.mesh_agent import Mesh, wait
from tests.support.programs import needs
from tests.support.waiting import until

SERVERS = ("server1", "server2", "server3")
ALL = (*SERVERS, "client1")

pytestmark = needs("etcd", "etcdctl")


@dataclass
class Cluster:
    mesh: Mesh
    etcd: EtcdCluster

    def leader(self, *names: str) -> str:
        """The name of the leader that ``names`` agree on."""
        address = self.mesh.leader(*(names or ALL)).partition(":")[0]
        return next((name for name in SERVERS if self.mesh[name].host == address), "")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with (
        etcd_cluster(tmp_path_factory.mktemp("etcd"), 3) as etcd,
        Mesh.new(tmp_path_factory.mktemp("mesh")) as mesh,
    ):
        asyncio.run(until(lambda: etcd.leader() >= 0, "etcd has a leader", 60))
        ca, cert, key = etcd.files("client")
        log = {
            "engine": "etcd",
            "endpoints": [f"https://{address}" for address in etcd.clients],
            "ca_file": ca,
            "cert_file": cert,
            "key_file": key,
        }
        for number, name in enumerate(ALL, 1):
            server = name in SERVERS
            extra = {"bootstrap_expect": 3, "state_log": log} if server else {}
            mesh.add(name, number, server=server, retry_join=[f"{mesh.network}.1"], **extra).launch()
        mesh.wait_alive(*ALL)
        made = Cluster(mesh, etcd)
        wait(made.leader, "a leader")
        yield made


@dataclass
class Writer:
    """Writes numbered keys through one agent for as long as it is open; notes what was acknowledged, and when."""

    url: str
    prefix: str
    acknowledged: dict[str, str] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __enter__(self) -> Writer:
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _write(self) -> None:
        for number in itertools.count():
            if self._ends.is_set():
                return
            key = f"{self.prefix}/{number:06d}"
            request = urllib.request.Request(f"{self.url}/v1/kv/{key}", str(number).encode(), method="PUT")
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    assert answer.read() == b"true"
            except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
                self.refused.append(str(error))
                continue
            self.acknowledged[key] = str(number)
            self.times.append(time.monotonic())

    @property
    def gap(self) -> float:
        """The longest time without an acknowledged write, in seconds."""
        return max(later - earlier for earlier, later in itertools.pairwise(self.times))

    def goes_on(self, count: int = 20) -> bool:
        """Wait until ``count`` more writes were acknowledged."""
        before = len(self.times)
        return bool(wait(lambda: len(self.times) >= before + count, f"{count} more writes"))


def kept(cluster: Cluster, through: str, prefix: str) -> dict[str, str]:
    status, text = cluster.mesh[through].api(f"/v1/kv/{prefix}?recurse&consistent")
    assert status == 200, text
    return {entry["Key"]: base64.b64decode(entry["Value"]).decode() for entry in json.loads(text)}


def test_a_write_through_any_agent_is_read_through_every_other_one(cluster: Cluster) -> None:
    for name in ALL:
        assert cluster.mesh[name].api(f"/v1/kv/from/{name}", "PUT", name.encode()) == (200, "true")
    for name in ALL:
        assert sorted(cluster.mesh[name].get("/v1/kv/from/?keys")) == sorted(f"from/{n}" for n in ALL)


def test_a_follower_answers_stale_reads_itself_and_says_how_old_it_may_be(cluster: Cluster) -> None:
    follower = next(name for name in SERVERS if name != cluster.leader())
    host = cluster.mesh[follower].host
    wait(lambda: cluster.mesh[follower].api("/v1/kv/from/client1?stale")[0] == 200, "the follower has it")
    with urllib.request.urlopen(f"http://{host}:8500/v1/kv/from/client1?stale") as answer:
        assert answer.headers["X-Consul-Effective-Consistency"] == "stale"
        assert answer.headers["X-Consul-KnownLeader"] == "true"
        assert 0 <= int(answer.headers["X-Consul-LastContact"]) < 5000


def test_members_are_in_the_catalog_and_a_dead_one_is_critical(cluster: Cluster) -> None:
    client = cluster.mesh["client1"]
    nodes = {node["Node"] for node in client.get("/v1/catalog/nodes")}
    assert nodes == set(ALL)
    assert len(client.get("/v1/catalog/service/consul")) == 3


def test_no_acknowledged_write_is_lost_when_the_leader_is_killed_under_load(cluster: Cluster) -> None:
    first = cluster.leader()
    with Writer(f"http://{cluster.mesh['client1'].host}:8500", "killed") as writer:
        writer.goes_on()
        cluster.mesh[first].kill()
        rest = [name for name in ALL if name != first]
        wait(lambda: cluster.leader(*rest) not in ("", first), "another leader")
        writer.goes_on()
    print(f"gap in writes after kill -9 of the leader: {writer.gap:.2f} s; refused: {writer.refused}")
    found = kept(cluster, "client1", "killed")
    assert {key: value for key, value in writer.acknowledged.items() if found.get(key) != value} == {}
    cluster.mesh[first].start()
    cluster.mesh.wait_alive(*ALL)
    wait(lambda: cluster.mesh[first].api("/v1/kv/killed/000000?stale")[0] == 200, "the old leader is back")
    missing = {key for key in writer.acknowledged if key not in kept(cluster, first, "killed")}
    assert missing == set()


def test_no_acknowledged_write_is_lost_when_a_member_of_etcd_is_killed(cluster: Cluster) -> None:
    number = cluster.etcd.leader()
    with Writer(f"http://{cluster.mesh['client1'].host}:8500", "etcd") as writer:
        writer.goes_on()
        cluster.etcd.kill(number)
        writer.goes_on()
        cluster.etcd.launch(number)
        writer.goes_on()
    print(f"gap in writes after kill -9 of etcd's leader: {writer.gap:.2f} s; refused: {writer.refused}")
    found = kept(cluster, "server1", "etcd")
    assert {key: value for key, value in writer.acknowledged.items() if found.get(key) != value} == {}


def test_everything_is_there_after_a_restart_of_all_servers_at_once(cluster: Cluster) -> None:
    before = kept(cluster, "client1", "killed")
    for name in SERVERS:
        cluster.mesh[name].kill()
    for name in SERVERS:
        cluster.mesh[name].start()
    cluster.mesh.wait_alive(*ALL)
    wait(cluster.leader, "a leader again")
    assert kept(cluster, "client1", "killed") == before
