"""One cluster for the scenarios of a file; each leaves it whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.support.chaos_lab import Lab, lab_on_etcd


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if shutil.which("etcd") is None:
        pytest.skip("needs Debian's etcd-server: make chaos installs it")
    with lab_on_etcd(tmp_path_factory.mktemp("chaos")) as made:
        yield made
