"""Verdicts on the traffic of other people's programs, captured by tcpdump on loopback: no false one, either way."""

from __future__ import annotations

import base64
import contextlib
import http.server
import random
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.handshake import certificate
from tests.support.programs import can_capture, excuse, needs, skip
from tests.support.wire import CANARY, captured, fields, free_port, listening, wait_for

KEY = bytes(range(32))
pytestmark = [needs("curl", "openssl", "tcpdump", "tshark"), excuse("capture", unless=can_capture())]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("pem"))


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path, pem: Path | None, host: str = "127.0.0.1") -> Iterator[int]:
    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    server = Server((host, 0), lambda *args: Handler(*args, directory=str(folder)))
    if pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def curl(*args: str) -> str:
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "10", *args], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(folder: Path) -> Path:
    found = folder / "documents"
    found.mkdir()
    (found / "word").write_text(CANARY)
    (found / "big").write_bytes(random.Random(1).randbytes(3_000_000))
    return found


@pytest.mark.parametrize("interface", ["lo", "any"])
def test_curl_over_http_is_plaintext_and_shows_the_canary(tmp_path: Path, interface: str) -> None:
    with serving(documents(tmp_path), None) as port, captured(tmp_path, port, interface=interface) as wire:
        assert CANARY in curl(f"http://127.0.0.1:{port}/word")
    (verdict,) = wire.judge(port)
    assert (verdict.judgement, verdict.canaries) == ("plaintext", {CANARY})
    assert {"HTTP GET", "HTTP answer 200"} == {detail for _, detail in verdict.findings}


@pytest.mark.parametrize(("flag", "version"), [("1.2", "TLS 1.2"), ("1.3", "TLS 1.3")])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_curl_over_https_is_encrypted_to_the_last_byte(
    tmp_path: Path, pem: Path, flag: str, version: str, host: str
) -> None:
    if ":" in host and not Path("/proc/net/if_inet6").read_text():
        skip("IPv6")
    with serving(documents(tmp_path), pem, host) as port, captured(tmp_path, port) as wire:
        place = f"[{host}]" if ":" in host else host
        command = ["-k", f"--tlsv{flag}", "--tls-max", flag, "--http1.1", "-o", str(tmp_path / "got")]
        curl(
            *command,
            f"https://{place}:{port}/big",
            "-o",
            str(tmp_path / "word"),
            f"https://{place}:{port}/word",
        )
    (verdict,) = wire.judge(port)
    assert verdict.judgement == "encrypted", verdict.as_dict()
    assert (verdict.versions, verdict.canaries, verdict.missing_bytes) == ({version}, set(), 0)
    assert verdict.payload_bytes > 3_000_000
    assert verdict.certificate_names == ({"server.dc1.consul"} if version == "TLS 1.2" else set())
    assert any("ALPN http/1.1" in detail for _, detail in verdict.findings)
    assert fields(wire.path, f"tcp.port=={port}", "frame.number") == [
        str(n + 1) for n in range(verdict.packets)
    ]
    hello = fields(wire.path, "tls.handshake.type==2", "tls.handshake.ciphersuite", port=port)
    assert len(hello) == 1
    chosen = fields(
        wire.path, "tls.handshake.type==2", "tls.handshake.extensions.supported_version", port=port
    )
    assert ("0x0304" in chosen) is (version == "TLS 1.3")


