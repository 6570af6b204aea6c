"""``/v1/event``: firing, listing and blocking on an index that is no counter."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from meshnode.control.user_event import UserEvent
from meshnode.http.effects import FireEvent, WaitForEvents
from meshnode.http.message import Request
from meshnode.http.user_events import event_index
from tests.support.http_agent import EVENT_ID, FakeView, api_of, run


def event(number: int, name: str = "deploy") -> UserEvent:
    return UserEvent(f"00000000-0000-0000-0000-0000000000{number:02x}", name, b"")


def index_of(response: Any) -> str:
    return dict(response.headers)["X-Consul-Index"]


def test_firing_gives_the_event_that_was_fired() -> None:
    request = Request("PUT", "/v1/event/fire/deploy", "node=n&service=s&tag=t&dc=dc2&token=k", body=b"\x00hi")
    wanted = UserEvent("", "deploy", b"\x00hi", "n", "s", "t")
    response, effects = run(api_of(), request, replace(wanted, event_id=EVENT_ID))
    assert effects == [FireEvent(wanted, "dc2", "k")]
    assert json.loads(response.body) == {
        "ID": EVENT_ID, "Name": "deploy", "Payload": "AGhp", "NodeFilter": "n", "ServiceFilter": "s", "TagFilter": "t",
        "Version": 1, "LTime": 0,
    }  # fmt: skip


def test_no_payload_is_null() -> None:
    response, _ = run(api_of(), Request("PUT", "/v1/event/fire/x"), event(1))
    assert json.loads(response.body)["Payload"] is None


@pytest.mark.parametrize(
    ("path", "query", "reason"),
    [
        ("/v1/event/fire/", "", "Missing name"),
        ("/v1/event/fire/x", "node=[", "Invalid node filter: "),
        ("/v1/event/fire/x", "tag=a", "Cannot provide tag filter without service filter"),
    ],
)
def test_an_event_that_makes_no_sense_is_not_fired(path: str, query: str, reason: str) -> None:
    response, effects = run(api_of(), Request("PUT", path, query))
    assert (response.status, effects) == (400, [])
    assert response.body.decode().startswith(reason)


def test_the_list_is_oldest_first_by_name_with_the_index_of_its_last() -> None:
    view = FakeView()
    for each in (event(1), event(2, "other"), event(3)):
        view.events.append(each)
    response, _ = run(api_of(view), Request("GET", "/v1/event/list"))
    assert [e["ID"][-2:] for e in json.loads(response.body)] == ["01", "02", "03"]
    assert index_of(response) == "3"
    response, _ = run(api_of(view), Request("GET", "/v1/event/list", "name=other"))
    assert ([e["Name"] for e in json.loads(response.body)], index_of(response)) == (["other"], "2")
    response, _ = run(api_of(view), Request("GET", "/v1/event/list", "name=none"))
    assert (response.body, index_of(response)) == (b"[]", "1")


def test_an_index_that_differs_is_answered_at_once_even_when_it_is_larger() -> None:
    view = FakeView()
    view.events.append(event(5))
    for index in (4, 6):
        _, effects = run(api_of(view), Request("GET", "/v1/event/list", f"index={index}"))
        assert effects == []


def test_an_equal_index_blocks_until_an_event_of_that_name_comes() -> None:
    view = FakeView()
    view.events.append(event(5))
    steps = api_of(view).handle(Request("GET", "/v1/event/list", "index=5&wait=16s&name=deploy"))
    assert not isinstance(steps, tuple)
    waited = next(steps)  # type: ignore[arg-type]
    assert isinstance(waited, WaitForEvents)
    assert (waited.generation, 16 <= waited.timeout <= 17) == (1, True)
    view.events.append(event(9, "other"))
    view.now = 6.0
    again = steps.send(None)  # type: ignore[union-attr]
    assert (again.generation, round(waited.timeout - again.timeout, 6)) == (2, 6.0)
    view.events.append(event(7))
    with pytest.raises(StopIteration) as end:
        steps.send(None)  # type: ignore[union-attr]
    assert index_of(end.value.value) == "7"


def test_a_wait_that_ends_gives_the_same_index_again() -> None:
    view = FakeView()
    steps = api_of(view).handle(Request("GET", "/v1/event/list", "index=1&wait=1s"))
    next(steps)  # type: ignore[arg-type]
    view.now = 2.0
    with pytest.raises(StopIteration) as end:
        steps.send(None)  # type: ignore[union-attr]
    assert (end.value.value.status, index_of(end.value.value)) == (200, "1")


def test_bad_index_and_wait_are_refused() -> None:
    for query, text in (("index=x", b"Invalid index"), ("wait=x", b"Invalid wait time")):
        response, _ = run(api_of(), Request("GET", "/v1/event/list", query))
        assert (response.status, response.body) == (400, text)


def test_the_index_of_the_event_id_used_here_is_stable() -> None:
    assert event_index([replace(event(1), event_id=EVENT_ID)]) == 0xB54FE1107AF5CAFC ^ 0xD1FBAFC8BA432B1C
