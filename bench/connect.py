"""Connect on one machine: what the check of an intention adds to a connection, how long an intention takes to be in
force on every proxy, and leaves in a second.

    python bench/connect.py [--proxies 20] [--changes 10] [--leaves 100] [--checks 1000]

There is no peer here: Consul's proxy doesn't end what is open, and its leaves are signed over the same two steps. The
figures are those of one machine at one moment. *Enforced* means what a user sees: a proxy that let a connection go on
ends it, with a reset, after a deny; the time is from the sending of the request that writes the intention until the
last of the proxies has done so. A check from memory is the time for certificate and decision of a source that is known,
which is what each connection waits for; asked of the agent, as Consul's proxy does each time, it is what the first one
of a source waits for. A leaf is asked for at an agent beside the server, so it is a key made there, a request over RPC,
and a signature; the processor time is of these alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

# In place of this directory, in which ``http.py`` would hide the library's ``http``.
sys.path[0] = str(Path(__file__).parents[1])

import httpx  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives.serialization import Encoding  # noqa: E402

from meshnode.agent import leaf_cache  # noqa: E402
from meshnode.base.spiffe import ServiceId  # noqa: E402
from meshnode.pki import connect_ca, keys  # noqa: E402
from meshnode.proxy.authorize import Expectation, Identity, judge, read_peer  # noqa: E402
from meshnode.proxy.decision_cache import Decision, DecisionCache  # noqa: E402
from meshnode.testing import Mesh  # noqa: E402
from tests.support.flows import Flow, ask  # noqa: E402
from tests.support.proxy import Ca, echo_server  # noqa: E402
from tests.support.proxy_command import ProxyCommand  # noqa: E402
from tests.support.waiting import until  # noqa: E402
from tests.support.wire import free_port  # noqa: E402

PATIENCE = 60.0
#: Leaves asked for at once: more than the bucket of an agent, so that it is what is measured there.
AT_ONCE = 8


class Fleet:
    """Proxies that each stand before the same application under a service of their own, and one source of all."""

    def __init__(self, mesh: Mesh, directory: Path, stack: ExitStack, app: int, count: int) -> None:
        self._agent = mesh["client1"]
        self._server = mesh["server1"]
        self.ports: list[int] = []
        upstreams: list[str] = []
        for number in range(count):
            name, public = f"echo{number}", free_port()
            body = {
                "Kind": "connect-proxy",
                "ID": f"{name}-proxy",
                "Name": f"{name}-proxy",
                "Address": "127.0.0.1",
                "Port": public,
                "Proxy": {"DestinationServiceName": name, "LocalServicePort": app},
            }
            self._agent.api("/v1/agent/service/register", method="PUT", body=body)
            file = directory / f"{name}.log"
            proxy = ProxyCommand(file, self._agent.http, "-proxy-id", f"{name}-proxy")
            stack.callback(proxy.kill)
            self.ports.append(free_port())
            upstreams += ["-upstream", f"{name}:{self.ports[-1]}"]
        web = ProxyCommand(directory / "web.log", mesh["client2"].http, "-service", "web", *upstreams)
        stack.callback(web.kill)

    async def ready(self) -> None:
        for port in self.ports:
            await until(lambda port=port: _answers(port), f"port {port} answers", PATIENCE)  # type: ignore[misc]

    async def enforced(self) -> tuple[float, list[float]]:
        """Seconds until a deny of ``web`` everywhere is written, and until each proxy has ended its connection."""
        flows = [Flow(port, seed) for seed, port in enumerate(self.ports)]
        for flow in flows:
            flow.start()
        await until(lambda: all(flow.lives for flow in flows), "every proxy has a connection", PATIENCE)
        body = {"SourceName": "web", "DestinationName": "*", "Action": "deny"}
        began = time.monotonic()
        made = await asyncio.to_thread(self._server.api, "/v1/connect/intentions", method="POST", body=body)
        written = time.monotonic() - began
        await until(lambda: all(flow.ended for flow in flows), "every one is ended", PATIENCE, interval=0.005)
        path = f"/v1/connect/intentions/{made['ID']}"
        await asyncio.to_thread(self._server.api, path, method="DELETE")
        await self.ready()
        return written, [flow.ended - began for flow in flows]


async def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        return await ask(port) == b"hello"
    return False


async def enforcement(mesh: Mesh, proxies: int, changes: int) -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        async with echo_server() as app:
            fleet = Fleet(mesh, directory, stack, app.port, proxies)
            await fleet.ready()
            rounds = [await fleet.enforced() for _ in range(changes)]
    written = [round_[0] * 1000 for round_ in rounds]
    last = [max(round_[1]) * 1000 for round_ in rounds]
    every = sorted(value * 1000 for round_ in rounds for value in round_[1])
    print(f"time from intention write to enforcement on {proxies} proxies, {changes} changes, milliseconds")
    print(f"  written                 median {statistics.median(written):7.1f}   most {max(written):7.1f}")
    print(f"  in force on one proxy   median {statistics.median(every):7.1f}   most {every[-1]:7.1f}")
    print(f"  in force on all         median {statistics.median(last):7.1f}   most {max(last):7.1f}")


def check_in_memory(checks: int) -> None:
    """The identity of a certificate that was read before, and the decision about it; no socket is touched."""
    ca = Ca()
    found = read_peer(
        x509.load_pem_x509_certificate(ca.leaf("web").chain_pem.encode()).public_bytes(Encoding.DER)
    )
    assert isinstance(found, Identity)
    cache, expected = DecisionCache(), Expectation(ca.trust_domain)
    cache.store((found.uri, found.serial), Decision(True, "allowed"), 0.0, cache.generation)
    began = time.perf_counter()
    for _ in range(checks):
        judge(found, expected, datetime.now(UTC))
        cache.fresh((found.uri, found.serial), 1.0)
    each = (time.perf_counter() - began) / checks
    print(f"check of an intention, from memory: {each * 1e6:.2f} us added to a connection")


async def check_by_agent(mesh: Mesh, checks: int) -> None:
    """The question of a proxy to the agent beside it, one after the other over one connection."""
    agent = mesh["client1"]
    leaf = await asyncio.to_thread(agent.api, "/v1/agent/connect/ca/leaf/web")
    source = {"ClientCertURI": leaf["ServiceURI"], "ClientCertSerial": leaf["SerialNumber"]}
    took = []
    async with httpx.AsyncClient(base_url=agent.http) as client:
        for _ in range(checks):
            began = time.perf_counter()
            answer = await client.post("/v1/agent/connect/authorize", json={"Target": "api", **source})
            took.append((time.perf_counter() - began) * 1000)
            assert answer.json()["Authorized"] is True, answer.text
    took.sort()
    print(
        f"check of an intention, asked of the agent: median {statistics.median(took):.2f} ms, "
        f"p99 {took[len(took) * 99 // 100]:.2f} ms"
    )


async def issuance_by_agent(mesh: Mesh, leaves: int) -> None:
    """Through the HTTP interface of an agent, whose own bucket is a part of it."""
    agent = mesh["client1"]
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with limit:
            await asyncio.to_thread(agent.api, f"/v1/agent/connect/ca/leaf/bench{number}")

    began = time.monotonic()
    await asyncio.gather(*(one(number) for number in range(leaves)))
    rate = leaves / (time.monotonic() - began)
    print(
        f"leaf issuance through one agent: {rate:.1f}/s; it lets itself ask {leaf_cache.MAX_REQUESTS[0]:g}/s"
    )


def issuance_alone(leaves: int) -> None:
    """Keys, requests and signatures without network, log and limits, in processor time of one core."""
    ca = Ca()
    identity = ServiceId(ca.trust_domain, "dc1", "bench")
    began = time.process_time()
    requests = [connect_ca.create_leaf_request(keys.generate_key(), identity) for _ in range(leaves)]
    made = time.process_time()
    for request in requests:
        connect_ca.sign_leaf(
            ca.root,
            connect_ca.parse_leaf_request(request),
            trust_domain=ca.trust_domain,
            datacenter="dc1",
            lifetime=timedelta(hours=72),
            at=datetime.now(UTC),
            entropy=os.urandom,
        )
    signed = time.process_time()
    print(
        f"leaf issuance, processor time: {leaves / (made - began):.0f}/s keys and requests, "
        f"{leaves / (signed - made):.0f}/s signatures"
    )


async def main(proxies: int, changes: int, leaves: int, checks: int) -> None:
    check_in_memory(checks * 100)
    with Mesh(servers=1, clients=2, config={"connect": {"enabled": True}}) as mesh:
        mesh["server1"].wait_for("/v1/connect/ca/roots")
        await check_by_agent(mesh, checks)
        await enforcement(mesh, proxies, changes)
        await issuance_by_agent(mesh, leaves)
    issuance_alone(max(leaves, 1000))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Connect: checks, time to enforcement, leaves in a second.")
    parser.add_argument("--proxies", type=int, default=20)
    parser.add_argument("--changes", type=int, default=10)
    parser.add_argument("--leaves", type=int, default=100)
    parser.add_argument("--checks", type=int, default=1000)
    given = parser.parse_args()
    asyncio.run(main(given.proxies, given.changes, given.leaves, given.checks))
