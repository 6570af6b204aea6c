"""What a log may show of a request."""

from __future__ import annotations

import pytest

from meshnode.http.redact import loggable_target


@pytest.mark.parametrize(
    ("path", "query", "shown"),
    [
        ("/v1/agent/self", "", "/v1/agent/self"),
        ("/v1/agent/self", "token=secret&a=b", "/v1/agent/self?token=<hidden>&a=b"),
        ("/x", "a&token=secret&token=two", "/x?a&token=<hidden>&token=<hidden>"),
        ("/x", "%74oke%6e=secret", "/x?%74oke%6e=<hidden>"),
        ("/x", "token", "/x?token"),
        ("/v1/acl/info/secret", "", "/v1/acl/info/<hidden>"),
        ("/v1/acl/destroy/sec/ret", "a=b", "/v1/acl/destroy/<hidden>?a=b"),
        ("/a\r\nGET /forged", "", "/a\\r\\nGET /forged"),
        ("/\udcff", "", "/\\udcff"),
    ],
)
def test_tokens_are_hidden_and_line_breaks_are_escaped(path: str, query: str, shown: str) -> None:
    assert loggable_target(path, query) == shown
    assert "secret" not in loggable_target(path, query)


def test_a_long_target_is_cut() -> None:
    assert len(loggable_target("/" + "a" * 5000, "")) == 1024 + 3
