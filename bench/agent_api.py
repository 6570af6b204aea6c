"""The agent's API beside Consul's in one run: requests a second, writes, cold start (needs `wrk`).

    python bench/agent_api.py [--seconds 3] [--connections 64] [--consul PATH]

Each agent is a `-dev` server on loopback, one after the other, with the same data. Without a Consul binary
(`--consul` or CONSUL_BIN) its columns are left out and said so. wrk shares the machine with the agent, as in the
published figures of Consul 1.2.3.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# In place of this directory, whose files would hide modules of the same names.
sys.path[0] = str(Path(__file__).parents[1])

import urllib.request  # noqa: E402

MESHNODE = Path(sys.executable).with_name("meshnode")
PORTS = {"http": 18590, "dns": 18591, "server": 18592, "serf_lan": 18593, "serf_wan": 18594, "grpc": -1}
READS = {
    "status/leader": "/v1/status/leader",
    "health/service?passing": "/v1/health/service/web?passing",
    "catalog/services": "/v1/catalog/services",
    "kv get": "/v1/kv/bench",
    "agent/self": "/v1/agent/self",
}
PUT = """
wrk.method = "PUT"
wrk.body = string.rep("x", 100)
local n = 0
request = function()
  n = n + 1
  return wrk.format(nil, "/v1/kv/put/" .. (n % 1000))
end
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--consul", default=os.environ.get("CONSUL_BIN", ""))
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("this benchmark needs wrk: apt-get install wrk")
    found = {"meshnode": measure([str(MESHNODE)], options)}
    if options.consul:
        found["consul"] = measure([options.consul], options)
    else:
        print("no Consul binary was given (--consul PATH): its column is left out")
    report(found)


def measure(program: list[str], options: argparse.Namespace) -> dict[str, float]:
    """Everything about one agent; rates are a second, times in seconds."""
    found: dict[str, float] = {}
    with agent(program) as (pid, started):
        found["cold start (s)"] = started
        call("PUT", "/v1/kv/bench", b"x" * 100)
        for number in range(3):
            body = {"ID": f"web{number}", "Name": "web", "Port": 80 + number, "Tags": ["v1"]}
            call("PUT", "/v1/agent/service/register", json.dumps(body).encode())
        wait_for(
            "/v1/health/service/web?passing", lambda text: text.count(b'"ServiceID"') >= 0 and b"web2" in text
        )
        for name, path in READS.items():
            found[name] = rate(options, path)
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(PUT)
            script.flush()
            found["kv put (in memory)"] = rate(options, "/", "-s", script.name)
        found["RSS (MiB)"] = resident(pid)
    return found


@contextlib.contextmanager
def agent(program: list[str]) -> Iterator[tuple[int, float]]:
    """A `-dev` agent; its process id, and how long it took to its first answer with a leader."""
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory, "agent.json")
        ports = {name: port for name, port in PORTS.items() if name != "grpc"}
        config.write_text(json.dumps({"ports": ports, "log_level": "err"}))
        began = time.perf_counter()
        process = subprocess.Popen(
            [*program, "agent", "-dev", "-bind=127.0.0.1", f"-config-file={config}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=directory,
        )
        try:
            wait_for("/v1/status/leader", lambda text: b":" in text)
            yield process.pid, time.perf_counter() - began
        finally:
            process.terminate()
            process.wait(20)


def wait_for(path: str, good) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if good(call("GET", path)):
                return
        time.sleep(0.002)
    sys.exit(f"{path} gave no good answer in 30 s")


def call(method: str, path: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{PORTS['http']}{path}", body, method=method)
    with urllib.request.urlopen(request, timeout=5) as answer:
        text: bytes = answer.read()
        return text


def rate(options: argparse.Namespace, path: str, *more: str) -> float:
    done = subprocess.run(
        ["wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}", *more, f"http://127.0.0.1:{PORTS['http']}{path}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    if "Non-2xx" in done.stdout:
        sys.exit(f"{path}: not every answer was good\n{done.stdout}")
    matched = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert matched is not None
    return float(matched[1])


def resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def report(found: dict[str, dict[str, float]]) -> None:
    names = list(found)
    print(
        f"{'':26}" + "".join(f"{name:>12}" for name in names) + (f"{'ratio':>10}" if len(names) > 1 else "")
    )
    for what in found[names[0]]:
        values = [found[name][what] for name in names]
        shown = "".join(f"{value:12,.2f}" if value < 1000 else f"{value:12,.0f}" for value in values)
        print(f"{what:26}{shown}" + (f"{values[0] / values[1]:10.2f}" if len(values) > 1 else ""))


if __name__ == "__main__":
    main()
