"""The four TLS modes of docs/tls-modes.md: the built-in proxy and its peers, in one run.

    python bench/http_proxy.py [--seconds 5] [--only ours,envoy,nginx,haproxy]
                               [--modes terminate,bridge,originate,passthrough]

Peers: Envoy, nginx (with its stream module) and HAProxy where they are installed (``scripts/programs.sh bench`` brings
Debian's), each with one process or thread. The application is one of asyncio that answers 1 KiB and looks at nothing,
with TLS where the mode wants it. Figures are those of one machine at one moment; the ratios to ``ours`` are the result.
The processor time of the proxy for one request spoils least on a busy machine. A peer whose answers are not the
application's is told and has no figures. Needs wrk. All of it takes four minutes with 5 ``--seconds``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvloop

# In place of this directory, in which ``http.py`` would hide the library's ``http``.
sys.path[0] = str(Path(__file__).parents[1])

import urllib.request  # noqa: E402

from bench.proxy import EndedError, measured, percentile, running, show  # noqa: E402
from meshnode.proxy.config import Endpoint  # noqa: E402
from meshnode.runtime.proxy.http_listener import HttpListener, serve_http  # noqa: E402
from meshnode.runtime.tls_modes.passthrough import Passthrough  # noqa: E402
from meshnode.tls_modes.model import Mode, TlsListener, TlsUpstream  # noqa: E402
from tests.support.envoy import envoy_binary  # noqa: E402
from tests.support.envoy_http import http_cluster, http_command, http_filter  # noqa: E402
from tests.support.http_proxy import certificate_files  # noqa: E402
from tests.support.wire import free_port  # noqa: E402

HOST = "127.0.0.1"
#: Whether the proxy ends TLS in front of it, and begins TLS behind.
MODES = {
    "terminate": (True, False),
    "bridge": (True, True),
    "originate": (False, True),
    "passthrough": (False, False),
}
#: TLS between client and application, which the proxy doesn't open.
PASSING = "passthrough"
#: Where Debian keeps what nginx needs to relay bytes.
NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
TCP_RELAY = {
    "name": "envoy.filters.network.tcp_proxy",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "relay",
        "cluster": "to",
    },
}
#: What wrk prints of requests that had another answer, or none.
WRONG = re.compile(r"Non-2xx.*|Socket errors: connect \d+, read \d+, write \d+, timeout [1-9]\d*")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\nContent-Type: text/plain\r\n\r\n" + b"x" * 1024


class Application(asyncio.Protocol):
    """Answers each head that ends."""

    def connection_made(self, transport: Any) -> None:
        self.transport, self.rest = transport, b""

    def data_received(self, data: bytes) -> None:
        *heads, self.rest = (self.rest + data).split(b"\r\n\r\n")
        self.transport.write(ANSWER * len(heads))


def server_tls(directory: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "leaf.pem")
    return context


def client_tls(directory: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(directory / "root.pem")
    return context


async def serve(what: str, mode: str, port: int, to: int, directory: Path) -> None:
    front, behind = MODES[mode]
    if what == "application":
        tls = server_tls(directory) if behind or mode == PASSING else None
        await asyncio.get_running_loop().create_server(Application, HOST, port, ssl=tls, backlog=1024)
    elif mode == PASSING:
        upstream = TlsUpstream(Endpoint(HOST, to))
        await Passthrough(TlsListener(mode, Endpoint(HOST, port), Mode.PASSTHROUGH, upstream)).start()
    else:
        await serve_http(
            HttpListener(
                mode,
                Endpoint(HOST, port),
                Endpoint(HOST, to),
                server_tls=server_tls(directory) if front else None,
                upstream_tls=client_tls(directory) if behind else None,
                upstream_name="localhost" if behind else "",
            )
        )
    await asyncio.Event().wait()


def nginx(mode: str, port: int, to: int, directory: Path) -> list[str]:
    front, behind = MODES[mode]
    temporary = "".join(
        f"{name}_temp_path {directory}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    tls = f"ssl_certificate {directory}/leaf.pem; ssl_certificate_key {directory}/leaf.pem;" if front else ""
    verify = (
        f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {directory}/root.pem; proxy_ssl_name localhost;"
        if behind
        else ""
    )
    file = directory / f"nginx-{port}.conf"
    if mode == PASSING:
        file.write_text(
            f"load_module {NGINX_STREAM}; daemon off; master_process off; worker_processes 1;"
            f"pid {directory}/nginx.pid; error_log {directory}/nginx.log; events {{ worker_connections 20000; }}"
            f"stream {{ server {{ listen {HOST}:{port}; proxy_pass {HOST}:{to}; }} }}"
        )
        return ["nginx", "-e", f"{directory}/nginx.log", "-c", str(file)]
    file.write_text(
        "daemon off; master_process off; worker_processes 1;"
        f"pid {directory}/nginx.pid; error_log {directory}/nginx.log;"
        "events { worker_connections 20000; } http { access_log off; keepalive_requests 1000000000;"
        f"{temporary} upstream app {{ server {HOST}:{to}; keepalive 256; }}"
        f"server {{ listen {HOST}:{port}{' ssl' if front else ''}; {tls} location / {{"
        f" proxy_pass http{'s' if behind else ''}://app; proxy_http_version 1.1;"
        f' proxy_set_header Connection ""; {verify} }} }} }}'
    )
    return ["nginx", "-e", f"{directory}/nginx.log", "-c", str(file)]


def haproxy(mode: str, port: int, to: int, directory: Path) -> list[str]:
    front, behind = MODES[mode]
    tls = f" ssl crt {directory}/leaf.pem" if front else ""
    verify = f" ssl verify required ca-file {directory}/root.pem verifyhost localhost" if behind else ""
    file = directory / f"haproxy-{port}.cfg"
    file.write_text(
        f"global\n nbthread 1\n maxconn 4000\ndefaults\n mode {'tcp' if mode == PASSING else 'http'}\n"
        " timeout connect 5s\n timeout client 60s\n"
        f" timeout server 60s\nfrontend in\n bind {HOST}:{port}{tls}\n default_backend out\n"
        f"backend out\n server one {HOST}:{to}{verify}\n"
    )
    return ["haproxy", "-db", "-f", str(file)]


def command(kind: str, mode: str, port: int, to: int, directory: Path) -> list[str]:
    front, behind = MODES[mode]
    if kind == "envoy":
        route = {"route": {"cluster": "to", "timeout": "0s"}}
        cluster = http_cluster((HOST, to), root=f"{directory}/root.pem" if behind else "")
        pem = f"{directory}/leaf.pem" if front else ""
        relay = TCP_RELAY if mode == PASSING else http_filter("AUTO", route)
        return http_command(directory, port, relay, cluster, pem=pem)
    if kind == "nginx":
        return nginx(mode, port, to, directory)
    if kind == "haproxy":
        return haproxy(mode, port, to, directory)
    return [sys.executable, __file__, "--serve", f"{kind}:{mode}:{port}:{to}:{directory}"]


def check(url: str) -> None:
    """Raise :class:`EndedError` unless the application's answer comes back."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:
            body = answer.read()
    except OSError as error:
        raise EndedError(f"{url}: {error}") from None
    if body != ANSWER.partition(b"\r\n\r\n")[2]:
        raise EndedError(f"{url} answers something else: {body[:200]!r}")