def test_openssl_with_sni_and_alpn_is_encrypted_and_named(tmp_path: Path, pem: Path) -> None:
    port = free_port()
    server = subprocess.Popen(
        ["openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-cert", str(pem), "-key", str(pem),
         "-alpn", "consul/rpc-single", "-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        wait_for(lambda: listening(port), "openssl s_server listens")
        with captured(tmp_path, port) as wire:
            client = subprocess.run(
                ["openssl", "s_client", "-quiet", "-no_ign_eof", "-connect", f"127.0.0.1:{port}", "-servername",
                 "server.dc1.consul", "-alpn", "consul/rpc-single"],
                input=f"{CANARY}\nQ\n".encode(), capture_output=True, check=False, timeout=15,
            )  # fmt: skip
            assert client.returncode == 0, client.stderr
    finally:
        server.kill()
        server.communicate()
    (verdict,) = wire.judge(port)
    assert (verdict.judgement, verdict.canaries) == ("encrypted", set())
    assert (verdict.versions, verdict.ciphers) == ({"TLS 1.2"}, {"ECDHE-ECDSA-AES256-GCM-SHA384"})
    details = " ".join(detail for _, detail in verdict.findings)
    assert "SNI server.dc1.consul" in details
    assert "ALPN consul/rpc-single" in details


def test_openssl_with_a_suite_that_does_not_encrypt_is_plaintext(tmp_path: Path, pem: Path) -> None:
    port = free_port()
    suite = ["-cipher", "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0", "-tls1_2"]
    server = subprocess.Popen(
        ["openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-cert", str(pem), "-key", str(pem), *suite],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        wait_for(lambda: listening(port) or server.poll() is not None, "openssl s_server listens")
        if server.poll() is not None:
            skip("NULL suites")
        with captured(tmp_path, port) as wire:
            subprocess.run(
                ["openssl", "s_client", "-quiet", "-no_ign_eof", "-connect", f"127.0.0.1:{port}", *suite],
                input=f"{CANARY}\nQ\n".encode(), capture_output=True, check=True, timeout=15,
            )  # fmt: skip
    finally:
        server.kill()
        server.communicate()
    (verdict,) = wire.judge(port)
    assert (verdict.judgement, verdict.canaries) == ("plaintext", {CANARY})
    assert any("does not encrypt" in detail for _, detail in verdict.findings)


@needs("serf")
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "plain"])
def test_two_serf_agents_show_the_canary_only_without_a_key(tmp_path: Path, sealed: bool) -> None:
    rng = random.Random()
    network = f"127.{rng.randint(1, 254)}.{rng.randint(1, 254)}"
    port = free_port()
    agents = []
    with captured(tmp_path, port) as wire:
        try:
            for number in (1, 2):
                command = [
                    "serf",
                    "agent",
                    f"-node=n{number}",
                    f"-bind={network}.{number}:{port}",
                    "-profile=local",
                ]
                command += [f"-rpc-addr={network}.{number}:7373"]
                command += [f"-encrypt={base64.b64encode(KEY).decode()}"] if sealed else []
                command += [f"-join={network}.1:{port}"] if number == 2 else []
                log = (tmp_path / f"{number}.log").open("w")
                agents.append(subprocess.Popen(command, stdout=log, stderr=log))
                log.close()
                name = f"{number}.log"
                wait_for(
                    lambda name=name: "agent: Serf agent starting" in (tmp_path / name).read_text(), name
                )
                wait_for(lambda number=number: rpc(network, number, "members"), "serf answers")
            wait_for(lambda: rpc(network, 1, "members").count("alive") == 2, "both are alive")
            rpc(network, 1, "event", CANARY, f"payload-{CANARY}")
            wait_for(lambda: CANARY in monitor(tmp_path, network), "the event arrives", 20)
        finally:
            for agent in agents:
                agent.kill()
                agent.wait()
    with_key, without = wire.judge(port, keys=(KEY,))[0], wire.judge(port)[0]
    if sealed:
        assert with_key.judgement == "encrypted", with_key.as_dict()
        assert (with_key.canaries, with_key.sealed_canaries) == (set(), {CANARY})
        assert without.judgement == "unopened"
        assert wire.judge(port, keys=(bytes(32),))[0].judgement == "unknown"
    else:
        assert (with_key.judgement, with_key.canaries) == ("plaintext", {CANARY})
        assert (without.judgement, without.canaries) == ("plaintext", {CANARY})
        assert with_key.kinds == {"plaintext"}, with_key.as_dict()


def rpc(network: str, number: int, *words: str) -> str:
    command, *rest = words
    done = subprocess.run(
        ["serf", command, f"-rpc-addr={network}.{number}:7373", *rest],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else ""


def monitor(folder: Path, network: str) -> str:
    return (folder / "2.log").read_text() + rpc(network, 2, "info")


@pytest.mark.parametrize(
    ("name", "data", "judgement"),
    [
        ("dns query", b"\xab\xcd\1\0\0\1" + bytes(6) + b"\6consul\7service\0\0\1\0\1", "plaintext"),
        ("ssh banner", b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", "plaintext"),
        ("random bytes", random.Random(7).randbytes(5000), "unknown"),
        ("a faked record header", b"\x16\x03\x01\x00\x40" + b"not a hello" * 6, "unknown"),
    ],
)  # fmt: skip
def test_other_bytes_are_never_encrypted(tmp_path: Path, name: str, data: bytes, judgement: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(type=socket.SOCK_DGRAM) as receiver,
    ):
        port = listener.getsockname()[1]
        receiver.bind(("127.0.0.1", port))
        with captured(tmp_path, port) as wire:
            with socket.create_connection(("127.0.0.1", port)) as sender:
                sender.sendall(data)
            accepted, _ = listener.accept()
            received = b""
            while chunk := accepted.recv(65536):
                received += chunk
            accepted.close()
            with socket.socket(type=socket.SOCK_DGRAM) as sender:
                sender.sendto(data[:1400], ("127.0.0.1", port))
            receiver.recv(65536)
    assert received == data
    for keys in ((), (KEY,)):
        (verdict,) = wire.judge(port, keys=keys)
        assert verdict.judgement == judgement, name
        assert not verdict.kinds & {"tls", "sealed"}


def test_a_connection_that_was_joined_in_the_middle_is_recognised(tmp_path: Path, pem: Path) -> None:
    folder = documents(tmp_path)
    with serving(folder, pem) as port:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port))) as connection:
            ask(connection, "/word")
            with captured(tmp_path, port) as wire:
                for _ in range(3):
                    ask(connection, "/word")
    (verdict,) = wire.judge(port)
    assert verdict.judgement == "encrypted", verdict.as_dict()
    assert {detail for _, detail in verdict.findings} == {"TLS records, joined after the handshake"}


def ask(connection: ssl.SSLSocket, path: str) -> None:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = b""
    while CANARY.encode() not in answer:
        answer += connection.recv(65536)
