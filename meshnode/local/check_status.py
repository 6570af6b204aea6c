"""What the result of a check means: its status, the text that is shown, and when it is believed.

Texts are Consul's to the letter, since people match on them. Source: Consul 1.2.3, agent/checks; the thresholds are
those of Consul 1.7 (``StatusHandler``), with ``failures_before_warning`` of 1.11.
"""

from __future__ import annotations

import random
from collections import deque
from typing import NamedTuple

from meshnode.base.duration import format_duration
from meshnode.catalog.model import CRITICAL, PASSING, WARNING
from meshnode.local.check_type import Thresholds
from meshnode.local.url import without_password

__all__ = [
    "CRITICAL",
    "PASSING",
    "WARNING",
    "OutputTail",
    "Result",
    "StatusGate",
    "bounded_report",
    "first_delay",
    "grpc_output",
    "http_error",
    "http_output",
    "status_of_exit",
    "status_of_http",
    "tcp_output",
    "timeout_output",
    "ttl_expired_output",
    "udp_output",
]


class Result(NamedTuple):
    """What one run has found: a status of :data:`meshnode.catalog.model.STATES`, and text."""

    status: str
    output: str


class OutputTail:
    """Keeps the last ``max_bytes`` of what is written, and counts all of it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self.total_bytes = 0

    def write(self, data: bytes) -> None:
        """Take in more; what is pushed out is gone."""
        self.total_bytes += len(data)
        if len(data) >= self._max_bytes:
            self._pieces.clear()
            self._held = 0
            data = data[-self._max_bytes :]
        self._pieces.append(data)
        self._held += len(data)
        # Many small writes are one piece in the end: pieces never outnumber twice the bytes kept.
        while self._held - len(self._pieces[0]) >= self._max_bytes:
            self._held -= len(self._pieces.popleft())
        if len(self._pieces) > 64:
            self._pieces = deque([self.kept()])
            self._held = len(self._pieces[0])

    def kept(self) -> bytes:
        """The last bytes."""
        return b"".join(self._pieces)[-self._max_bytes :]

    def raw_text(self) -> str:
        """The last bytes as text, for HTTP: no word about what was cut."""
        return self.kept().decode("utf-8", "replace")

    def text(self) -> str:
        """The same, for programs: says how much was cut."""
        kept = self.kept()
        text = kept.decode("utf-8", "replace")
        if self.total_bytes <= len(kept):
            return text
        return f"Captured {len(kept)} of {self.total_bytes} bytes\n...\n{text}"


class StatusGate:
    """Counts results in a row, and lets one through once there are enough of its kind.

    Passing and warning count as successes. A failure on its way to ``failures_before_critical`` shows as a warning
    from ``failures_before_warning`` on. What is not let through changes nothing: the former status stays.
    """

    __slots__ = ("_failures", "_successes", "_thresholds")

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._successes = 0
        self._failures = 0

    def admit(self, result: Result) -> Result | None:
        """What becomes of ``result``: itself, a warning in its place, or ``None`` while it isn't believed yet."""
        limits = self._thresholds
        if result.status in (PASSING, WARNING):
            self._successes, self._failures = self._successes + 1, 0
            return result if self._successes >= limits.success_before_passing else None
        self._successes, self._failures = 0, self._failures + 1
        if self._failures >= limits.failures_before_critical:
            return Result(CRITICAL, result.output)
        if self._failures >= (limits.failures_before_warning or limits.failures_before_critical):
            return Result(WARNING, result.output)
        return None


def first_delay(interval: float, rng: random.Random) -> float:
    """Seconds until the first run: a random part of ``interval``, so that checks don't all run at once."""
    return rng.random() * interval


def status_of_exit(code: int) -> str:
    """0 passes, 1 warns, anything else, a signal included, is critical (the convention of Nagios's plugins)."""
    return {0: PASSING, 1: WARNING}.get(code, CRITICAL)


def status_of_http(code: int) -> str:
    """2xx passes, 429 (Too Many Requests) warns, anything else is critical."""
    if 200 <= code <= 299:
        return PASSING
    return WARNING if code == 429 else CRITICAL


def timeout_output(timeout: float, output: str = "") -> str:
    """Of a program that was killed; ``output`` is what it had written."""
    text = f"Timed out ({format_duration(timeout)}) running check"
    return f"{text}\n\n{output}" if output else text


def ttl_expired_output(last_output: str) -> str:
    """Of a check that nobody updated in time."""
    return (
        f"TTL expired (last output before timeout follows): {last_output}" if last_output else "TTL expired"
    )


def bounded_report(output: str, max_bytes: int) -> str:
    """What somebody reports for a TTL check: the first ``max_bytes`` of it, with a word about what was cut."""
    data = output.encode("utf-8", "replace")
    if len(data) <= max_bytes:
        return output
    kept = data[:max_bytes].decode("utf-8", "replace")
    return f"{kept} ... (captured {max_bytes} of {len(data)} bytes)"


def http_output(method: str, url: str, status: int, reason: str, body: str) -> str:
    """Of an answer; without a reason Go prints the code and a space."""
    return f"HTTP {method} {without_password(url)}: {status} {reason} Output: {body}"


def http_error(method: str, url: str, error: str) -> str:
    """Of a request without an answer: ``Get http://127.0.0.1:1/: dial tcp 127.0.0.1:1: ...``."""
    return f"{method[:1].upper()}{method[1:].lower()} {without_password(url)}: {error}"


def tcp_output(address: str) -> str:
    """Of a connection that was made."""
    return f"TCP connect {address}: Success"


def udp_output(address: str) -> str:
    """Of a datagram that was answered."""
    return f"UDP connect {address}: Success"


def grpc_output(target: str) -> str:
    """Of a service that says it is serving."""
    return f"gRPC check {target}: success"
