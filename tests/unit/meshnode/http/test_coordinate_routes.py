"""``/v1/coordinate``: shapes, bad input, who may."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL
from tests.support.state_api import Grants, StateApi, json_of

COORD = {"Vec": [0.5, 0, 0, 0, 0, 0, 0, -1], "Error": 1.5, "Adjustment": 0.25, "Height": 0.125}
ROW = (
    '{"Node":"n1","Segment":"","Coord":{"Vec":[0.5,0.0,0.0,0.0,0.0,0.0,0.0,-1.0],"Error":1.5,"Adjustment":0.25,'
    '"Height":0.125}}'
)


@pytest.fixture(params=[False, True], ids=["server", "client"])
def api(request: pytest.FixtureRequest) -> StateApi:
    api = StateApi(client=request.param)
    api.put("/v1/catalog/register", {"Node": "n1", "Address": "10.0.0.1"})
    response = api.put("/v1/coordinate/update", {"Node": "n1", "Coord": COORD})
    assert (response.status, response.body) == (200, b"")
    return api


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("nodes", f"[{ROW}]"),
        ("node/n1", f"[{ROW}]"),
        ("nodes?segment=", f"[{ROW}]"),
        ("nodes?segment=a", "[]"),
    ],
)
def test_an_answer_has_consuls_names_order_and_types(api: StateApi, path: str, expected: str) -> None:
    response = api.get(f"/v1/coordinate/{path}")
    assert (response.status, response.body.decode()) == (200, expected)


@pytest.mark.parametrize(
    ("path", "status"), [("node/nobody", 404), ("node/n1?segment=a", 404), ("node/", 400)]
)
def test_a_node_without_a_coordinate_is_not_found(api: StateApi, path: str, status: int) -> None:
    assert api.get(f"/v1/coordinate/{path}").status == status


def test_the_coordinate_of_a_node_that_is_not_registered_is_passed_over(api: StateApi) -> None:
    assert api.put("/v1/coordinate/update", {"Node": "ghost", "Coord": COORD}).status == 200
    assert len(api.json("/v1/coordinate/nodes")) == 1


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"Node": "n1"}, "Coord: is missing"),
        ({"Node": 1, "Coord": COORD}, "Node: expected string, got number"),
        ({"Node": "n1", "Segment": 1, "Coord": COORD}, "Segment: expected string, got number"),
        ({"Node": "n1", "Coord": 1}, "Coord: expected object, got number"),
        ({"Node": "n1", "Coord": {}}, "Coord.Vec: expected list, got null"),
        ({"Node": "n1", "Coord": {"Vec": "x"}}, "Coord.Vec: expected list, got string"),
        ({"Node": "n1", "Coord": {"Vec": ["x"]}}, "Coord.Vec[0]: expected number, got string"),
        *(({"Node": "n1", "Coord": {**COORD, name: wrong}}, f"Coord.{name}: expected number, got ")
          for name in ("Error", "Adjustment", "Height") for wrong in ("1", True, [], {})),
        ({"Node": "n1", "Coord": {**COORD, "Error": 10**390}}, "Coord.Error: is too large a number"),
    ],
)  # fmt: skip
def test_a_field_of_a_wrong_type_is_named(api: StateApi, body: Any, sentence: str) -> None:
    response = api.put("/v1/coordinate/update", body)
    text = response.body.decode()
    assert (response.status, text.startswith(f"Request decode failed: {sentence}")) == (400, True), text


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"Coord": COORD}, "Must provide Node"),
        ({"Node": "n1", "Coord": {"Vec": [1.0]}}, "incompatible coordinate"),
    ],
)
def test_a_coordinate_that_is_none_is_refused(api: StateApi, body: Any, sentence: str) -> None:
    response = api.put("/v1/coordinate/update", body)
    assert (response.status, sentence in response.body.decode()) == (500, True)


def test_a_waiting_reader_hears_of_its_node() -> None:
    api = StateApi()
    for node in ("n1", "n2"):
        api.put("/v1/catalog/register", {"Node": node, "Address": "10.0.0.1"})
    every, one, other = (
        api.blocked(f"/v1/coordinate/{path}?index=2") for path in ("nodes", "node/n1", "node/n2")
    )
    api.put("/v1/coordinate/update", {"Node": "n1", "Coord": COORD})
    assert every.answer is not None
    assert one.answer is not None
    assert json_of(one.answer) == json_of(every.answer)
    assert other.answer is None


@pytest.mark.parametrize(
    ("token", "rows", "node", "update"),
    [("", 0, 403, 403), ("r", 1, 200, 403), ("w", 1, 200, 200), ("all", 1, 200, 200), ("other", 0, 403, 403)],
)
def test_who_may(api: StateApi, token: str, rows: int, node: int, update: int) -> None:
    api.tokens = {"": Grants(), "r": Grants.of("node:n1:read"), "w": Grants.of("node:n1:write"), "all": ALLOW_ALL,
                  "other": Grants.of("node:n2:write")}  # fmt: skip
    assert len(api.json("/v1/coordinate/nodes", token=token)) == rows
    assert api.get("/v1/coordinate/node/n1", token=token).status == node
    assert api.put("/v1/coordinate/update", {"Node": "n1", "Coord": COORD}, token=token).status == update


def test_the_name_of_a_node_in_other_letters_takes_the_same_right(api: StateApi) -> None:
    api.tokens = {"": Grants.of("node:N1:write")}
    assert api.put("/v1/coordinate/update", {"Node": "N1", "Coord": COORD}).status == 403
    assert api.get("/v1/coordinate/node/N1").status == 403
