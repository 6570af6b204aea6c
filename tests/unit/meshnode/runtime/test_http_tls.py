"""HTTPS: certificates that change, client certificates, and explanations; curl and openssl are the other end."""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshnode.base.address import Address
from meshnode.runtime.http_server import HttpLimits, TcpListener
from tests.support.http_agent import FakeView, member
from tests.support.http_serving import closed, on_loop, run_curl, serving, within

LOOPS = pytest.mark.parametrize("uv", [False, True], ids=["asyncio", "uvloop"])


@dataclass
class Authority:
    """A throw-away CA in a directory."""

    directory: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, directory: Path, name: str = "Test CA") -> Authority:
        directory.mkdir(exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        made = cls._builder(name, name, key).add_extension(x509.BasicConstraints(True, None), critical=True)
        authority = cls(directory, key, made.sign(key, hashes.SHA256()))
        (directory / "ca.pem").write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
        return authority

    @staticmethod
    def _builder(name: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Mesh"),
                                     x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Mesh"),
                                    x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )  # fmt: skip

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName(name)])
        made = (
            self._builder(name, "Test CA", key)
            .add_extension(names, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        certificate, private = self.directory / f"{name}.pem", self.directory / f"{name}-key.pem"
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))  # fmt: skip
        return certificate, private

    def context(self, name: str, *, verify: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(name))
        if verify:
            context.load_verify_locations(self.directory / "ca.pem")
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "ca")


def https(context: ssl.SSLContext) -> TcpListener:
    return TcpListener(Address("127.0.0.1", 0), "ports.https", lambda: context)


def client(authority: Authority, *, name: str = "", version: str = "") -> list[str]:
    options = ["--cacert", str(authority.directory / "ca.pem"), *(["--tls-max", version] if version else [])]
    if name:
        certificate, key = authority.issue(name)
        options += ["--cert", str(certificate), "--key", str(key)]
    return options


def url(port: int, path: str) -> str:
    return f"https://localhost:{port}{path}"


@LOOPS
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl_with_a_client_certificate_is_answered_and_its_subject_known(
    uv: bool, version: str, authority: Authority
) -> None:
    async def main() -> None:
        async with serving(https(authority.context("server", verify=True))) as http:
            seen = []
            handle = http.server.host.api.handle
            http.server.host.api.handle = lambda request: (seen.append(request), handle(request))[1]  # type: ignore
            target = url(http.port, "/v1/status/leader")
            code, out, err = await run_curl(
                "-4", *client(authority, name="web", version=version), target, target
            )
            assert (code, out) == (0, '"10.0.0.1:8300"' * 2), err
            assert [(r.secure, r.client_subject) for r in seen] == [(True, "CN=web,O=Mesh")] * 2

    on_loop(main, uv=uv)


