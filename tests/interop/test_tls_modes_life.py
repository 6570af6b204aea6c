"""``tls-proxy`` from its banner to its end: ports that are taken, Envoys that die, signals, secrets of others."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from meshnode.base.errors import MeshError
from meshnode.runtime.tls_modes.envoy import EnvoyPlane, check_bootstrap
from meshnode.tls_modes.model import Mode, TlsListener, TlsProxyConfig, TlsUpstream
from tests.interop.test_tls_modes import PLANES, serial
from tests.support.asynchronous import asynchronous
from tests.support.envoy import envoy_binary
from tests.support.mesh_agent import wait
from tests.support.processes import is_gone
from tests.support.programs import needs
from tests.support.proxy import local
from tests.support.tls_modes import MESHNODE, Files, TlsProxy, curl, echo, tls_proxy
from tests.support.wire import free_port

pytestmark = needs("envoy", "curl")


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in found]


def passthrough(address: str) -> dict[str, Any]:
    return {"mode": "passthrough", "upstream": {"address": address}}


@pytest.mark.parametrize("plane", PLANES)
def test_the_banner_says_what_listens_where_and_who_carries_the_bytes(tmp_path: Path, plane: str) -> None:
    with tls_proxy(tmp_path, plane, {"one": passthrough("127.0.0.1:1")}) as proxy:
        lines = proxy.output.splitlines()
        assert lines[0] == "==> TLS proxy starting..."
        assert lines[1] == f"    Configuration: {proxy.file}"
        shown = r"envoy \d+\.\d+\.\d+ \(.*envoy\)" if plane == "envoy" else "builtin"
        assert re.fullmatch(rf"       Data plane: {shown}", lines[2])
        assert (
            lines[3] == f"         Listener: one: 127.0.0.1:{proxy.ports['one']} => 127.0.0.1:1 (passthrough)"
        )
        assert lines[4:6] == ["", "==> Log data will now stream in as it occurs:"]
        assert proxy.end() == 0
        assert proxy.output.splitlines()[-1] == "==> TLS proxy shutdown"


@pytest.mark.parametrize("plane", PLANES)
def test_a_port_that_is_taken_is_named_and_nothing_is_left(tmp_path: Path, plane: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        proxy = TlsProxy(tmp_path, plane, {"one": {"bind": address, **passthrough("127.0.0.1:1")}})
        assert proxy.process.wait(40) == 1
    assert "==> Failed running proxy: " in proxy.output
    assert address in proxy.output.splitlines()[-1]
    assert "ddress already in use" in proxy.output.splitlines()[-1]
    assert "Traceback" not in proxy.output


def test_an_envoy_that_dies_ends_the_command_with_its_reason(tmp_path: Path) -> None:
    with tls_proxy(tmp_path, "envoy", {"one": passthrough("127.0.0.1:1")}) as proxy:
        (child,) = children(proxy.process.pid)
        os.kill(child, signal.SIGKILL)
        assert proxy.process.wait(30) == 1
        assert "==> Failed running proxy: Envoy has ended with signal 9" in proxy.output
        assert "Traceback" not in proxy.output


def test_envoy_ends_with_a_command_that_was_killed(tmp_path: Path) -> None:
    with tls_proxy(tmp_path, "envoy", {"one": passthrough("127.0.0.1:1")}) as proxy:
        (child,) = children(proxy.process.pid)
        proxy.process.kill()
        proxy.process.wait()

        wait(lambda: is_gone(child), "Envoy has ended")


def put_secret(files: Files, name: str) -> None:
    """As another program would write it for Envoy: a new file, moved over the old one."""
    cert, key = files.pair(name, "localhost")
    secret = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "shown",
        "tls_certificate": {
            "certificate_chain": {"inline_string": Path(cert).read_text()},
            "private_key": {"inline_string": Path(key).read_text()},
        },
    }
    new = files.folder / "sds" / "new"
    new.write_text(json.dumps({"resources": [secret]}))
    new.rename(files.folder / "sds" / "shown.json")


def test_a_secret_that_envoy_can_t_read_is_told_in_its_words_and_taken_up_once_it_is_right(
    tmp_path: Path,
) -> None:
    files = Files(tmp_path)
    secret = tmp_path / "sds" / "shown.json"
    secret.parent.mkdir()
    secret.write_text('{"resources": "nonsense"}')
    with echo() as http:
        certificate = {"sds_file": str(secret), "sds_name": "shown"}
        one = {"mode": "terminate", "certificate": certificate, "upstream": {"address": http.address}}
        with tls_proxy(tmp_path, "envoy", {"one": one}) as proxy:
            assert str(secret) in proxy.wait_for("nonsense")
            url = f"https://localhost:{proxy.ports['one']}"
            assert curl("-k", url).returncode == 35, "no handshake without a certificate"
            put_secret(files, "right")
            wait(lambda: curl("-k", url).returncode == 0, "the secret is used")


@asynchronous
async def test_a_configuration_that_envoy_refuses_is_told_in_its_words_when_checked_and_when_run() -> None:
    """No file of ours is known that Envoy refuses, so it is handed what nobody would write."""
    binary = envoy_binary()
    assert binary is not None
    wrong = {"static_resources": {"listeners": [{"name": "x", "adress": {}}]}}
    with pytest.raises(MeshError, match=r"^Envoy refuses the configuration: .*'adress'"):
        await check_bootstrap(binary, wrong)
    config = TlsProxyConfig((TlsListener("x", local(1), Mode.PASSTHROUGH, TlsUpstream(local(1))),))
    plane = EnvoyPlane(config, binary, lambda *_: wrong, lambda _: {})
    with pytest.raises(MeshError, match=r"^Envoy refuses the configuration: .*'adress'"):
        await plane.start()


@pytest.mark.parametrize("plane", PLANES)
def test_envoy_s_child_goes_with_the_command_and_so_does_its_folder(tmp_path: Path, plane: str) -> None:
    with tempfile.TemporaryDirectory(prefix="run-") as runtime:
        run = Path(runtime)
        with tls_proxy(
            tmp_path, plane, {"one": passthrough("127.0.0.1:1")}, RUNTIME_DIRECTORY=runtime
        ) as proxy:
            started = children(proxy.process.pid)
            kept = {each.name: each.stat().st_mode & 0o777 for each in run.iterdir()}
            assert set(kept.values()) == ({0o700} if plane == "envoy" else set())
            assert len(started) == len(kept) == (1 if plane == "envoy" else 0)
            assert proxy.end() == 0
        assert [each for each in started if Path(f"/proc/{each}").exists()] == []
        assert list(run.iterdir()) == []


def test_a_runtime_folder_too_long_for_a_socket_is_named_with_the_way_out(tmp_path: Path) -> None:
    long = tmp_path / ("r" * 90)
    long.mkdir()
    bound = {"one": {"bind": f"127.0.0.1:{free_port()}", **passthrough("127.0.0.1:1")}}
    proxy = TlsProxy(tmp_path, "envoy", bound, RUNTIME_DIRECTORY=str(long))
    try:
        assert proxy.process.wait(30) == 1
        assert f"{long} is too long a folder for Envoy's admin socket" in proxy.output
        assert "RUNTIME_DIRECTORY" in proxy.output
        assert "Traceback" not in proxy.output
        assert list(long.iterdir()) == []
    finally:
        proxy.process.kill()
        proxy.process.wait()


def is_closed(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return True
    return False


class Slow(BaseHTTPRequestHandler):
    """Answers once it may."""

    protocol_version = "HTTP/1.1"
    asked = threading.Event()
    may = threading.Event()

    def do_GET(self) -> None:
        self.asked.set()
        self.may.wait(20)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"late")

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.mark.parametrize("plane", PLANES)
def test_a_request_under_way_is_answered_after_the_first_signal_and_nobody_new_is_let_in(
    tmp_path: Path, plane: str
) -> None:
    files = Files(tmp_path)
    Slow.asked.clear()
    Slow.may.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    one = {
        "mode": "terminate",
        "certificate": files.certificate(),
        "upstream": {"address": f"127.0.0.1:{server.server_address[1]}"},
    }
    try:
        with tls_proxy(tmp_path, plane, {"one": one}) as proxy:
            url = f"https://localhost:{proxy.ports['one']}"
            asking = subprocess.Popen(
                ["curl", "-sk", "--max-time", "20", url], stdout=subprocess.PIPE, text=True
            )
            assert Slow.asked.wait(20)
            proxy.process.send_signal(signal.SIGTERM)
            wait(lambda: is_closed(proxy.ports["one"]), "the port is closed")
            Slow.may.set()
            assert asking.communicate(timeout=20)[0] == "late"
            assert proxy.process.wait(20) == 0
    finally:
        Slow.may.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("plane", PLANES)
def test_a_second_signal_does_not_wait(tmp_path: Path, plane: str) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        echo(*Files(tmp_path).pair("a", "localhost")) as https,
        tls_proxy(tmp_path, plane, {"one": passthrough(https.address)}) as proxy,
        socket.create_connection(("127.0.0.1", proxy.ports["one"]), 10) as plain,
        context.wrap_socket(plain),
    ):
        proxy.process.send_signal(signal.SIGTERM)
        proxy.wait_for("Caught signal: terminated")
        assert proxy.process.poll() is None
        proxy.process.send_signal(signal.SIGINT)
        # Less than the ten seconds that connections have after the first one.
        assert proxy.process.wait(8) == 0


@pytest.mark.parametrize("plane", PLANES)
def test_sighup_looks_at_the_files_at_once_and_ends_nothing(tmp_path: Path, plane: str) -> None:
    files = Files(tmp_path)
    with echo() as http:
        one = {"mode": "terminate", "certificate": files.certificate(), "upstream": {"address": http.address}}
        with tls_proxy(tmp_path, plane, {"one": one}) as proxy:
            before = serial(proxy.ports["one"])
            files.certificate()
            proxy.process.send_signal(signal.SIGHUP)
            wait(lambda: serial(proxy.ports["one"]) != before, "the new certificate")
            assert "certificates were replaced on the disk" in proxy.output


def test_a_secret_that_somebody_else_keeps_is_followed(tmp_path: Path) -> None:
    files = Files(tmp_path)
    (tmp_path / "sds").mkdir()
    put_secret(files, "first")
    with echo() as http:
        certificate = {"sds_file": str(tmp_path / "sds" / "shown.json"), "sds_name": "shown"}
        one = {"mode": "terminate", "certificate": certificate, "upstream": {"address": http.address}}
        with tls_proxy(tmp_path, "envoy", {"one": one}) as proxy:
            before = serial(proxy.ports["one"])
            put_secret(files, "second")
            wait(lambda: serial(proxy.ports["one"]) != before, "the new secret is used")


def test_a_printed_bootstrap_runs_in_an_envoy_of_its_own(tmp_path: Path) -> None:
    files = Files(tmp_path)
    with echo() as http:
        bind = f"127.0.0.1:{free_port()}"
        one = {"bind": bind, "mode": "terminate", "certificate": files.certificate()}
        config = tmp_path / "t.json"
        config.write_text(json.dumps({"listener": {"one": {**one, "upstream": {"address": http.address}}}}))
        words = ["-config-file", str(config), "-print-envoy", "-secrets-dir", str(tmp_path / "secrets")]
        done = subprocess.run([MESHNODE, "tls-proxy", *words], capture_output=True, text=True, check=True)
        bootstrap = tmp_path / "bootstrap.json"
        bootstrap.write_text(done.stdout)
        binary = envoy_binary()
        assert binary is not None
        process = subprocess.Popen(
            [binary, "-c", str(bootstrap), "--disable-hot-restart", "--log-level", "error"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait(lambda: curl("-k", f"https://{bind}").returncode == 0, "an answer")
        finally:
            process.kill()
            process.wait()
