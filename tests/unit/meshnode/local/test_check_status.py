"""Statuses, thresholds and texts: tables, and a model that counts naively."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.local.check_status import (
    OutputTail,
    Result,
    StatusGate,
    bounded_report,
    first_delay,
    grpc_output,
    http_error,
    http_output,
    status_of_exit,
    status_of_http,
    tcp_output,
    timeout_output,
    ttl_expired_output,
)
from meshnode.local.check_type import Thresholds

STATUSES = st.sampled_from(["passing", "warning", "critical"])


@pytest.mark.parametrize(
    ("code", "status"),
    [(0, "passing"), (1, "warning"), (2, "critical"), (3, "critical"), (255, "critical"), (-9, "critical")],
)
def test_exit_codes_are_those_of_nagios(code: int, status: str) -> None:
    assert status_of_exit(code) == status


@pytest.mark.parametrize("code", range(100, 600))
def test_only_2xx_passes_and_only_429_warns(code: int) -> None:
    wanted = "passing" if code // 100 == 2 else "warning" if code == 429 else "critical"
    assert status_of_http(code) == wanted


def test_texts_are_consuls() -> None:
    url = "http://127.0.0.1:8080/health"
    assert http_output("GET", url, 200, "OK", "fine") == f"HTTP GET {url}: 200 OK Output: fine"
    assert http_error("GET", url, "EOF") == f"Get {url}: EOF"
    assert tcp_output("127.0.0.1:80") == "TCP connect 127.0.0.1:80: Success"
    assert grpc_output("127.0.0.1:80/web") == "gRPC check 127.0.0.1:80/web: success"
    assert timeout_output(30) == "Timed out (30s) running check"
    assert timeout_output(0.5, "half") == "Timed out (500ms) running check\n\nhalf"
    assert ttl_expired_output("") == "TTL expired"
    assert ttl_expired_output("ok") == "TTL expired (last output before timeout follows): ok"


def test_the_last_bytes_of_a_program_are_kept_with_a_word_about_the_rest() -> None:
    tail = OutputTail(4096)
    tail.write(b"x" + b"a" * 4095)
    assert tail.text() == "x" + "a" * 4095
    tail.write(b"b")
    assert tail.text() == "Captured 4096 of 4097 bytes\n...\n" + "a" * 4095 + "b"
    assert tail.raw_text() == "a" * 4095 + "b"


@given(st.lists(st.binary(max_size=40), max_size=200), st.integers(1, 100))
def test_a_tail_is_the_end_of_all_that_was_written(pieces: list[bytes], size: int) -> None:
    tail = OutputTail(size)
    for piece in pieces:
        tail.write(piece)
        assert len(tail._pieces) <= 65
        assert tail._held <= 2 * size + 40
    whole = b"".join(pieces)
    assert tail.kept() == whole[-size:]
    assert tail.total_bytes == len(whole)


def test_what_is_no_utf8_is_replaced() -> None:
    tail = OutputTail(10)
    tail.write(b"a\xff")
    assert tail.text() == "a\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(("length", "cut"), [(4096, False), (4097, True)])
def test_a_report_is_bounded_from_its_start(length: int, cut: bool) -> None:
    text = bounded_report("r" * length, 4096)
    assert text == ("r" * 4096 + " ... (captured 4096 of 4097 bytes)" if cut else "r" * length)


@given(st.text("aü\ud800", max_size=50), st.integers(1, 40))
def test_any_report_is_itself_or_ends_with_its_size(text: str, size: int) -> None:
    length = len(text.encode("utf-8", "replace"))
    report = bounded_report(text, size)
    if length <= size:
        assert report == text
    else:
        assert report.endswith(f" ... (captured {size} of {length} bytes)")
        assert len(report) <= size + 50


class NaiveGate:
    """Looks at the whole history each time."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self.history: list[bool] = []

    def admit(self, result: Result) -> Result | None:
        good = result.status != "critical"
        self.history.append(good)
        in_a_row = 0
        for earlier in reversed(self.history):
            if earlier is not good:
                break
            in_a_row += 1
        if good:
            return result if in_a_row >= self.thresholds.success_before_passing else None
        critical = max(self.thresholds.failures_before_critical, 1)
        warning = self.thresholds.failures_before_warning or critical
        if in_a_row >= critical:
            return Result("critical", result.output)
        return Result("warning", result.output) if in_a_row >= warning else None


@given(st.lists(STATUSES, max_size=60), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_thresholds_agree_with_a_model_that_counts_from_the_start(
    statuses: list[str], success: int, warning: int, critical: int
) -> None:
    thresholds = Thresholds(
        success_before_passing=success,
        failures_before_warning=min(warning, max(critical, 1)),
        failures_before_critical=critical,
    )
    gate, model = StatusGate(thresholds), NaiveGate(thresholds)
    for number, status in enumerate(statuses):
        result = Result(status, str(number))
        assert gate.admit(result) == model.admit(result)


def test_without_thresholds_every_result_holds_at_once() -> None:
    gate = StatusGate(Thresholds())
    for status in ("critical", "passing", "warning", "critical", "passing"):
        assert gate.admit(Result(status, "x")) == Result(status, "x")


def test_three_failures_pass_through_warning_to_critical_and_one_success_starts_again() -> None:
    gate = StatusGate(
        Thresholds(success_before_passing=2, failures_before_warning=2, failures_before_critical=3)
    )
    seen = [gate.admit(Result(status, "")) for status in ["critical"] * 3 + ["passing"] * 2 + ["critical"]]
    assert [result and result.status for result in seen] == [
        None,
        "warning",
        "critical",
        None,
        "passing",
        None,
    ]


def test_the_first_run_comes_after_a_random_part_of_the_interval() -> None:
    rng = random.Random(7)
    delays = [first_delay(10, rng) for _ in range(1000)]
    assert all(0 <= delay < 10 for delay in delays)
    assert min(delays) < 1 < 9 < max(delays)
