"""From a changed intention to Envoy's acknowledgement, for 1 and 20 xDS clients on one agent, and what they cost.

    python bench/xds.py [--clients 1 20] [--changes 50]

The clients are bare gRPC streams that acknowledge what they get, as Envoy does; all are sidecars of one service, so
each change has to reach all of them. Beside it, in the same run, the same change by a blocking query of the HTTP API,
which is how the built-in proxy hears of it.
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
from meshnode.xds.schema import CLUSTER, LISTENER, SECRET, message  # noqa: E402

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
    """One stream: acknowledges at once, and says when listeners came."""

    def __init__(self, port: int, number: int) -> None:
        self.channel = Channel("127.0.0.1", port)
        self.node = f"web-{number}"
        self.heard = asyncio.Event()
        self.at = 0.0

    async def run(self) -> None:
        request, response = (
            message(f"service.discovery.v3.DeltaDiscovery{e}") for e in ("Request", "Response")
        )
        method: Any = StreamStreamMethod(self.channel, METHOD, request, response)
        async with method.open() as stream:
            for url, names in ((CLUSTER, ()), (SECRET, ("leaf", "roots")), (LISTENER, ())):
                asked = request(type_url=url, node={"id": self.node}, resource_names_subscribe=names)
                await stream.send_message(asked)
            while (found := await stream.recv_message()) is not None:
                await stream.send_message(request(type_url=found.type_url, response_nonce=found.nonce))
                if found.type_url == LISTENER:
                    self.at = time.perf_counter()
                    self.heard.set()


async def poll(client: AgentClient, times: list[float]) -> None:
    async for _ in client.watch(*MATCH):
        times.append(time.perf_counter())  # noqa: PERF401 - the list is read meanwhile


async def change(client: AgentClient, action: str, identifier: str) -> None:
    body = {"SourceName": "api", "DestinationName": "web", "Action": action}
    await client.put_json(f"/v1/connect/intentions/{identifier}", body)


async def measure(http: int, grpc: int, pid: int, clients: int, changes: int) -> None:
    client = AgentClient(ApiSettings(address=f"http://127.0.0.1:{http}"))
    body = {"SourceName": "api", "DestinationName": "web", "Action": "deny"}
    created = await client.call("POST", "/v1/connect/intentions", body=body)
    identifier = json.loads(created.body)["ID"]
    before = memory(pid)
    envoys = [Envoy(grpc, number) for number in range(clients)]
    tasks = [asyncio.ensure_future(each.run()) for each in envoys]  # noqa: TID251 - a program, not the agent
    await asyncio.gather(*(each.heard.wait() for each in envoys))
    polled: list[float] = []
    watching = asyncio.ensure_future(poll(client, polled))  # noqa: TID251
    last, query = [], []
    for number in range(changes):
        await asyncio.sleep(0.02)
        for each in envoys:
            each.heard.clear()
        polled.clear()
        start = time.perf_counter()
        await change(client, "allow" if number % 2 else "deny", identifier)
        if number == 0:
            continue  # the same as before: nothing to send
        await asyncio.wait_for(asyncio.gather(*(each.heard.wait() for each in envoys)), 10)
        last.append(max(each.at for each in envoys) - start)
        if polled:
            query.append(polled[0] - start)
    after = memory(pid)
    for task in (*tasks, watching):
        task.cancel()
    await asyncio.gather(*tasks, watching, return_exceptions=True)
    for each in envoys:
        each.channel.close()
    await client.call("DELETE", f"/v1/connect/intentions/{identifier}")
    await client.close()
    shown = [
        f"{1000 * value:6.1f}" for value in (statistics.median(last), max(last), statistics.median(query))
    ]
    print(f"{clients:7} | {shown[0]} | {shown[1]} | {shown[2]} | {after - before:6.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--changes", type=int, default=50)
    options = parser.parse_args()
    http, grpc, server, lan, wan = free_ports(5)
    proxies = [
        {
            "id": f"web-{number}", "name": "web-proxy", "kind": "connect-proxy", "port": 30000 + number,
            "proxy": {"destination_service_name": "web", "local_service_port": 80},
        }
        for number in range(max(options.clients))
    ]  # fmt: skip
    ports = {"http": http, "grpc": grpc, "server": server, "serf_lan": lan, "serf_wan": wan, "dns": -1}
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "agent.json")
        file.write_text(json.dumps({"ports": ports, "services": proxies, "log_level": "ERR"}))
        command = [sys.executable, "-m", "meshnode.cli.main", "agent", "-dev", "-config-file", str(file)]
        command[1:3] = ["-c", "from meshnode.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"]
        agent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            asyncio.run(ready(http))
            print("clients | all ms | max ms | HTTP ms | MiB more in the agent")
            for clients in options.clients:
                asyncio.run(measure(http, grpc, agent.pid, clients, options.changes))
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
