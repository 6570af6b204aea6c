"""Clusters of etcd for the tests of a file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.etcd_cluster import EtcdCluster, etcd_cluster
from tests.support.waiting import until


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """One etcd."""
    with etcd_cluster(tmp_path_factory.mktemp("etcd1"), 1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Three of them, with a leader."""
    with etcd_cluster(tmp_path_factory.mktemp("etcd3"), 3) as cluster:
        asyncio.run(until(lambda: cluster.leader() >= 0, "etcd has a leader", 60))
        yield cluster
