"""Disks fill up: the embedded log's, one member's of etcd, all of them, and etcd's own quota."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.testing.history import Workload, ask
from tests.support import scenarios
from tests.support.chaos_lab import CLIENT, SECONDS, Lab, judge, kept, raise_lab
from tests.support.etcd_cluster import etcd_cluster
from tests.support.mesh_agent import Mesh, wait
from tests.support.programs import skip


@pytest.fixture(autouse=True)
def _mounts(tmp_path: Path) -> None:
    if not scenarios.can_mount(tmp_path):
        skip("mount")


@contextlib.contextmanager
def lab_with(directory: Path, *options: str) -> Iterator[Lab]:
    (directory / "mesh").mkdir()
    with etcd_cluster(directory, 3, *options) as etcd, Mesh.new(directory / "mesh") as mesh:
        lab = Lab(mesh, etcd)
        raise_lab(lab)
        yield lab


def test_the_embedded_log_fills_its_disk(tmp_path: Path) -> None:
    scenarios.log_fills_its_disk(tmp_path)


def test_etcd_reaches_its_quota(tmp_path: Path) -> None:
    with lab_with(tmp_path, "--quota-backend-bytes", str(16 << 20)) as lab:
        host = lab.host(CLIENT)
        written, refusal = scenarios.write_until_refused(host, "big", 100_000, 1000)
        print(
            f"\netcd's quota: {len(written)} keys of 100 kB, then: {refusal.status} {refusal.body.decode()}"
        )
        assert b"space" in refusal.body
        # Etcd keeps the write that finds the quota passed, and answers it with this error nonetheless.
        found = kept(host, "big")
        assert found.items() >= written.items()
        assert set(found) - set(written) <= {f"big/{len(written):05d}"}
        assert ask(host, "/v1/kv/big/00000?stale").status == 200
        assert "NOSPACE" in lab.etcd.etcdctl("alarm", "list")
        # What an operator does: more room, then the alarm off.
        for number in range(3):
            lab.etcd.kill(number)
        lab.etcd.options = ("--quota-backend-bytes", str(64 << 20))
        for number in range(3):
            lab.launch_etcd(number)
        wait(lambda: lab.etcd.leader() >= 0, "etcd has a leader", 60)
        lab.etcd.etcdctl("alarm", "disarm")
        lab.wait_leader()
        wait(lambda: ask(host, "/v1/kv/after", "PUT", b"x").status == 200, "it writes again", 30)
        for each in lab.hosts:
            assert kept(each, "big") == found


def test_the_disk_of_one_member_of_etcd_and_then_all_are_full(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        # Two write-ahead files of 64 MiB are allocated from the start; the rest is for the database.
        ballast = [
            stack.enter_context(scenarios.small_disk(tmp_path / f"m{number}", 176, 16)) for number in range(3)
        ]
        lab = stack.enter_context(lab_with(tmp_path))
        host = lab.host(CLIENT)
        victim = (lab.etcd.leader() + 1) % 3
        with Workload(lab.hosts, "one-full") as load:
            scenarios.settle(load, SECONDS)
            fill_up(tmp_path / f"m{victim}")
            scenarios.settle(load, SECONDS)
        judge("the disk of one member of etcd is full", load, lab.hosts, within=scenarios.BOUND)
        for number in range(3):
            fill_up(tmp_path / f"m{number}")
        written, refusal = scenarios.write_until_refused(host, "big", 100_000, 2000)
        print(
            f"  all disks full: {len(written)} keys of 100 kB, then {refusal.status} {refusal.body.decode()[:200]}"
        )
        assert refusal.status == 500
        first = next(iter(written), "first")
        assert ask(host, f"/v1/kv/{first}?stale").status == (200 if written else 404)
        for number, file in enumerate(ballast):
            file.unlink()
            (tmp_path / f"m{number}" / "more").unlink()
            if lab.etcd.processes[number].poll() is not None:  # its service manager would
                lab.launch_etcd(number)
        wait(lambda: ask(host, "/v1/kv/after", "PUT", b"x").status == 200, "it writes again", 60)
        for each in lab.hosts:
            there = kept(each, "big")
            assert {key: value for key, value in written.items() if there.get(key) != value} == {}


def fill_up(directory: Path) -> None:
    with contextlib.suppress(OSError), (directory / "more").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))