@LOOPS
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_client_without_a_certificate_is_refused_and_the_log_says_who_and_why(
    uv: bool, version: str, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        def explain(tls: ssl.SSLObject | None, error: Exception, peer: str) -> str:
            assert tls is not None
            assert peer.startswith("127.0.0.1:")
            return f"explained {type(error).__name__}"

        async with serving(https(authority.context("server", verify=True)), explain=explain) as http:
            code, out, _ = await run_curl("-4", *client(authority, version=version), url(http.port, "/"))
            assert code != 0
            assert out == ""

    on_loop(main, uv=uv)
    assert "TLS handshake with 127.0.0.1:" in caplog.text
    assert "failed: explained SSLError" in caplog.text


def test_a_client_of_another_ca_is_refused(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Authority.create(tmp_path / "other")

    async def main() -> None:
        async with serving(https(authority.context("server", verify=True))) as http:
            certificate, key = other.issue("intruder")
            code, _, _ = await run_curl("-4", *client(authority), "--cert", str(certificate), "--key", str(key),
                                        url(http.port, "/"))  # fmt: skip
            assert code != 0

    on_loop(main)
    assert "TLS handshake with 127.0.0.1:" in caplog.text


def test_each_new_connection_gets_the_certificate_of_its_moment_and_old_ones_live_on(
    authority: Authority,
) -> None:
    contexts = [authority.context("first")]

    async def main() -> None:
        listener = TcpListener(Address("127.0.0.1", 0), "ports.https", lambda: contexts[-1])
        async with serving(listener) as http:
            tls = ssl.create_default_context(cafile=str(authority.directory / "ca.pem"))
            tls.check_hostname = False
            subjects, connections = [], []
            for _ in range(2):
                reader, writer = await http.connect(tls)
                subjects.append(writer.get_extra_info("peercert")["subject"][1][0][1])
                connections.append((reader, writer))
                contexts.append(authority.context("second"))
            assert subjects == ["first", "second"]
            for reader, writer in connections:
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (await within(reader.readuntil(b"Consul Agent"))).startswith(b"HTTP/1.1 200")
                await closed(writer)

    on_loop(main)


@LOOPS
def test_plain_http_on_the_https_port_is_told_so(
    uv: bool, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with serving(https(authority.context("server"))) as http:
            out = await http.curl("/v1/agent/self", "-i")
            assert out.startswith("HTTP/1.0 400 Bad Request")
            assert out.endswith("Client sent an HTTP request to an HTTPS server.\n")

    on_loop(main, uv=uv)
    assert "spoke plain HTTP to the HTTPS port: use https:// there" in caplog.text


@LOOPS
def test_tls_on_the_plain_port_is_logged_and_closed(
    uv: bool, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with serving() as http:
            code, _, _ = await run_curl("-k", f"https://127.0.0.1:{http.port}/")
            assert code == 35

    on_loop(main, uv=uv)
    assert "spoke TLS to a plain HTTP port: use http:// there" in caplog.text


@LOOPS
def test_large_answers_pipelines_and_waits_work_through_tls(uv: bool, authority: Authority) -> None:
    async def main() -> None:
        view = FakeView(lan=tuple(member(f"n{i}") for i in range(3000)))
        async with serving(https(authority.context("server")), view=view) as http:
            tls = ssl.create_default_context(cafile=str(authority.directory / "ca.pem"))
            tls.check_hostname = False
            reader, writer = await http.connect(tls)
            request = b"GET /v1/agent/members HTTP/1.1\r\nHost: a\r\n\r\n"
            writer.write(request * 20 + b"GET /v1/event/list?index=1 HTTP/1.1\r\nHost: a\r\n\r\n" + request)
            sizes = []
            for number in range(22):
                if number == 20:
                    await within(http.shell.started.wait())
                    http.view.now = 1000.0
                    http.shell.changed.set()
                head = await within(reader.readuntil(b"\r\n\r\n"))
                assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
                sizes.append(len(await within(reader.readexactly(length))))
            assert sizes[:20] == [sizes[21]] * 20
            assert sizes[20] == len(b"[]")
            await closed(writer)

    on_loop(main, uv=uv)


@LOOPS
def test_curl_gets_the_whole_of_a_large_last_answer(uv: bool, authority: Authority) -> None:
    async def main() -> None:
        view = FakeView(lan=tuple(member(f"n{i}") for i in range(20_000)))
        async with serving(https(authority.context("server")), view=view) as http:
            options = [*client(authority), "-H", "Connection: close"]
            code, out, err = await run_curl("-4", *options, url(http.port, "/v1/agent/members"))
            assert code == 0, err
            assert len(json.loads(out)) == 20_000

    on_loop(main, uv=uv)


@LOOPS
def test_a_client_that_goes_away_ends_its_wait_through_tls_too(uv: bool, authority: Authority) -> None:
    async def main() -> None:
        async with serving(https(authority.context("server"))) as http:
            tls = ssl.create_default_context(cafile=str(authority.directory / "ca.pem"))
            tls.check_hostname = False
            _, writer = await http.connect(tls)
            writer.write(b"GET /v1/event/list?index=1 HTTP/1.1\r\nHost: a\r\n\r\n")
            await within(http.shell.started.wait())
            writer.close()
            await within(http.shell.cancelled.wait())
            await closed(writer)

    on_loop(main, uv=uv)


@pytest.mark.parametrize(
    "wire", [b"", b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x01\x00\x02ab"], ids=["silent", "half", "bad"]
)
def test_a_handshake_that_does_not_end_is_cut(wire: bytes, authority: Authority) -> None:
    async def main() -> None:
        limits = HttpLimits(header_timeout=0.2)
        async with serving(https(authority.context("server")), limits=limits) as http:
            data = await http.raw(wire)
            assert data[:1] in (b"", b"\x15")
            assert b"HTTP" not in data

    on_loop(main)


def test_openssl_sees_the_certificate_and_a_clean_end(authority: Authority) -> None:
    async def main() -> None:
        async with serving(https(authority.context("server"))) as http:
            process = await asyncio.create_subprocess_exec(
                "openssl", "s_client", "-connect", f"127.0.0.1:{http.port}", "-CAfile",
                str(authority.directory / "ca.pem"), "-quiet", "-verify_return_error",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            out, err = await within(
                process.communicate(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            )
            assert out.endswith(b"Consul Agent"), err
            assert b"unexpected eof" not in err

    on_loop(main)
