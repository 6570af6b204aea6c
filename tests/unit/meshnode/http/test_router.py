"""Which route a path finds, and what is said when there is none."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.http.message import Request, Response
from meshnode.http.router import Route, Router
from meshnode.http.routes import ROUTES
from meshnode.http.view import HttpSettings
from tests.support.http_agent import FakeView, api_of, run


def answer(method: str, path: str, view: FakeView | None = None, query: str = "") -> Response:
    found, _ = run(api_of(view), Request(method, path, query))
    assert isinstance(found, Response)
    return found


@pytest.mark.parametrize(
    ("path", "pattern", "param"),
    [
        ("/v1/agent/self", "/v1/agent/self", ""),
        ("/v1/agent/join/10.0.0.1", "/v1/agent/join/:address", "10.0.0.1"),
        ("/v1/agent/join/", "/v1/agent/join/:address", ""),
        ("/v1/kv/a/b/c/d/e/f/g/h/i/j", "/v1/kv/*key", "a/b/c/d/e/f/g/h/i/j"),
        ("/v1/kv//a/../b", "/v1/kv/*key", "/a/../b"),
        ("/v1/agent/service/web", "/v1/agent/service/:id", "web"),
        ("/v1/agent/service/register", "/v1/agent/service/register", ""),
        ("/v1/agent/service/deregister/x", "/v1/agent/service/deregister/:id", "x"),
        ("/v1/query/abc", "/v1/query/:uuid", "abc"),
        ("/v1/query/abc/execute", "/v1/query/:uuid/execute", "abc"),
        ("/v1/query//execute", "/v1/query/:uuid", "/execute"),
        ("/v1/connect/intentions/check", "/v1/connect/intentions/check", ""),
        ("/v1/connect/intentions/0-1", "/v1/connect/intentions/:uuid", "0-1"),
        ("/v1/agent", None, ""),
        ("/v1/AGENT/self", None, ""),
        ("", None, ""),
    ],
)
def test_a_path_finds_its_route_and_what_is_left_open(path: str, pattern: str | None, param: str) -> None:
    route, rest = Router(ROUTES).find(path)
    assert (route.pattern if route else None, rest) == (pattern, param)


def test_a_known_route_that_is_not_built_says_so() -> None:
    route = Route("/v1/later/:name", {"GET": None, "PUT": lambda _context, _request: Response()})
    context: Any = None
    for method in ("GET", "HEAD"):
        response = route.handler(method)(context, Request(method, "/v1/later/x"))
        assert isinstance(response, Response)
        assert response.status == 501
        assert response.body.decode() == f"{method} /v1/later/:name is not in this release of meshnode"
    found = route.handler("PUT")(context, Request("PUT", "/v1/later/x"))
    assert isinstance(found, Response)
    assert found.status == 200


def test_head_is_get_without_its_body_where_there_is_a_get() -> None:
    assert answer("HEAD", "/v1/agent/self").status == 200
    assert answer("HEAD", "/v1/agent/leave").status == 405


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.pattern)
def test_options_and_wrong_methods_name_the_methods_allowed(route: Route) -> None:
    path = route.prefix + "x" + route.suffix if route.is_open else route.pattern
    options = answer("OPTIONS", path)
    assert (options.status, options.body) == (200, b"")
    refused = answer("PATCH", path)
    assert (refused.status, refused.body) == (405, b"method PATCH not allowed")
    assert options.headers == refused.headers == (("Allow", ",".join(["OPTIONS", *route.methods])),)


@pytest.mark.parametrize(
    ("path", "query", "status", "location"),
    [
        ("/nothing", "", 404, None),
        ("/v1/nothing", "", 404, None),
        ("/v2/agent/self", "", 404, None),
        ("/v1/agent/self/", "", 404, None),
        ("//v1/agent/self", "a=b", 301, "/v1/agent/self?a=b"),
        ("/v1/./agent/x/../self", "", 301, "/v1/agent/self"),
        ("//v1/..", "", 301, "/"),
        ("/v1/kv", "", 301, "/v1/kv/"),
        ("//evil.example/v1/../..", "", 301, "/"),
        ("//v1/agent/join/a\r\nX: y", "", 301, "/v1/agent/join/a%0D%0AX%3A%20y"),
    ],
)
def test_a_path_without_a_route_is_not_found_or_sent_to_its_clean_form(
    path: str, query: str, status: int, location: str | None
) -> None:
    response = answer("GET", path, query=query)
    assert (response.status, response.body, dict(response.headers).get("Location")) == (status, b"", location)


def test_the_root_says_what_this_is() -> None:
    assert answer("GET", "/").body == b"Consul Agent"


def test_a_path_of_many_slashes_is_searched_only_as_deep_as_patterns_go() -> None:
    assert answer("GET", "/" * 60_000).status == 301
    assert Router(ROUTES).find("/v1/kv/" + "a/" * 30_000)[1] == "a/" * 30_000


def test_blocked_endpoints_are_refused_before_their_method_is_looked_at() -> None:
    view = FakeView(settings=HttpSettings(block_endpoints=("/v1/agent/m", "/v1/event/list")))
    for method in ("GET", "PATCH", "OPTIONS"):
        response = answer(method, "/v1/agent/members", view)
        assert (response.status, response.body) == (403, b"Endpoint is blocked by agent configuration")
    assert answer("GET", "/v1/agent/self", view).status == 200


def test_no_way_of_writing_a_path_gets_around_a_block() -> None:
    view = FakeView(settings=HttpSettings(block_endpoints=("/v1/agent/self",)))
    for path in ("//v1/agent/self", "/v1//agent/self", "/v1/agent/../agent/self", "/v1/./agent/self"):
        assert answer("GET", path, view).status in (301, 404)


def test_new_settings_count_from_the_next_request_on() -> None:
    view = FakeView()
    api = api_of(view)
    assert run(api, Request("GET", "/v1/agent/self"))[0].status == 200
    view.settings = HttpSettings(block_endpoints=("/v1/",), response_headers={"X-A": "b"})
    assert run(api, Request("GET", "/v1/agent/self"))[0].status == 403
    assert b"X-A: b\r\n" in api.heads.render(200, "text/plain")
