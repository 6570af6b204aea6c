from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import MeshError
from meshnode.cli.kv_pairs import key_path


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda key: not key.startswith("/")))
def test_every_key_has_a_path_that_says_the_same(key: str) -> None:
    path = key_path(key)
    assert path.isascii()
    assert not set(path) & set("?# \r\n")
    assert unquote(path) == "/v1/kv/" + key


@pytest.mark.parametrize("key", ["/", "/a", "//"])
def test_a_key_does_not_begin_with_a_slash(key: str) -> None:
    with pytest.raises(MeshError, match="Key must not begin with a '/'"):
        key_path(key)


def test_half_of_a_character_is_no_key() -> None:
    with pytest.raises(MeshError, match="is not Unicode text"):
        key_path("a\ud800")
