"""HTTP checks against Python's own server: the request, the status, redirects."""

from __future__ import annotations

import base64

import pytest

from tests.unit.meshnode.runtime.checks.web_servers import ask, loops, web


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
