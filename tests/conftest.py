"""For every test: a skip that only means that something isn't installed is a failure where make runs the tests.

And an interrupt means what it means at a terminal, also where a shell started the tests in the background.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Generator
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


with contextlib.suppress(ImportError):  # the tests of nodes also run where it is not installed
    from hypothesis import settings

    # How long an example takes says more of the machine than of the code.
    settings.register_profile("meshnode", deadline=None)
    settings.load_profile("meshnode")

# A shell that is not interactive lets its background jobs ignore interrupts, and they hand that on to what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _judged(report: Report) -> Report:
    # Imported only where make asks for it: the tests of nodes also run where the repository is not on the path.
    if report.skipped and not hasattr(report, "wasxfail") and "MESH_REQUIRE_PROGRAMS" in os.environ:
        from tests.support.programs import why_not

        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if fault := why_not(reason.removeprefix("Skipped: ")):
            report.outcome, report.longrepr = "failed", fault
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _judged((yield))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes have no part in names of tests: some hold the hour, and workers have to agree on all names."""
    return argname if isinstance(val, bytes) else None
