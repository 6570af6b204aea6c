"""More of other people's programs on the wire: none of them is called what it is not.

Mutual TLS by openssl, gzip by a web server, DNS by dig, HTTP/2 by curl, gRPC by etcdctl, SSH, TLS that begins in clear.
"""

from __future__ import annotations

import contextlib
import gzip
import http.server
import smtplib
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.prove.flow import Level
from meshnode.prove.verdict import PortVerdict
from tests.support.handshake import certificate
from tests.support.programs import can_capture, excuse, needs
from tests.support.wire import CANARY, captured, fields, free_port, listening, wait_for

pytestmark = [needs("curl", "openssl", "tcpdump", "tshark"), excuse("capture", unless=can_capture())]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("pem"))


def levels(verdict: PortVerdict) -> set[Level]:
    return {flow.level for flow in verdict.flows.values() if flow.level is not Level.SILENT}


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("asks", ["-Verify", "-verify", ""], ids=["required", "asked", "not asked"])
def test_openssl_is_authenticated_only_when_both_ends_show_a_certificate(
    tmp_path: Path, pem: Path, version: str, asks: str
) -> None:
    port = free_port()
    server = subprocess.Popen(
        ["openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-cert", str(pem), "-key", str(pem),
         "-CAfile", str(pem), version, *([asks, "1"] if asks else [])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    shown = ["-cert", str(pem), "-key", str(pem)] if asks == "-Verify" else []
    try:
        wait_for(lambda: listening(port), "openssl s_server listens")
        with captured(tmp_path, port) as wire:
            client = subprocess.run(
                ["openssl", "s_client", "-quiet", "-no_ign_eof", "-connect", f"127.0.0.1:{port}", *shown],
                input=f"{CANARY}\nQ\n".encode(), capture_output=True, check=False, timeout=15,
            )  # fmt: skip
            assert client.returncode == 0, client.stderr
    finally:
        server.kill()
        server.communicate()
    (verdict,) = wire.judge(port)
    assert (verdict.judgement, verdict.canaries) == ("encrypted", set())
    assert levels(verdict) == {Level.AUTHENTICATED if asks == "-Verify" else Level.ENCRYPTED}, (
        verdict.as_dict()
    )
    if version == "-tls1_2":
        # What tshark sees of it: 13 is CertificateRequest, 15 is CertificateVerify.
        messages = ",".join(fields(wire.path, "tls.handshake.type", "tls.handshake.type", port)).split(",")
        assert ("13" in messages, "15" in messages) == (bool(asks), asks == "-Verify")


@contextlib.contextmanager
def answering(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Packed(http.server.BaseHTTPRequestHandler):
    """A page that is compressed on its way."""

    def do_GET(self) -> None:
        body = gzip.compress(b"<p>a page of text</p>" * 300 + CANARY.encode())
        assert CANARY.encode() not in body
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_canary_that_a_web_server_compresses_is_found(tmp_path: Path) -> None:
    with answering(Packed) as port, captured(tmp_path, port) as wire:
        command = ["curl", "-sS", "--compressed", "--max-time", "10", f"http://127.0.0.1:{port}/"]
        assert CANARY in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (verdict,) = wire.judge(port)
    assert (verdict.judgement, verdict.canaries) == ("plaintext", {CANARY})


class Closing(socketserver.BaseRequestHandler):
    """Reads what comes and says nothing that the other end would understand."""

    def handle(self) -> None:
        self.request.settimeout(5)
        with contextlib.suppress(OSError):
            self.request.sendall(b"SSH-2.0-closing\r\n" if self.request.recv(64).startswith(b"SSH-") else b"")
            self.request.recv(65536)


def test_http_2_by_curl_is_plaintext(tmp_path: Path) -> None:
    with answering(Closing) as port, captured(tmp_path, port) as wire:
        command = ["curl", "-sS", "--http2-prior-knowledge", "--max-time", "5", f"http://127.0.0.1:{port}/"]
        subprocess.run(command, capture_output=True, check=False)
    (verdict,) = wire.judge(port)
    assert verdict.judgement == "plaintext"
    assert ("plaintext", "HTTP/2 in clear") in verdict.findings


@needs("etcd", "etcdctl")
def test_grpc_by_etcdctl_is_plaintext_and_named(tmp_path: Path) -> None:
    client, peer = free_port(), free_port()
    urls = {name: f"http://127.0.0.1:{port}" for name, port in (("client", client), ("peer", peer))}
    log = (tmp_path / "etcd.log").open("w")
    etcd = subprocess.Popen(
        ["etcd", "--data-dir", str(tmp_path / "data"), "--listen-client-urls", urls["client"],
         "--advertise-client-urls", urls["client"], "--listen-peer-urls", urls["peer"],
         "--initial-advertise-peer-urls", urls["peer"], "--initial-cluster", f"default={urls['peer']}"],
        stdout=log, stderr=log,
    )  # fmt: skip
    command = ["etcdctl", f"--endpoints={urls['client']}"]
    try:
        wait_for(lambda: listening(client), "etcd listens", 30)
        with captured(tmp_path, client) as wire:
            subprocess.run([*command, "put", "key", CANARY], check=True, capture_output=True, timeout=20)
            etcd.kill()
            etcd.wait()
    finally:
        etcd.kill()
        etcd.wait()
        log.close()
    (verdict,) = wire.judge(client)
    assert (verdict.judgement, verdict.canaries) == ("plaintext", {CANARY})
    assert ("plaintext", "HTTP/2 in clear: etcd") in verdict.findings, verdict.findings


@needs("dig")
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_dns_by_dig_is_plaintext_and_a_name_is_found_in_any_case(tmp_path: Path, transport: str) -> None:
    name = CANARY.upper() if transport == "+notcp" else CANARY
    with contextlib.ExitStack() as stack:
        port = free_port()
        stack.enter_context(echo(port))
        wire = stack.enter_context(captured(tmp_path, port))
        command = [
            "dig",
            "@127.0.0.1",
            "-p",
            str(port),
            transport,
            "+tries=1",
            "+time=5",
            f"{name}.service.consul",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert "status: NOERROR" in done.stdout, done.stdout
    (verdict,) = wire.judge(port)
    assert (verdict.judgement, verdict.canaries) == ("plaintext", {CANARY})
    assert verdict.findings == {("plaintext", "DNS question"): 1, ("plaintext", "DNS answer"): 1}


@contextlib.contextmanager
def echo(port: int) -> Iterator[None]:
    """A DNS server that answers each question with nothing."""

    def answer(question: bytes) -> bytes:
        return question[:2] + bytes((question[2] | 0x80,)) + question[3:]

    class Datagrams(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, sock = self.request
            sock.sendto(answer(data), self.client_address)

    class Streams(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            size = self.rfile.read(2)
            self.wfile.write(size + answer(self.rfile.read(int.from_bytes(size, "big"))))

    address = ("127.0.0.1", port)
    with socketserver.UDPServer(address, Datagrams) as udp, socketserver.TCPServer(address, Streams) as tcp:
        threads = [threading.Thread(target=one.serve_forever, args=(0.02,)) for one in (udp, tcp)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            for one in (udp, tcp):
                one.shutdown()
            for thread in threads:
                thread.join()


@needs("ssh")
def test_ssh_is_unknown_for_its_encryption_is_not_the_meshs(tmp_path: Path) -> None:
    with answering(Closing) as port, captured(tmp_path, port) as wire:
        command = [
            "ssh",
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=5",
            "-p",
            str(port),
            "127.0.0.1",
        ]
        subprocess.run(command, capture_output=True, check=False, timeout=20)
    (verdict,) = wire.judge(port)
    assert verdict.judgement == "unknown"
    assert verdict.kinds == {"unknown"}


def test_tls_that_begins_in_clear_is_plaintext(tmp_path: Path, pem: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    class Mail(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            connection: socket.socket = self.request
            connection.sendall(b"220 mail.example ESMTP\r\n")
            connection.recv(1000)
            connection.sendall(b"250-mail.example\r\n250 STARTTLS\r\n")
            connection.recv(1000)
            connection.sendall(b"220 go ahead\r\n")
            with context.wrap_socket(connection, server_side=True) as sealed:
                sealed.recv(1000)
                sealed.sendall(b"250 mail.example\r\n")
                sealed.recv(1000)

    with answering(Mail) as port, captured(tmp_path, port) as wire:
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        client = smtplib.SMTP("127.0.0.1", port, timeout=10)
        client.starttls(context=trusting)
        client.ehlo()
        client.close()
    (verdict,) = wire.judge(port)
    assert verdict.judgement == "plaintext"
    assert levels(verdict) == {Level.PLAINTEXT}, verdict.as_dict()
