"""What is refused of an intention: every bound at its limit and one past it, every sentence with its field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from meshnode.intentions.model import HeaderMatch, HttpMatch, Intention, Permission
from meshnode.intentions.validate import (
    MAX_DESCRIPTION_CHARS,
    MAX_HEADER_MATCHES,
    MAX_META_KEY_CHARS,
    MAX_META_PAIRS,
    MAX_META_VALUE_CHARS,
    MAX_NAME_CHARS,
    MAX_PERMISSIONS,
    MAX_VALUE_CHARS,
    intention_fault,
)

GOOD = Intention("i", "web", "db", "allow")


def pairs(count: int) -> dict[str, str]:
    return {f"k{number}": "v" for number in range(count)}


def of(permission: Permission, **fields: Any) -> Intention:
    return Intention("i", "web", "db", permissions=(permission,), **fields)


def path(**conditions: Any) -> Intention:
    return of(Permission("allow", HttpMatch(**conditions)))


def header(**conditions: Any) -> Intention:
    return path(header=(HeaderMatch(**conditions),))


@pytest.mark.parametrize(
    "good",
    [
        GOOD,
        Intention("i", "*", "*", "deny"),
        Intention("i", "*", "*", "deny", "*", "*"),
        Intention("i", "web", "db", "deny", "ns1", "ns2"),
        replace(GOOD, source_name="a" * MAX_NAME_CHARS),
        replace(GOOD, source_name="größe_1.x"),
        replace(GOOD, description="d" * MAX_DESCRIPTION_CHARS),
        replace(GOOD, meta=pairs(MAX_META_PAIRS)),
        replace(GOOD, meta={"k" * MAX_META_KEY_CHARS: "v" * MAX_META_VALUE_CHARS}),
        replace(GOOD, default_addr="127.0.0.1", default_port=65535),
        replace(GOOD, audit=True),
        path(path_exact="/"),
        path(path_exact="/é x"),
        path(path_prefix="/" + "a" * (MAX_VALUE_CHARS - 1)),
        path(path_regex="/v[0-9]+/.*"),
        path(methods=("GET", "PUT")),
        header(name="X-Key", present=True),
        header(name="x", regex="a+", invert=True),
        path(header=(HeaderMatch("a", present=True),) * MAX_HEADER_MATCHES),
        Intention("i", "*", "db", permissions=(Permission("deny", HttpMatch("/a")),) * MAX_PERMISSIONS),
    ],
)
def test_what_is_in_order_is_taken(good: Intention) -> None:
    assert intention_fault(good) == ""


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (replace(GOOD, source_name=""), "SourceName must be set"),
        (replace(GOOD, source_ns=""), "SourceNS must be set"),
        (replace(GOOD, destination_name=""), "DestinationName must be set"),
        (replace(GOOD, destination_ns=""), "DestinationNS must be set"),
        (replace(GOOD, source_name="w*"), "SourceName: wildcard character '*' cannot be used with partial values"),
        (replace(GOOD, destination_ns="**"), "DestinationNS: wildcard character '*' cannot be used"),
        (replace(GOOD, source_ns="*"), "SourceName: exact value cannot follow wildcard namespace"),
        (replace(GOOD, destination_ns="*"), "DestinationName: exact value cannot follow wildcard namespace"),
        (replace(GOOD, source_name="a" * (MAX_NAME_CHARS + 1)), "SourceName has 257 characters: at most 256"),
        (replace(GOOD, source_name="a/b"), "SourceName 'a/b' can't be a name: leave out '/'"),
        (replace(GOOD, destination_name=" db"), "DestinationName ' db' can't be a name"),
        (replace(GOOD, destination_name="d\x1bb"), r"DestinationName 'd\x1bb' can't be a name"),
        (replace(GOOD, destination_name="\udcff"), r"DestinationName '\udcff' can't be a name"),
        (replace(GOOD, action=""), "Action must be set to 'allow' or 'deny'"),
        (replace(GOOD, action="ALLOW"), "Action must be set to 'allow' or 'deny'"),
        (replace(GOOD, source_type="x"), "SourceType must be set to 'consul'"),
        (replace(GOOD, description="d" * (MAX_DESCRIPTION_CHARS + 1)), "Description exceeds maximum length 512"),
        (replace(GOOD, meta=pairs(MAX_META_PAIRS + 1)), "Meta exceeds maximum element count 64"),
        (replace(GOOD, meta={"": "v"}), "Meta has a pair without a key"),
        (replace(GOOD, meta={"k" * (MAX_META_KEY_CHARS + 1): ""}), '..." exceeds maximum length 128'),
        (replace(GOOD, meta={"k": "v" * (MAX_META_VALUE_CHARS + 1)}),
         'Meta value for key "k" exceeds maximum length 512'),
        (replace(GOOD, default_port=65536), "DefaultPort 65536 is no port"),
        (replace(GOOD, default_port=-1), "DefaultPort -1 is no port"),
        (replace(GOOD, default_addr="a" * (MAX_NAME_CHARS + 1)), "DefaultAddr has 257 characters: at most 256"),
        (of(Permission("allow", HttpMatch("/")), action="deny"), "Action must be omitted if Permissions are specified"),
        (replace(path(path_exact="/"), destination_name="*"),
         "Permissions cannot be specified on intentions with wildcarded"),
        (Intention("i", "*", "db", permissions=(Permission("deny", HttpMatch("/a")),) * (MAX_PERMISSIONS + 1)),
         "Permissions has 65 entries: at most 64"),
        (of(Permission("", HttpMatch("/"))), "Permissions[0].Action must be set to 'allow' or 'deny'"),
        (path(), "Permissions[0].HTTP must not be empty"),
        (path(path_exact="/a", path_prefix="/a"), "Permissions[0].HTTP.PathExact, PathPrefix and PathRegex: only one"),
        (path(path_exact="a"), "Permissions[0].HTTP.PathExact must begin with '/'"),
        (path(path_prefix="/" + "a" * MAX_VALUE_CHARS), "PathPrefix has 1025 characters: at most 1024"),
        (path(path_prefix="/a/../b"), "PathPrefix '/a/../b' is never what a path is read as"),
        (path(path_exact="/a%2fb"), "PathExact '/a%2fb' is never what a path is read as"),
        (path(path_exact="/a;b"), "PathExact '/a;b' is never what a path is read as"),
        (path(path_exact="/a?b"), "PathExact '/a?b' is never what a path is read as"),
        (path(path_regex="("), "Permissions[0].HTTP.PathRegex: "),
        (path(path_regex="a)|(b"), "Permissions[0].HTTP.PathRegex: "),
        (path(methods=("get",)), "HTTP.Methods contains an invalid method 'get': use GET, HEAD"),
        (path(methods=("GET", "GET")), "HTTP.Methods contains a method twice"),
        (path(header=(HeaderMatch("a", present=True),) * (MAX_HEADER_MATCHES + 1)),
         "HTTP.Header has 17 entries: at most 16"),
        (header(name="", present=True), "Permissions[0].HTTP.Header[0].Name is required"),
        (header(name="a b", present=True), "Header[0].Name 'a b' can't be the name of a header"),
        (header(name="a"), "Header[0].Present, Exact, Prefix, Suffix and Regex: exactly one must be set, not 0"),
        (header(name="a", exact="1", prefix="2"), "exactly one must be set, not 2"),
        (header(name="a", exact="1" * (MAX_VALUE_CHARS + 1)), "Header[0].Exact has 1025 characters: at most 1024"),
        (header(name="a", regex="["), "Header[0].Regex: "),
    ],
)  # fmt: skip
def test_what_is_not_in_order_is_refused_by_the_name_of_its_field(bad: Intention, fault: str) -> None:
    assert fault in intention_fault(bad)


def test_every_fault_is_told_at_once() -> None:
    fault = intention_fault(Intention("i", "", "d*", ""))
    assert fault == (
        "SourceName must be set; DestinationName: wildcard character '*' cannot be used with partial values; "
        "Action must be set to 'allow' or 'deny'"
    )
