"""A load on keys as a program of its own, which judges what it wrote down: what a chaos run has on each client node.

``python -m meshnode.testing.kv_load CONFIG``: CONFIG is JSON as the module mesh_probe writes it, with one target of
kind kv: ``agents``, ``key`` (a prefix), ``tls`` and ``token``; beside it ``interval``, ``max_seconds`` and ``report``,
the file that is kept up to date. Ends by SIGTERM or after ``max_seconds``; then each acknowledged write is read back
through every agent, the history is judged, and the keys are removed.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import secrets
import signal
import ssl
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from meshnode.prove.linearizability import UndecidedError, violations
from meshnode.testing.history import Connection, Workload

__all__ = ["gaps", "judge", "main", "run"]

#: A time without an acknowledged write that is worth telling, in seconds.
MIN_GAP: Final = 1.0
#: Seconds between two reports on disk.
REPORT_INTERVAL: Final = 1.0
#: Operations that are kept in memory, of each of the two kinds of clients: 4 hours at the default pause.
MAX_OPERATIONS: Final = 400_000
#: Seconds for which the last look at an agent is tried again.
LAST_PATIENCE: Final = 30.0


def gaps(times: Sequence[float], began: float, ended: float) -> list[tuple[float, float]]:
    """Times from ``began`` to ``ended`` without any of ``times`` that are ``MIN_GAP`` long, as pairs."""
    moments = [began, *sorted(times), ended]
    return [pair for pair in itertools.pairwise(moments) if pair[1] - pair[0] >= MIN_GAP]


def judge(load: Workload, kept: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Counts, and ``broken``, a sentence for each broken promise. ``kept`` is what each agent has of the ledger."""
    broken = []
    lost: set[str] = set()
    for agent, there in kept.items():
        missing = {key for key, value in load.acknowledged.items() if there.get(key) != value}
        if missing:
            broken.append(f"{agent}: {len(missing)} acknowledged writes are lost, such as {min(missing)}")
        lost |= missing
    try:
        found = violations(load.history)
    except UndecidedError as error:
        found = []
        broken.append(f"the history could not be judged: {error}")
    broken += [f"not linearizable: {violation}" for violation in found[:3]]
    return {
        "acknowledged": len(load.acknowledged),
        "lost": len(lost),
        "operations": len(load.history),
        "violations": len(found),
        "broken": broken,
    }


class _Reporter:
    """The report on disk, as the probes of mesh_probe have it; wall-clock times are seconds since the epoch."""

    def __init__(self, path: str, load: Workload, agents: int) -> None:
        self._path, self._load, self._name = path, load, f"keys of {agents} agents"
        self._offset = time.time() - time.monotonic()

    def write(self, verdict: Mapping[str, Any] | None) -> None:
        """``verdict`` is None while the load goes on."""
        now = time.monotonic()
        found = gaps(list(self._load.times), self._load.began, now if verdict is None else self._load.ended)
        broken = [] if verdict is None else verdict["broken"]
        target = {
            "name": self._name,
            "requests": sum(self._load.outcomes.values()),
            "failed": len(broken),
            "asked_again": sum(self._load.errors.values()),
            "longest": round(max((end - begin for begin, end in found), default=0.0), 3),
            "failures": [{"at": round(time.time(), 3), "why": why[:2000]} for why in broken],
            "outages": [
                {
                    "began": begin + self._offset,
                    "ended": end + self._offset,
                    "why": "no write was acknowledged",
                }
                for begin, end in found
            ],
            "verdict": verdict,
        }
        content = {
            "running": verdict is None,
            "seconds": round(now - self._load.began, 1),
            "targets": [target],
        }
        new = f"{self._path}.new"
        Path(new).write_text(json.dumps(content))
        os.replace(new, self._path)


def run(config: Mapping[str, Any], asked_to_end: Callable[[float], bool]) -> dict[str, Any]:
    """Load until ``asked_to_end``, which waits so many seconds, says so; the verdict."""
    (target,) = config["targets"]
    files = target.get("tls") or {}

    def context() -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=files.get("ca_file"))
        made.check_hostname = False  # agents are asked by address
        if files.get("cert_file"):
            made.load_cert_chain(files["cert_file"], files["key_file"])
        return made

    def dial(agent: str, timeout: float) -> Connection:
        return Connection(agent, timeout, context, target.get("token") or "")

    agents = list(target["agents"])
    load = Workload(
        agents,
        f"{target['key']}/{secrets.token_hex(4)}",
        registers=6,
        clients=3,
        writers=2,
        pause=float(config["interval"]),
        patience=5.0,
        dial=dial,
        max_operations=MAX_OPERATIONS,
    )
    reporter = _Reporter(config["report"], load, len(agents))
    deadline = time.monotonic() + float(config["max_seconds"])
    with load:
        while not asked_to_end(REPORT_INTERVAL) and time.monotonic() < deadline:
            reporter.write(None)
    kept: dict[str, dict[str, str]] = {}
    silent = []
    for agent in agents:
        found = _kept(dial, agent, f"{load.prefix}/ledger")
        if found is None:
            silent.append(f"{agent} did not answer within {LAST_PATIENCE:g} s when its keys were read back")
        else:
            kept[agent] = found
    verdict = judge(load, kept)
    verdict["broken"] += silent
    reporter.write(verdict)
    with contextlib.closing(dial(agents[0], 5.0)) as connection:
        connection.ask("DELETE", f"/v1/kv/{load.prefix}?recurse")
    return verdict


def _kept(dial: Callable[[str, float], Connection], agent: str, prefix: str) -> dict[str, str] | None:
    """All keys below ``prefix`` as ``agent`` has them, read consistently; ``None`` when it does not answer."""
    deadline = time.monotonic() + LAST_PATIENCE
    with contextlib.closing(dial(agent, 10.0)) as connection:
        while True:
            answer = connection.ask("GET", f"/v1/kv/{prefix}?recurse&consistent")
            if answer.status == 404:
                return {}
            if answer.status == 200:
                return {
                    entry["Key"]: base64.b64decode(entry["Value"] or "").decode()
                    for entry in json.loads(answer.body)
                }
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.5)


def main(arguments: Sequence[str]) -> int:
    """Run the load that the file of the first argument describes."""
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    config = json.loads(Path(arguments[0]).read_text())
    run(config, lambda seconds: signal.sigtimedwait(ends, seconds) is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
