"""How a request may be read, and what a permission is about: the tricks that paths are known for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.base.regexp import Work
from meshnode.intentions.model import HeaderMatch, HttpMatch
from meshnode.intentions.request import (
    MAX_HEADERS,
    MAX_PATH_CHARS,
    MAX_REGEXP_STEPS,
    HttpRequest,
    Reading,
    fits,
    path_readings,
    readings,
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ("/",)),
        ("/a/b", ("/a/b",)),
        ("/a/b/", ("/a/b/",)),
        ("/a?x=/../b", ("/a",)),
        ("/a#/../b", ("/a",)),
        ("//a///b//", ("/a/b/",)),
        ("/a/./b/.", ("/a/b/",)),
        ("/a/../b", ("/b",)),
        ("/../../a", ("/a",)),
        ("/a/..", ("/",)),
        ("/...", ("/...",)),
        ("/%61dmin", ("/admin",)),
        ("/a%20b", ("/a b",)),
        ("/%c3%a9", ("/é",)),
        ("/a/%2e%2e/b", ("/b",)),
        ("/a/.%2E/b", ("/b",)),
        ("/a%2fb", ("/a/b", "/a%2Fb")),
        ("/a/..%2fb", ("/b", "/a/..%2Fb")),
        ("/a/%252e%252e/b", ("/a/%2e%2e/b", "/b")),
        ("/a\\..\\b", ("/a\\..\\b", "/b")),
        ("/a%5c..%5cb", ("/a\\..\\b", "/b")),
        ("/a;x=1/b", ("/a;x=1/b", "/a/b")),
        ("/a/..;/b", ("/a/..;/b", "/b")),
        ("/a/%2e%2e;x/b", ("/a/..;x/b", "/b")),
        ("/100%25", ("/100%",)),
        ("/a%3fb/..", ("/", "/a")),
        ("/a%3fb", ("/a?b", "/a")),
        ("/a%2523b", ("/a%23b", "/a")),
    ],
)
def test_a_path_is_read_in_every_way_that_servers_do(path: str, expected: tuple[str, ...]) -> None:
    assert path_readings(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "", "a", "*", "http://host/a", "\\a", "?x", "/%", "/%2", "/%zz", "/%u002e", "/%00", "/a%0a", "/a%7f", "/a\n",
        "/%ff", "/%c0%ae%c0%ae/", "/%c0%af", "/a\udcff", "/%25252525252e", "/" + "a" * MAX_PATH_CHARS,
        "/%2500",
    ],
)  # fmt: skip
def test_what_no_two_servers_agree_on_has_no_reading(path: str) -> None:
    assert path_readings(path) == ()


def test_a_path_may_have_just_so_many_characters() -> None:
    assert path_readings("/" + "a" * (MAX_PATH_CHARS - 1))


@given(
    st.lists(
        st.sampled_from(["/", ".", "..", "a", "%2e", "%2f", "%5c", "\\", ";x", "%", "%25", "é", "?"])
    ).map("".join)
)
def test_every_reading_is_a_clean_path(tail: str) -> None:
    for path in path_readings("/" + tail):
        assert path.startswith("/")
        assert not re.search(r"//|/\.\.?(/|$)|[\x00-\x1f\x7f]", path)


@given(st.text(alphabet="/.ab%25eE2fF\\;", max_size=20))
def test_a_reading_that_is_plain_reads_as_itself(tail: str) -> None:
    for path in path_readings("/" + tail):
        if not set(path) & set("%\\;"):
            assert path_readings(path) == (path,)


def test_the_method_is_in_upper_case_and_header_names_are_in_lower_case() -> None:
    request = HttpRequest("get", "/a", ((" X-Key ", " v "),))
    assert readings(request) == (Reading("GET", "/a", {"x-key": "v"}),)


def test_a_repeated_header_is_read_as_all_of_it_as_the_first_and_as_the_last() -> None:
    request = HttpRequest("GET", "/", (("X-A", "1"), ("x-a", "2"), ("y", "3")))
    assert [way.headers for way in readings(request)] == [
        {"x-a": "1,2", "y": "3"},
        {"x-a": "1", "y": "3"},
        {"x-a": "2", "y": "3"},
    ]


def test_too_many_headers_have_no_reading() -> None:
    headers = tuple((f"h{number}", "") for number in range(MAX_HEADERS + 1))
    assert readings(HttpRequest("GET", "/", headers)) == ()
    assert readings(HttpRequest("GET", "/", headers[1:]))


READING = Reading("GET", "/v1/kv/a", {"x-key": "secret-1", "empty": ""})


@pytest.mark.parametrize(
    ("http", "expected"),
    [
        (HttpMatch(path_exact="/v1/kv/a"), True),
        (HttpMatch(path_exact="/v1/kv"), False),
        (HttpMatch(path_prefix="/v1"), True),
        (HttpMatch(path_prefix="/v1/kv/a/"), False),
        (HttpMatch(path_regex="/v[0-9]/kv/.*"), True),
        (HttpMatch(path_regex="/v1"), False),
        (HttpMatch(path_regex="kv"), False),
        (HttpMatch(path_regex="/v1|.*"), True),
        (HttpMatch(path_regex="(?i)/V1/KV/A"), True),
        (HttpMatch(methods=("PUT", "GET")), True),
        (HttpMatch(methods=("get",)), True),
        (HttpMatch(methods=("PUT",)), False),
        (HttpMatch(path_prefix="/v1", methods=("PUT",)), False),
        (HttpMatch(header=(HeaderMatch("X-Key", present=True),)), True),
        (HttpMatch(header=(HeaderMatch("empty", present=True),)), True),
        (HttpMatch(header=(HeaderMatch("none", present=True),)), False),
        (HttpMatch(header=(HeaderMatch("none", present=True, invert=True),)), True),
        (HttpMatch(header=(HeaderMatch("x-key", exact="secret-1"),)), True),
        (HttpMatch(header=(HeaderMatch("x-key", exact="secret"),)), False),
        (HttpMatch(header=(HeaderMatch("x-key", exact="secret", invert=True),)), True),
        (HttpMatch(header=(HeaderMatch("none", exact="secret", invert=True),)), True),
        (HttpMatch(header=(HeaderMatch("x-key", prefix="secret"),)), True),
        (HttpMatch(header=(HeaderMatch("x-key", prefix="ecret"),)), False),
        (HttpMatch(header=(HeaderMatch("x-key", suffix="-1"),)), True),
        (HttpMatch(header=(HeaderMatch("x-key", suffix="secret"),)), False),
        (HttpMatch(header=(HeaderMatch("x-key", regex="secret-[0-9]"),)), True),
        (HttpMatch(header=(HeaderMatch("x-key", regex="secret"),)), False),
        (HttpMatch(header=(HeaderMatch("x-key", present=True), HeaderMatch("none", present=True))), False),
    ],
)
def test_a_permission_is_about_a_request_when_all_conditions_hold(http: HttpMatch, expected: bool) -> None:
    assert fits(http, READING, Work(MAX_REGEXP_STEPS)) is expected


@pytest.mark.parametrize(
    "http",
    [
        HttpMatch(path_regex="(" * 3),
        HttpMatch(path_regex="a)|(.*"),
        HttpMatch(path_regex="(.*.*.*.*.*.*.*.*.*.*.*.*.*.*)*x"),
        HttpMatch(header=(HeaderMatch("x-key", regex="["),)),
        HttpMatch(header=(HeaderMatch("x-key"),)),
    ],
    ids=lambda http: http.path_regex or "header",
)  # fmt: skip
def test_a_condition_that_cannot_be_tried_is_an_error_and_never_no(http: HttpMatch) -> None:
    with pytest.raises(ConfigError):
        fits(http, Reading("GET", "/" + "a" * 8000, {"x-key": "v"}), Work(MAX_REGEXP_STEPS))
