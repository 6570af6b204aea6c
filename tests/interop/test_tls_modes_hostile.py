"""``tls-proxy`` among clients and upstreams that mean it no good, by either data plane; others are served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from meshnode.proxy.config import Endpoint
from tests.interop.test_tls_modes import PLANES
from tests.support.conformance_client import ask_http2
from tests.support.conformance_http2 import HTTP2_SECTIONS
from tests.support.programs import needs
from tests.support.tls_modes import Files, TlsProxy, curl, echo, tls_proxy

pytestmark = needs("envoy", "curl")

#: Listeners that read requests, and how clients speak to them.
READING = {"terminate": "https", "bridge": "https", "originate": "http"}
#: Seconds within which a client that is slow on purpose is given up: ten for a head, and a slow machine.
PATIENCE = 40.0
SLOW_CLIENTS = 40
RESETS = HTTP2_SECTIONS["HTTP/2: frames"]["10 000 streams that are reset at once"]
#: What a proxy may have more of after 50 000 requests that were taken back.
MAX_GROWTH = 64 * 1024 * 1024


class Front:
    """A proxy with a listener for each mode, before services that are in order."""

    def __init__(self, proxy: TlsProxy, plane: str) -> None:
        self.proxy, self.plane = proxy, plane

    def url(self, name: str) -> str:
        return f"{READING.get(name, 'https')}://localhost:{self.proxy.ports[name]}/"

    def serves(self, name: str) -> bool:
        """Whether somebody in order is answered."""
        return curl("-k", "-o", "/dev/null", "-w", "%{http_code}", self.url(name)).stdout == "200"

    def opened(self, name: str) -> socket.socket:
        """A connection, of TLS where the listener wants it."""
        plain = socket.create_connection(("127.0.0.1", self.proxy.ports[name]), 10)
        if READING.get(name) != "https":
            return plain
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(plain)

    def memory(self) -> int:
        """Bytes of the command and of its Envoy."""
        own = psutil.Process(self.proxy.process.pid)
        return sum(one.memory_info().rss for one in (own, *own.children(recursive=True)))


@pytest.fixture(scope="module", params=PLANES)
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    files = Files(tmp_path_factory.mktemp("hostile"))
    with echo() as http, echo(*files.pair("service", "service-https")) as https:
        checked = {"address": https.address, "ca_file": files.ca_file, "server_name": "service-https"}
        shown = files.certificate()
        listeners = {
            "terminate": {"mode": "terminate", "certificate": shown, "upstream": {"address": http.address}},
            "bridge": {"mode": "bridge", "certificate": shown, "upstream": checked},
            "originate": {"mode": "originate", "upstream": checked},
            "passthrough": {"mode": "passthrough", "upstream": {"address": https.address}},
            "patient": {
                "mode": "terminate",
                "handshake_timeout": "1s",
                "certificate": shown,
                "upstream": {"address": http.address},
            },
            "passing": {
                "mode": "passthrough",
                "handshake_timeout": "1s",
                "upstream": {"address": https.address},
            },
        }
        with tls_proxy(files.folder, request.param, listeners) as proxy:
            yield Front(proxy, request.param)


def drip(flows: list[socket.socket], data: bytes) -> list[bytes]:
    """Send ``data`` a byte at a time on every flow, until the other side has ended each; what each was told."""
    told = dict.fromkeys(flows, b"")
    left = set(flows)
    deadline, at = time.monotonic() + PATIENCE, 0
    while left and time.monotonic() < deadline:
        for flow in [*left]:
            with contextlib.suppress(OSError):
                flow.sendall(data[at % len(data) :][:1])
        at += 1
        for flow in select.select([*left], [], [], 0.2)[0]:
            try:
                piece = flow.recv(65536)
            except OSError:
                piece = b""
            told[flow] += piece
            if not piece:
                left.discard(flow)
                flow.close()
    assert not left, f"{len(left)} of {len(flows)} are waited for"
    return [*told.values()]


@pytest.mark.parametrize("name", READING)
def test_clients_that_drip_their_heads_are_given_up_and_keep_nobody_waiting(front: Front, name: str) -> None:
    flows = [front.opened(name) for _ in range(SLOW_CLIENTS)]
    for flow in flows:
        flow.sendall(b"GET / HTTP/1.1\r\nHost: slow\r\nX-Slow: ")
    assert front.serves(name)
    told = drip(flows, b"a")
    assert all(not answer or answer.startswith(b"HTTP/1.1 408 ") for answer in told), told
    assert front.serves(name)


@pytest.mark.parametrize("name", ["patient", "passing"])
def test_clients_that_drip_their_handshakes_are_given_up_and_keep_nobody_waiting(
    front: Front, name: str
) -> None:
    tls, outgoing = _hello()
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    port = front.proxy.ports[name]
    flows = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(SLOW_CLIENTS)]
    assert front.serves(name)
    drip(flows, hello[:-100])
    assert front.serves(name)


def _hello() -> tuple[ssl.SSLObject, ssl.MemoryBIO]:
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    return context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="service-https"), outgoing


@pytest.mark.parametrize("name", ["terminate", "bridge"])
def test_requests_taken_back_in_masses_end_their_connection_and_nothing_else(front: Front, name: str) -> None:
    assert front.serves(name)
    before, to = front.memory(), Endpoint("127.0.0.1", front.proxy.ports[name])

    async def storm() -> list[str]:
        return await asyncio.gather(*(ask_http2(to, RESETS) for _ in range(5)))

    assert asyncio.run(storm()) == ["closed"] * 5
    assert front.serves(name)
    assert front.memory() - before < MAX_GROWTH


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("name", READING)
def test_heads_of_60_kib_pass_and_longer_ones_than_64_are_refused(
    front: Front, name: str, version: str
) -> None:
    if name == "originate" and version == "--http2":
        version = "--http2-prior-knowledge"
    words = ("-k", version, "-o", "/dev/null", "-w", "%{http_code}", front.url(name))
    assert curl("-H", "x-long: " + "a" * 60 * 1024, *words).stdout == "200"
    refused = curl("-H", "x-long: " + "a" * 66 * 1024, *words)
    # HTTP/2 has an end of the stream, or of the connection, in place of an answer.
    assert refused.stdout in (("431", "000") if version == "--http1.1" else ("431", "000", "400"))
    assert front.serves(name)


def test_a_client_without_a_name_passes_where_none_is_asked_for(front: Front) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain = socket.create_connection(("127.0.0.1", front.proxy.ports["passthrough"]), 10)
    with plain, context.wrap_socket(plain) as flow:
        flow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := flow.recv(65536):
            answer += piece
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["connection"] == {"servername": False}


@pytest.mark.parametrize("plane", PLANES)
def test_an_upstream_that_speaks_tls_where_it_should_not_or_does_not_where_it_should_is_answered_for(
    tmp_path: Path, plane: str
) -> None:
    files = Files(tmp_path)
    with echo() as http, echo(*files.pair("service", "service-https")) as https:
        shown = files.certificate()
        to_plain: dict[str, Any] = {"address": http.address, "ca_file": files.ca_file}
        listeners = {
            "terminate": {"mode": "terminate", "certificate": shown, "upstream": {"address": https.address}},
            "bridge": {"mode": "bridge", "certificate": shown, "upstream": to_plain},
            "originate": {"mode": "originate", "upstream": to_plain},
        }
        with tls_proxy(tmp_path, plane, listeners) as proxy:
            front = Front(proxy, plane)
            for name in READING:
                done = curl("-k", "-w", "%{http_code}", front.url(name))
                assert done.stdout[-3:] in ("502", "503"), (name, done, proxy.output[-2000:])
            assert "Traceback" not in proxy.output
