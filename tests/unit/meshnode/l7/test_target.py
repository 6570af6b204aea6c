"""Targets, authorities, and the path that is decided about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.intentions.request import path_readings
from meshnode.l7.model import RefusalError
from meshnode.l7.target import check_authority, check_path, normal_path, split_target


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        ("/a?b", "x:80", ("x:80", "/a?b")),
        ("*", "x", ("x", "*")),
        ("http://x/a?b", "x", ("x", "/a?b")),
        ("HTTP://X", "x", ("X", "/")),
        ("https://x?a", "x", ("x", "/?a")),
        ("http://x/", None, ("x", "/")),
    ],
)
def test_each_form_of_a_target_gives_authority_and_path(
    target: str, host: str | None, expected: tuple[str, str]
) -> None:
    assert split_target(target, host, scheme="http") == ("http", *expected)


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("/", None),
        ("/", ""),
        ("http://x/", "y"),
        ("http://user@x/", None),
        ("http:///a", None),
        ("ftp://x/", "x"),
        ("x:443", "x"),
        ("a", "x"),
        ("/a#b", "x"),
        ("http://x/a#b", "x"),
        ("/\xe9", "x"),
    ],
)
def test_a_target_in_no_form_that_is_served_is_refused(target: str, host: str | None) -> None:
    with pytest.raises(RefusalError) as caught:
        split_target(target, host, scheme="http")
    assert caught.value.status == 400


@pytest.mark.parametrize("text", ["a", "a.b:80", "[::1]", "[::1]:80", "1.2.3.4:", "a_b"])
def test_an_authority_is_a_host_with_or_without_a_port(text: str) -> None:
    check_authority(text)


@pytest.mark.parametrize(
    "text", ["", "a b", "a/b", "u@a", "a:b", "a:123456", "[a", "a,b\n", "a?b", "a#", "é"]
)
def test_what_is_no_authority_is_refused(text: str) -> None:
    with pytest.raises(RefusalError):
        check_authority(text)


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/", "/"),
        ("/a/b/", "/a/b/"),
        ("//a///b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/../../a", "/a"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/%61dmin", "/admin"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/%2E./b", "/b"),
        ("/a%20b%c3%a9", "/a%20b%C3%A9"),
        ("/%7Ea", "/~a"),
        ("/a?x=//../%2f", "/a?x=//../%2f"),
        ("/a/../b?", "/b?"),
        ("/%25", "/%25"),
    ],
)
def test_a_path_is_normalised_and_its_query_is_not(path: str, normal: str) -> None:
    assert normal_path(path) == normal


@pytest.mark.parametrize(
    "path", ["/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/a%00", "/a%", "/a%2", "/a%zz", "*", "a"]
)
def test_a_path_that_servers_read_differently_is_refused(path: str) -> None:
    with pytest.raises(RefusalError) as caught:
        normal_path(path)
    assert caught.value.status == 400


PATHS = st.text(st.sampled_from("ab./%25eEfF?;"), max_size=20).map(lambda text: f"/{text}")


@given(PATHS)
def test_a_normal_path_is_its_own_normal_path(path: str) -> None:
    try:
        normal = normal_path(path)
    except RefusalError:
        return
    assert normal_path(normal) == normal
    check_path(normal)


@given(PATHS)
def test_a_normal_path_is_read_as_the_one_that_was_sent(path: str) -> None:
    """What an intention says of it is what it says of the path as it came."""
    try:
        normal = normal_path(path)
    except RefusalError:
        return
    assert path_readings(normal)[:1] == path_readings(path)[:1]
