"""HTTP checks against Python's own server, with and without TLS, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import CERT_REQUIRED, SSLContext
from typing import Any

import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.local.check_status import OutputTail, Result
from meshnode.local.check_type import HttpCheck
from meshnode.runtime.checks import http_client
from meshnode.runtime.checks.http import check_http
from meshnode.runtime.checks.http_client import MAX_HEAD_BYTES, AnswerReader, request_bytes
from meshnode.runtime.tasks import spawn
from meshnode.runtime.tls import TlsContexts, TlsSettings
from tests.support.certs import make_ca, make_cert
from tests.support.checks import client_contexts, no_tls, server_context, turns
from tests.support.rpc_lab import LOOPS, run
from tests.support.waiting import until

loops = pytest.mark.parametrize("loop", LOOPS)
CA = make_ca()


class Web:
    """``answers``: path -> (status, headers, body); what was asked is kept."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []


@contextlib.contextmanager
def web(tls: SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            served.asked.append((self.command, self.path, headers, body))
            status, extra, content = served.answers.get(self.path, (404, {}, b"nothing here"))
            self.send_response(status)
            for name, value in extra.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_HEAD = _serve  # noqa: N815

        def log_message(self, *_args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_args: object) -> None:
            pass  # refused handshakes are what some tests are about

    server = Server((host, 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    served = Web(f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(
    url: str, contexts: Callable[[bool], SSLContext] = no_tls, loop: str = "asyncio", **more: Any
) -> Result:
    check = HttpCheck(url, **{"interval": 10, "timeout": 10, **more})
    return run(lambda: check_http(check, contexts), loop)


@contextlib.asynccontextmanager
async def raw_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    serving: set[asyncio.StreamWriter] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(writer)
        with contextlib.suppress(OSError):
            await serve(reader, writer)
        writer.transport.abort()
        serving.discard(writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await until(lambda: not serving, "every connection is closed", interval=0.001)
        await asyncio.sleep(0)


def ask_raw(answer: bytes, loop: str = "asyncio", hold: bool = False, **more: Any) -> tuple[Result, str]:
    """What a check makes of these bytes; with ``hold`` the connection stays open afterwards."""

    async def main() -> tuple[Result, str]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if hold:
                await reader.read()  # until the check gives up

        async with raw_server(serve) as url:
            check = HttpCheck(url, **{"interval": 10, "timeout": 10, **more})
            return await check_http(check, no_tls), url

    return run(main, loop)


@loops
@pytest.mark.parametrize(
    ("status", "reason", "wanted"),
    [
        (200, "OK", "passing"),
        (201, "Created", "passing"),
        (429, "Too Many Requests", "warning"),
        (404, "Not Found", "critical"),
        (500, "Internal Server Error", "critical"),
    ],
)
def test_the_status_of_the_answer_is_that_of_the_check(
    loop: str, status: int, reason: str, wanted: str
) -> None:
    with web() as server:
        server.answers["/health?a=b"] = (status, {}, b"some text")
        url = f"{server.base}/health?a=b"
        assert ask(url, loop=loop) == (wanted, f"HTTP GET {url}: {status} {reason} Output: some text")


def test_the_request_is_consuls() -> None:
    with web() as server:
        server.answers["/"] = (200, {}, b"")
        ask(server.base)
        method, path, headers, body = server.asked[0]
        assert (method, path, body) == ("GET", "/", b"")
        assert headers == {
            "host": server.base.removeprefix("http://"),
            "user-agent": "Consul Health Check",
            "accept": "text/plain, text/*, */*",
            "connection": "close",
        }


def test_method_headers_and_body_are_sent_as_configured() -> None:
    with web() as server:
        server.answers["/"] = (200, {}, b"")
        header = {
            "Host": ("web.example",),
            "User-Agent": ("mine",),
            "X-Token": ("a", "b"),
            "Content-Length": ("99",),
            "Connection": ("keep-alive",),
        }
        assert ask(server.base, method="PUT", header=header, body="bödy").status == "passing"
        method, _, headers, body = server.asked[0]
        assert (method, body) == ("PUT", "bödy".encode())
        assert (headers["host"], headers["user-agent"], headers["x-token"]) == ("web.example", "mine", "b")
        assert (headers["content-length"], headers["connection"]) == ("5", "close")


def test_credentials_in_the_url_are_sent_and_not_shown() -> None:
    with web() as server:
        server.answers["/"] = (200, {}, b"")
        url = server.base.replace("http://", "http://me:s3cret%21@") + "/"
        result = ask(url)
        assert server.asked[0][2]["authorization"] == "Basic " + base64.b64encode(b"me:s3cret!").decode()
        assert "s3cret" not in result.output
        assert "me:xxxxx@" in result.output
    assert "s3cret" not in ask(url).output


def test_the_end_of_a_long_body_is_kept() -> None:
    with web() as server:
        server.answers["/"] = (200, {}, b"a" * 100_000 + b"end")
        output = ask(server.base + "/", output_max_size=10).output
        assert output.endswith("200 OK Output: " + "a" * 7 + "end")


def test_head_has_no_body_to_wait_for() -> None:
    async def main() -> None:
        stream = asyncio.StreamReader()
        stream.feed_data(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        reading = spawn(AnswerReader(OutputTail(9), bodiless=True).read(stream), name="read")
        await turns()
        assert reading.done()
        assert reading.result().status == 200

    run(main)
    # The time-out is longer than what a test may take.
    result, url = ask_raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", hold=True, method="HEAD", timeout=90
    )
    assert result == ("passing", f"HTTP HEAD {url}: 200 OK Output: ")


@pytest.mark.parametrize(
    ("status", "method", "seen"),
    [
        (301, "POST", ("GET", b"")),
        (302, "PUT", ("GET", b"")),
        (303, "POST", ("GET", b"")),
        (302, "HEAD", ("HEAD", b"")),
        (307, "POST", ("POST", b"body")),
        (308, "PUT", ("PUT", b"body")),
    ],
)
def test_redirects_change_the_method_as_gos_client_does(
    status: int, method: str, seen: tuple[str, bytes]
) -> None:
    with web() as server:
        server.answers["/a"] = (status, {"Location": "b?c"}, b"moved")
        server.answers["/b?c"] = (200, {}, b"arrived")
        result = ask(f"{server.base}/a", method=method, body="" if method == "HEAD" else "body")
        assert (server.asked[1][0], server.asked[1][3]) == seen
        assert result.status == "passing"
        assert result.output.startswith(f"HTTP {method} {server.base}/a: 200 OK Output: ")


def test_the_tenth_redirect_is_not_followed() -> None:
    with web() as server:
        for number in range(12):
            server.answers[f"/{number}"] = (302, {"Location": f"/{number + 1}"}, b"")
        server.answers["/9"] = (200, {}, b"")
        assert ask(f"{server.base}/0").status == "passing"
        server.answers["/9"] = (302, {"Location": "/10"}, b"")
        server.answers["/10"] = (200, {}, b"")
        server.asked.clear()
        assert ask(f"{server.base}/0") == ("critical", f"Get {server.base}/9: stopped after 10 redirects")
        assert len(server.asked) == 10


def test_a_redirect_to_another_host_gets_no_secrets() -> None:
    header = {
        "Authorization": ("s3cret",),
        "Cookie": ("s3cret",),
        "X-Other": ("kept",),
        "Host": ("a.example",),
    }
    with web() as server, web(host="127.0.0.2") as other:
        target = other.base.replace("127.0.0.1", "127.0.0.2")
        server.answers["/"] = (302, {"Location": f"{target}/x"}, b"")
        other.answers["/x"] = (200, {}, b"")
        assert ask(server.base + "/", header=header).status == "passing"
        headers = other.asked[0][2]
        assert "s3cret" not in str(headers)
        assert headers["x-other"] == "kept"
        assert headers["host"] == target.removeprefix("http://")


def test_redirects_that_lead_nowhere_are_critical_and_disabled_ones_are_answers() -> None:
    with web() as server:
        url = server.base + "/"
        server.answers["/"] = (302, {}, b"")
        assert ask(url) == ("critical", f"Get {url}: 302 response missing Location header")
        server.answers["/"] = (302, {"Location": "ftp://a/"}, b"")
        assert ask(url) == ("critical", 'Get ftp://a/: unsupported protocol scheme "ftp"')
        assert ask(url, disable_redirects=True).output == f"HTTP GET {url}: 302 Found Output: "
        server.answers["/"] = (304, {}, b"")
        assert ask(url).output.startswith(f"HTTP GET {url}: 304 Not Modified")


@loops
def test_https_is_verified_against_the_cas_and_the_name(loop: str, tmp_path: Path) -> None:
    trusted, stranger = client_contexts(CA), client_contexts(make_ca("Other"))
    with web(server_context(make_cert(["127.0.0.1", "localhost"], CA), tmp_path)) as server:
        server.answers["/"] = (200, {}, b"fine")
        url = server.base + "/"
        assert ask(url, trusted, loop) == ("passing", f"HTTP GET {url}: 200 OK Output: fine")
        assert ask(url, stranger, loop).output.startswith(
            f"Get {url}: x509: certificate signed by unknown authority ("
        )
        assert ask(url, stranger, loop, tls_skip_verify=True).status == "passing"
        assert "is not valid for web.example" in ask(url, trusted, loop, tls_server_name="web.example").output
        assert ask(url, trusted, loop, tls_server_name="localhost").status == "passing"


def test_the_agents_own_certificate_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    ca_file, _ = CA.write(tmp_path, "ca")
    cert_file, key_file = make_cert(["client.example"], CA).write(tmp_path, "own")
    agent = TlsContexts(TlsSettings(ca_file=ca_file, cert_file=cert_file, key_file=key_file))
    context = server_context(make_cert(["127.0.0.1"], CA), tmp_path)
    context.verify_mode = CERT_REQUIRED
    context.load_verify_locations(ca_file)
    with web(context) as server:
        server.answers["/"] = (200, {}, b"")
        shown, hidden = (
            ask(
                server.base + "/",
                lambda skip, present=present: agent.checks_client(
                    skip_verify=skip, present_certificate=present
                ),
            )
            for present in (True, False)
        )
        assert shown.status == "passing"
        assert hidden.status == "critical"
        # The refusal and the end of the connection race.
        assert re.search("certificate required|broken pipe|connection reset", hidden.output)


def test_an_expired_certificate_is_named_as_such(tmp_path: Path) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    old = make_cert(["127.0.0.1"], CA, not_before=yesterday - timedelta(days=9), not_after=yesterday)
    with web(server_context(old, tmp_path)) as server:
        output = ask(server.base + "/", client_contexts(CA)).output
        assert "x509: certificate has expired or is not yet valid" in output


def test_plain_and_tls_mixed_up_say_so(tmp_path: Path) -> None:
    with web() as server:
        output = ask(server.base.replace("http:", "https:") + "/", client_contexts(CA)).output
        assert "does not look like a TLS handshake: does the server speak it without TLS?" in output
    with web(server_context(make_cert(["127.0.0.1"], CA), tmp_path)) as server:
        result = ask(server.base.replace("https:", "http:") + "/")
        assert result.status == "critical"


@loops
def test_no_server_is_critical_in_gos_words(loop: str) -> None:
    with web() as server:
        url = server.base + "/"
    place = url.removeprefix("http://").rstrip("/")
    assert ask(url, loop=loop) == (
        "critical",
        f"Get {url}: dial tcp {place}: connect: connection refused",
    )


@loops
def test_an_answer_that_does_not_come_is_given_up(loop: str) -> None:
    result, url = ask_raw(b"HTTP/1.1 200", loop, hold=True, timeout=0.2)
    words = "net/http: request canceled (Client.Timeout exceeded while awaiting headers)"
    assert result == ("critical", f"Get {url}: {words}")


@loops
@pytest.mark.parametrize("hold", [True, False])
def test_a_body_that_never_ends_or_breaks_off_does_not_change_the_status(loop: str, hold: bool) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome"
    result, url = ask_raw(answer, loop, hold=hold, timeout=0.3)
    assert result == ("passing", f"HTTP GET {url}: 200 OK Output: some")


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (b"HTTP/1.1 200 \r\n\r\nuntil the end", "200  Output: until the end"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "200 OK Output: abc"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "204 No Content Output: "),
        (b"HTTP/1.0 200 Fine\r\nContent-Length: 2\r\n\r\nok", "200 Fine Output: ok"),
    ],
)
def test_every_framing_is_read(answer: bytes, output: str) -> None:
    result, url = ask_raw(answer)
    assert result == ("passing", f"HTTP GET {url}: {output}")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "EOF: the connection was closed before an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "malformed HTTP response b'SSH-2.0-OpenSSH_9.2"),
        (b"HTTP/1.1 200 OK\r\n", "EOF"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 300_000, "server response headers exceeded"),
    ],
)
def test_what_is_no_answer_is_critical_with_a_reason(answer: bytes, text: str) -> None:
    result, _ = ask_raw(answer)
    assert result.status == "critical"
    assert text in result.output


@pytest.mark.parametrize(("extra", "fine"), [(0, True), (1, False)])
def test_the_head_of_an_answer_is_bounded(extra: int, fine: bool) -> None:
    start, end = b"HTTP/1.1 200 OK\r\nA: ", b"\r\n\r\n"
    head = start + b"a" * (MAX_HEAD_BYTES - len(start) - len(end) + extra) + end
    reader = AnswerReader(OutputTail(10))
    with contextlib.suppress(RemoteProtocolError):
        for number in range(len(head)):
            reader._feed(head[number : number + 1])
    assert (reader.head is not None) is fine


def test_a_body_is_read_up_to_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "MAX_BODY_BYTES", 100_000)

    async def main() -> None:
        stream, tail = asyncio.StreamReader(), OutputTail(3)
        stream.feed_data(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 99_999)
        reader = AnswerReader(tail)
        reading = spawn(reader.read(stream), name="read")
        await turns()
        assert not reading.done()
        stream.feed_data(b"b")
        assert (await reading).status == 200
        assert tail.raw_text() == "aab"

    run(main)


def test_an_answer_of_the_100s_alone_is_none() -> None:
    result, url = ask_raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert result == ("critical", f"Get {url}: EOF: the connection was closed before an answer")


def test_a_request_with_a_line_break_is_not_made() -> None:
    with pytest.raises(ValueError, match="line break"):
        request_bytes("GET", "/", [("A", "b\r\nC: d")])
