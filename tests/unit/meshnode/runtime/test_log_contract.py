"""The contract of a log, with the embedded engine, on disk and in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from meshnode.control.log import Log
from meshnode.runtime.log_sqlite import SqliteLog
from tests.support.log_contract import DurableLogContract, LogContract


class TestSqliteOnDisk(DurableLogContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], Log]:
        return lambda: SqliteLog(tmp_path, "server1")


class TestSqliteInMemory(LogContract):
    @pytest.fixture
    def make(self) -> Callable[[], Log]:
        return lambda: SqliteLog(None, "server1")
