from __future__ import annotations

from typing import Any

import pytest

from meshnode.base.errors import ConfigError
from meshnode.cli.acl_lookup import merged, service_identities


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("web", {"ServiceName": "web"}),
        ("web:", {"ServiceName": "web"}),
        ("web:dc1", {"ServiceName": "web", "Datacenters": ["dc1"]}),
        ("web:dc1,,dc2", {"ServiceName": "web", "Datacenters": ["dc1", "dc2"]}),
    ],
)
def test_a_service_identity_is_a_name_and_datacenters(text: str, identity: dict[str, Any]) -> None:
    assert service_identities([text]) == [identity]


@pytest.mark.parametrize("text", ["", ":dc1", "web:dc1:dc2"])
def test_what_is_no_service_identity_is_quoted(text: str) -> None:
    with pytest.raises(ConfigError, match=f"-service-identity: '{text}' is none: write NAME or NAME:"):
        service_identities([text])


@pytest.mark.parametrize(
    ("known", "added", "result"),
    [
        (None, [], []),
        ([{"ID": "1"}], [{"Name": "a"}], [{"ID": "1"}, {"Name": "a"}]),
        ([{"ID": "1", "Name": "a"}], [{"Name": "a"}, {"ID": "1"}], [{"ID": "1", "Name": "a"}]),
        ([], [{"Name": "a"}, {"Name": "a"}], [{"Name": "a"}]),
        ([{"ServiceName": "w"}], [{"ServiceName": "w"}], [{"ServiceName": "w"}]),
        ([{"ID": "", "Name": "a"}], [{"ID": "", "Name": "b"}], [{"ID": "", "Name": "a"}, {"ID": "", "Name": "b"}]),
    ],
)  # fmt: skip
def test_links_are_added_once(known: Any, added: Any, result: Any) -> None:
    assert merged(known, added) == result
