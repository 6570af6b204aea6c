"""One cluster for the scenarios of a file; each leaves it whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.chaos_lab import Lab, lab_on_etcd
from tests.support.programs import require


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    require("etcd", "etcdctl")
    with lab_on_etcd(tmp_path_factory.mktemp("chaos")) as made:
        yield made
