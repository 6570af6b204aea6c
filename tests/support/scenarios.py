"""Scenarios that are run both short, with the interop tests, and long, by ``make chaos``; each judges itself."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meshnode.testing.history import Answer, Workload, ask
from tests.support.chaos_lab import CLIENT, Lab, judge, kept, lab_on_etcd
from tests.support.mesh_agent import Mesh, MeshAgent, wait

__all__ = [
    "BOUND",
    "everything_is_killed",
    "leader_is_killed",
    "leader_of_etcd_is_killed",
    "log_fills_its_disk",
    "settle",
    "small_disk",
    "snapshot_goes_to_new_machines",
]

#: Seconds within which the cluster writes again: a lease (2 s) and an election of etcd's (2 s), on a busy machine.
BOUND = 8.0
#: A node that no agent runs on, with a service and a check.
EXTERNAL = {
    "Node": "external",
    "Address": "192.0.2.7",
    "NodeMeta": {"rack": "r1"},
    "Service": {"ID": "db1", "Service": "db", "Port": 5432, "Tags": ["primary"]},
    "Check": {"CheckID": "db1:up", "Name": "up", "Status": "passing", "ServiceID": "db1"},
}


def settle(load: Workload, seconds: float) -> None:
    load.runs_for(seconds / 2)
    load.goes_on()


def leader_is_killed(lab: Lab, seconds: float) -> None:
    with Workload(lab.hosts, "leader") as load:
        settle(load, seconds)
        first = lab.leader()
        lab.mesh[first].kill()
        lab.wait_leader(first)
        settle(load, seconds)
        lab.restart(first)
        settle(load, seconds)
    judge("kill -9 of the leader", load, lab.hosts, within=BOUND)


def leader_of_etcd_is_killed(lab: Lab, seconds: float) -> None:
    with Workload(lab.hosts, "etcd") as load:
        settle(load, seconds)
        number = lab.etcd.leader()
        lab.etcd.kill(number)
        settle(load, seconds)
        lab.launch_etcd(number)
        settle(load, seconds)
    judge("kill -9 of etcd's leader", load, lab.hosts, within=BOUND)


def everything_is_killed(lab: Lab, seconds: float) -> None:
    with Workload(lab.hosts, "all") as load:
        settle(load, seconds)
        for name in lab.names:
            lab.mesh[name].kill()
        for number in range(3):
            lab.etcd.kill(number)
        for number in range(3):
            lab.launch_etcd(number)
        lab.restart(*lab.names)
        settle(load, seconds)
    judge("kill -9 of everything at once", load, lab.hosts, within=30)


# A snapshot on new machines


def answered(answer: Answer) -> Any:
    assert answer.status == 200, answer
    return json.loads(answer.body)


def state_of(host: str) -> dict[str, Any]:
    """What a client can see of the state that no agent of ours changes by itself."""
    paths = ("kv/restored?recurse", "session/list", "catalog/node/external", "health/service/db", "query")
    return {path: answered(ask(host, f"/v1/{path}")) for path in paths}


def fill(host: str, keys: int) -> None:
    for number in range(keys):
        assert ask(host, f"/v1/kv/restored/{number:04d}?flags={number}", "PUT", b"%d" % number).status == 200
    answered(ask(host, "/v1/catalog/register", "PUT", json.dumps(EXTERNAL).encode()))
    for wanted in ({"Name": "lasting"}, {"Name": "timed", "TTL": "3600s", "Behavior": "delete"}):
        body = json.dumps({"Node": "external", "Checks": [], **wanted}).encode()
        session = answered(ask(host, "/v1/session/create", "PUT", body))["ID"]
        locked = ask(host, f"/v1/kv/restored/lock-{wanted['Name']}?acquire={session}", "PUT", b"held")
        assert locked.body.strip() == b"true"
    query = {"Name": "find-db", "Service": {"Service": "db"}}
    answered(ask(host, "/v1/query", "POST", json.dumps(query).encode()))


def snapshot_goes_to_new_machines(old: Lab, directory: Path, keys: int = 200) -> None:
    host = old.host(CLIENT)
    fill(host, keys)
    before, saved = state_of(host), ask(host, "/v1/snapshot", timeout=30)
    assert saved.status == 200
    index = ask(host, "/v1/kv/restored?recurse&consistent").index
    with lab_on_etcd(directory) as new:
        put = ask(new.host(CLIENT), "/v1/snapshot", "PUT", saved.body, timeout=60)
        assert put.status == 200, put
        for name in new.names:
            assert state_of(new.host(name)) == before, name
            assert ask(new.host(name), "/v1/kv/restored?recurse").index >= index
        assert ask(new.host(CLIENT), "/v1/kv/restored/next", "PUT", b"x").status == 200
        (entry,) = answered(ask(new.host(CLIENT), "/v1/kv/restored/next"))
        assert entry["CreateIndex"] > saved.index >= index
        holder = before["session/list"][0]["ID"]
        again = ask(new.host(CLIENT), "/v1/kv/restored/0000?acquire=" + holder, "PUT", b"x")
        assert again.body.strip() == b"true", "a session from before can't lock"
        first = new.leader()
        new.mesh[first].kill()
        new.wait_leader(first)
        assert len(kept(new.host(CLIENT), "restored/")) == keys + 3
    print(
        f"\nsnapshot on new machines: {len(saved.body)} bytes, {keys} keys; index {index}, next {entry['CreateIndex']}"
    )


# A full disk


@contextlib.contextmanager
def small_disk(path: Path, mebibytes: int, ballast: int) -> Iterator[Path]:
    """A file system of its own at ``path``; yields a file of ``ballast`` MiB on it, to be deleted to free space."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", str(path)], check=True)
    try:
        file = path / "ballast"
        file.write_bytes(bytes(ballast << 20))
        yield file
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def can_mount(directory: Path) -> bool:
    """Whether this process may mount file systems."""
    return os.geteuid() == 0 and subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", str(directory)], capture_output=True, check=False
    ).returncode == 0  # fmt: skip