def contest(kind: str, mode: str, to: int, directory: Path, seconds: int) -> dict[str, float]:
    """All figures of one contender in one mode."""
    port, requests = free_port(), r"(\d+) requests in"
    url = f"http{'s' if MODES[mode][0] or mode == PASSING else ''}://{HOST}:{port}/"
    wrk = ["wrk", "-t1", f"-d{seconds}", "--latency"]
    row: dict[str, float] = {}
    with running([command(kind, mode, port, to, directory)], port) as processes:
        check(url)
        measured(processes, [*wrk[:2], "-d1", "-c64", url], requests)
        row["req/s 64"], row["us cpu/req"], output = measured(processes, [*wrk, "-c64", url], requests)
        if found := WRONG.search(output):
            raise EndedError(f"{mode}: not every request was answered: {found[0].strip()}")
        row["p50 ms"], row["p99 ms"] = percentile(output, 50), percentile(output, 99)
        row["req/s 1"], _, _ = measured(processes, [*wrk, "-c1", url], requests)
        row["MB RSS"] = sum(process.memory_info().rss for process in processes) / 1e6
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--only", default="ours,envoy,nginx,haproxy")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        what, mode, port, to, directory = options.serve.split(":", 4)
        uvloop.run(serve(what, mode, int(port), int(to), Path(directory)))
        return
    there = {"ours": True, "envoy": envoy_binary() is not None}
    print("load average before:", *(f"{load:.1f}" for load in os.getloadavg()))
    for mode in options.modes.split(","):
        with tempfile.TemporaryDirectory() as name:
            directory, app = Path(name), free_port()
            certificate_files(directory)
            rows: dict[str, dict[str, float]] = {}
            with running([command("application", mode, app, 0, directory)], app):
                for kind in options.only.split(","):
                    if not there.get(kind, shutil.which(kind) is not None):
                        print(f"{kind}: not installed, left out (scripts/programs.sh bench)")
                        continue
                    try:
                        rows[kind] = contest(kind, mode, app, directory, options.seconds)
                    except EndedError as error:
                        print(f"{kind}: {error}")
            legs = ["TLS" if tls or mode == PASSING else "plain" for tls in MODES[mode]]
            print(f"\n{mode}: {' in front, '.join(legs)} behind")
            show(rows, "ours")


if __name__ == "__main__":
    main()
