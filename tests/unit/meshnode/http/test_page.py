"""The web page as answers: what is found, what is not, and what comes with each file."""

from __future__ import annotations

import gzip

import pytest

from meshnode.base.errors import LocalProtocolError
from meshnode.http.message import Request, Response
from meshnode.http.page import POLICY, TYPES, Page
from meshnode.http.router import Outcome
from tests.support.http_agent import api_of

FILES = {"index.html": b"<p>" + b"x" * 2000, "app.js": b"1", "views/kv.js": b"2", "icon.svg": b"<svg/>"}


def ask(path: str, method: str = "GET", **headers: str) -> Response | None:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Page(FILES).answer(Request(method, path, headers=sent))


def found(path: str, method: str = "GET", **headers: str) -> Response:
    answer = ask(path, method, **headers)
    assert answer is not None
    return answer


def test_the_root_and_the_bare_name_lead_to_the_page() -> None:
    for path in ("/", "/ui"):
        answer = found(path)
        assert (answer.status, answer.headers) == (301, (("Location", "/ui/"),))


@pytest.mark.parametrize(
    ("path", "content", "media"),
    [
        ("/ui/", FILES["index.html"], "text/html; charset=utf-8"),
        ("/ui/index.html", FILES["index.html"], "text/html; charset=utf-8"),
        ("/ui/app.js", b"1", "text/javascript; charset=utf-8"),
        ("/ui/views/kv.js", b"2", "text/javascript; charset=utf-8"),
        ("/ui/icon.svg", b"<svg/>", "image/svg+xml"),
        ("/ui/dc1/services/web.v1", FILES["index.html"], "text/html; charset=utf-8"),
        ("/ui/../../etc/passwd", FILES["index.html"], "text/html; charset=utf-8"),
    ],
)
def test_a_file_has_its_type_and_any_other_place_is_the_page_itself(
    path: str, content: bytes, media: str
) -> None:
    answer = found(path)
    assert (answer.status, answer.body, answer.content_type) == (200, content, media)


@pytest.mark.parametrize("path", ["/ui/missing.js", "/ui/a/../app.js", "/ui/APP.JS", "/ui/x.map"])
def test_a_file_that_is_not_there_is_no_page(path: str) -> None:
    assert found(path).status == 404


@pytest.mark.parametrize("path", ["/v1/nothing", "/uix", "/u", "//ui/", "*", ""])
def test_other_paths_are_not_the_pages(path: str) -> None:
    assert ask(path) is None


def test_the_page_names_its_scripts_at_once_and_nothing_else_does() -> None:
    links = "</ui/app.js>; rel=modulepreload, </ui/views/kv.js>; rel=modulepreload"
    assert dict(found("/ui/").headers)["Link"] == links
    assert "Link" not in dict(found("/ui/app.js").headers)
    bare = Page({"index.html": b"x"}).answer(Request("GET", "/ui/"))
    assert bare is not None
    assert "Link" not in dict(bare.headers)


def test_every_answer_with_content_has_the_policy() -> None:
    for path in ("/ui/", "/ui/app.js", "/ui/missing.js"):
        headers = dict(found(path).headers)
        assert headers["Content-Security-Policy"] == POLICY
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
    assert "unsafe" not in POLICY
    assert POLICY.startswith("default-src 'none'")


def test_what_the_browser_has_is_not_sent_again() -> None:
    tag = dict(found("/ui/app.js").headers)["ETag"]
    for value in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        answer = found("/ui/app.js", if_none_match=value)
        assert (answer.status, answer.body, dict(answer.headers)["ETag"]) == (304, b"", tag)
    assert found("/ui/app.js", if_none_match='"other"').status == 200
    assert dict(found("/ui/views/kv.js").headers)["ETag"] != tag


def test_long_files_are_sent_compressed_to_those_who_take_it() -> None:
    answer = found("/ui/", accept_encoding="gzip, br")
    assert dict(answer.headers)["Content-Encoding"] == "gzip"
    assert gzip.decompress(answer.body) == FILES["index.html"]
    assert found("/ui/").body == FILES["index.html"]


def test_the_page_is_only_read() -> None:
    assert found("/ui/", "HEAD").status == 200
    assert found("/ui/", "OPTIONS").headers == (("Allow", "GET, HEAD, OPTIONS"),)
    for method in ("PUT", "POST", "DELETE"):
        answer = found("/ui/", method)
        assert (answer.status, answer.body) == (405, f"method {method} not allowed".encode())


def test_a_file_of_an_unknown_type_and_a_page_without_its_first_file_are_mistakes_of_ours() -> None:
    with pytest.raises(LocalProtocolError, match=r"x\.exe: a file of the web page of an unknown type"):
        Page({"index.html": b"", "x.exe": b""})
    with pytest.raises(LocalProtocolError, match=r"no index\.html"):
        Page({"app.js": b""})
    assert "svg" in TYPES


def test_the_api_has_the_page_only_where_it_was_given_one() -> None:
    api = api_of(None)
    assert _answered(api.handle(Request("GET", "/"))).body == b"Consul Agent"
    assert _answered(api.handle(Request("GET", "/ui/"))).status == 404


def _answered(outcome: Outcome) -> Response:
    assert isinstance(outcome, Response)
    return outcome
