"""Answers that are kept: rendered again when, and only when, what they show is another."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from meshnode.http.context import Context
from meshnode.http.message import Request
from meshnode.http.view import HttpSettings
from tests.support.http_agent import FakeView

PLAIN, PRETTY = Request("GET", "/"), Request("GET", "/", "pretty")


@pytest.fixture
def context() -> Context:
    view: Any = FakeView(settings=HttpSettings())
    return Context(view, random.Random(1))


@pytest.mark.parametrize("request_", [PLAIN, PRETTY], ids=["plain", "pretty"])
def test_an_object_that_is_the_same_is_the_same_answer(context: Context, request_: Request) -> None:
    first = context.json_members(request_, "s", {"A": {"x": [1]}, "B": None})
    assert context.json_members(request_, "s", {"A": {"x": [1]}, "B": None}) is first
    assert first.body == context.json(request_, {"A": {"x": [1]}, "B": None}).body


@pytest.mark.parametrize(
    "changed",
    [
        {"A": {"x": [2]}, "B": None},
        {"A": {"x": [1]}, "B": False},
        {"A": {"x": [1]}},
        {"A": {"x": [1]}, "B": None, "C": 1},
        {"B": None, "A": {"x": [1], "y": 0}},
    ],
)
def test_each_change_is_shown_at_once_and_so_is_the_way_back(
    context: Context, changed: dict[str, Any]
) -> None:
    before = {"A": {"x": [1]}, "B": None}
    first = context.json_members(PLAIN, "s", before)
    assert json.loads(context.json_members(PLAIN, "s", changed).body) == changed
    again = context.json_members(PLAIN, "s", before)
    assert again.body == first.body


def test_slots_and_the_two_forms_do_not_mix(context: Context) -> None:
    one = context.json_members(PLAIN, "one", {"A": 1})
    two = context.json_members(PLAIN, "two", {"A": 2})
    pretty = context.json_members(PRETTY, "one", {"A": 1})
    assert (one.body, two.body, pretty.body) == (b'{"A":1}', b'{"A":2}', b'{\n    "A": 1\n}\n')
