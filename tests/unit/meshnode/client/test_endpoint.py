from __future__ import annotations

import pytest

from meshnode.base.errors import ConfigError
from meshnode.client.endpoint import parse_endpoint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://10.0.0.1:8500", ("10.0.0.1", 8500, "", False)),
        ("https://node.example:10443", ("node.example", 10443, "", True)),
        ("https://node.example", ("node.example", 443, "", True)),
        ("http://[::1]:8500", ("::1", 8500, "", False)),
        ("unix:///run/consul.sock", ("", 0, "/run/consul.sock", False)),
    ],
)
def test_addresses_that_can_be_used(text: str, expected: tuple[str, int, str, bool]) -> None:
    found = parse_endpoint(text)
    assert (found.host, found.port, found.path, found.secure) == expected


@pytest.mark.parametrize(
    "text",
    [
        "http://",
        "ftp://a:1",
        "http://a:99999",
        "http://a:b",
        "http://[::1",
        "unix://",
        "http://a b:1",
        "http://a\n:1",
    ],
)
def test_addresses_that_cannot_are_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match=r"-http-addr: .* write "):
        parse_endpoint(text)
