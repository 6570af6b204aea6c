from __future__ import annotations

import pytest

from meshnode.base.errors import MeshError
from meshnode.local.parse import parse_check
from meshnode.local.url import without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://a/b", "http://a/b"),
        ("http://me@a/b", "http://me@a/b"),
        ("http://me:pw@a:1/b?c=d", "http://me:xxxxx@a:1/b?c=d"),
        ("http://me:pw@[::1/b", "http://me:xxxxx@[::1/b"),
        ("curl http://me:pw@a/ https://you:pw@b/", "curl http://me:xxxxx@a/ https://you:xxxxx@b/"),
        ("mail me@a: now", "mail me@a: now"),
    ],
)
def test_a_password_in_a_url_is_never_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize("url", ["ftp://me:secret@a/", "http://me:secret@a /", "http://me:secret@a:0/"])
def test_a_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(MeshError) as refused:
        parse_check({"Name": "web", "HTTP": url, "Interval": "10s"})
    assert "me:xxxxx@a" in str(refused.value)
    assert "secret" not in str(refused.value)
