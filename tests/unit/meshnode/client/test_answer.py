from __future__ import annotations

import pytest

from meshnode.base.errors import MeshError
from meshnode.client.answer import Answer, ApiError


@pytest.mark.parametrize(
    ("text", "index"), [("12", 12), ("", 0), ("-1", 0), ("x", 0), ("9" * 19, 10**19 - 1), ("9" * 20, 0)]
)
def test_an_index_is_a_number_or_none(text: str, index: int) -> None:
    assert Answer(200, {"x-consul-index": text}, b"").index == index


def test_json_and_statuses_are_checked() -> None:
    assert Answer(200, {}, b"").json() is None
    assert Answer(200, {}, b"[1]").json() == [1]
    for body in (b"<html>", b"[" * 100_000):
        with pytest.raises(MeshError, match="not JSON"):
            Answer(200, {}, body).json()
    with pytest.raises(ApiError, match=r"Unexpected response code: 403 \(Permission denied\)") as caught:
        Answer(403, {}, b"Permission denied\n").checked()
    assert caught.value.status == 403
    assert Answer(200, {}, b"1").checked().body == b"1"