def write_until_refused(host: str, prefix: str, size: int, most: int) -> tuple[dict[str, str], Answer]:
    """Keys of ``size`` bytes until one is refused: those that were acknowledged, and the refusal."""
    written = {}
    for number in range(most):
        key, value = f"{prefix}/{number:05d}", f"{number}:".ljust(size, "x")
        answer = ask(host, f"/v1/kv/{key}", "PUT", value.encode(), timeout=30)
        if answer.status != 200:
            return written, answer
        written[key] = value
    raise AssertionError(f"{most} keys of {size} bytes and the disk isn't full")


def log_fills_its_disk(directory: Path) -> None:
    with Mesh.new(directory) as mesh:
        server = mesh.add("server1", 1, server=True, bootstrap=True)
        with small_disk(server.data_dir, 24, 6) as ballast:
            server.start()
            try:
                _fill_and_free(server, ballast)
            finally:
                server.kill()


def _fill_and_free(server: MeshAgent, ballast: Path) -> None:
    host = server.host
    wait(lambda: ask(host, "/v1/kv/first", "PUT", b"x").status == 200, "it writes")
    written, refusal = write_until_refused(host, "big", 60_000, 1000)
    print(f"\nfull disk: {len(written)} keys of 60 kB, then: {refusal.status} {refusal.body.decode()}")
    assert b"disk is full" in refusal.body
    assert kept(host, "big") == written, "reads go on, and nothing that was refused is there"
    assert ask(host, "/v1/kv/first").status == 200
    assert server.cli("members").returncode == 0
    ballast.unlink()
    wait(lambda: ask(host, "/v1/kv/after", "PUT", b"x").status == 200, "it writes again by itself", 15)
    assert kept(host, "big") == written
    server.kill()
    server.start()
    wait(lambda: ask(host, "/v1/kv/after?consistent").status == 200, "it leads again")
    assert kept(host, "big") == written
