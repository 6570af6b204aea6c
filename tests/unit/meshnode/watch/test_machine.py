from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.watch.machine import MAX_INDEX, Answer, Ask, Effect, Pause, RunHandler, Watch
from meshnode.watch.plan import parse_plan


def watching(**parameters: Any) -> Watch:
    return Watch(parse_plan(parameters or {"type": "nodes"}))


def answer(index: object, value: Any = None, status: int = 200, content_hash: str = "") -> Answer:
    return Answer(status, str(index), content_hash, json.dumps(value).encode())


def index_of(effects: list[Effect]) -> str | None:
    """The index that the last effect, a question, waits on."""
    asked = effects[-1]
    assert isinstance(asked, Ask)
    return dict(asked.query).get("index")


def payloads(effects: list[Effect]) -> list[Any]:
    return [effect.payload for effect in effects if isinstance(effect, RunHandler)]


def test_the_first_question_does_not_wait_and_the_next_ones_do() -> None:
    watch = watching()
    assert watch.start() == [Ask("/v1/catalog/nodes", ())]
    effects = watch.handle_answer(answer(7, ["n1"]))
    assert effects == [RunHandler("7", ["n1"]), Ask("/v1/catalog/nodes", (("index", "7"),))]


def test_equal_content_under_another_index_does_not_run_the_handler() -> None:
    watch = watching()
    watch.handle_answer(answer(7, ["n1"]))
    effects = watch.handle_answer(answer(9, ["n1"]))
    assert (payloads(effects), index_of(effects)) == ([], "9")
    assert payloads(watch.handle_answer(answer(12, ["n1", "n2"]))) == [["n1", "n2"]]


def test_an_answer_with_the_same_index_is_a_wait_that_ended() -> None:
    watch = watching()
    watch.handle_answer(answer(7, ["n1"]))
    assert watch.handle_answer(answer(7, ["other"])) == [Ask("/v1/catalog/nodes", (("index", "7"),))]


def test_an_index_that_goes_backwards_starts_again_at_0() -> None:
    watch = watching()
    watch.handle_answer(answer(70, ["n1"]))
    effects = watch.handle_answer(answer(3, ["n2"]))
    assert (payloads(effects), index_of(effects)) == ([["n2"]], "0")
    effects = watch.handle_answer(answer(3, ["n2"]))
    assert (payloads(effects), index_of(effects)) == ([], "3")


@pytest.mark.parametrize("index", ["", "0", "-1", "x", "1.5", str(MAX_INDEX + 1), "9" * 40, "٣"])
def test_an_answer_without_an_index_is_a_failure_and_not_a_busy_loop(index: str) -> None:
    (effect,) = watching().handle_answer(answer(index, []))
    assert isinstance(effect, Pause)
    assert "has no X-Consul-Index that can be waited on" in effect.reason


def test_pauses_grow_with_the_square_of_the_failures_up_to_three_minutes() -> None:
    watch = watching()
    seen = []
    for _ in range(8):
        (effect,) = watch.handle_failure("connection refused")
        assert isinstance(effect, Pause)
        assert effect.reason == "connection refused"
        seen.append(effect.seconds)
        assert isinstance(watch.handle_timer()[0], Ask)
    assert seen == [5, 20, 45, 80, 125, 180, 180, 180]
    watch.handle_answer(answer(1, []))
    assert watch.handle_failure("again") == [Pause(5.0, "again")]


def test_after_a_failure_the_question_does_not_wait_and_the_same_content_is_no_news() -> None:
    watch = watching()
    watch.handle_answer(answer(70, ["n1"]))
    watch.handle_answer(answer("", "No cluster leader", status=500))
    assert index_of(watch.handle_timer()) is None
    assert payloads(watch.handle_answer(answer(5, ["n1"]))) == []


def test_a_refusal_is_a_failure_that_quotes_it() -> None:
    (effect,) = watching().handle_answer(Answer(403, "", "", b"Permission denied\n"))
    assert effect == Pause(5.0, "Unexpected response code: 403 (Permission denied)")
    (effect,) = watching().handle_answer(Answer(404, "7", "", b""))
    assert isinstance(effect, Pause)


def test_a_key_that_is_missing_is_null_and_comes_and_goes() -> None:
    watch = watching(type="key", key="a")
    entry = {"LockIndex": 0, "Key": "a", "Flags": 0, "Value": "eA==", "CreateIndex": 3, "ModifyIndex": 3}
    assert payloads(watch.handle_answer(answer(1, status=404))) == [None]
    (payload,) = payloads(watch.handle_answer(answer(3, [entry])))
    assert payload["Value"] == "eA=="
    assert payloads(watch.handle_answer(answer(4, status=404))) == [None]


def test_what_is_watched_by_hash_waits_on_the_hash() -> None:
    watch = watching(type="agent_service", service_id="web")
    effects = watch.handle_answer(answer("", {"ID": "web"}, content_hash="c0ffee"))
    assert effects == [
        RunHandler("c0ffee", {"ID": "web"}),
        Ask("/v1/agent/service/web", (("hash", "c0ffee"),)),
    ]
    assert isinstance(watch.handle_answer(answer(7, {"ID": "web"}))[0], Pause)


ONE = "00000000-0000-0001-0000-000000000002"
TWO = "00000000-0000-0009-0000-000000000000"


def event(identifier: str) -> dict[str, Any]:
    return {"ID": identifier, "Name": "deploy", "Payload": None}


def test_of_events_only_the_later_ones_are_handed_on_though_their_index_is_no_order() -> None:
    watch = watching(type="event", name="deploy")
    assert payloads(watch.handle_answer(answer(1, []))) == [[]]
    assert payloads(watch.handle_answer(answer(9, [event(TWO)]))) == [[event(TWO)]]
    effects = watch.handle_answer(answer(3, [event(TWO), event(ONE)]))
    assert (payloads(effects), index_of(effects)) == ([[event(ONE)]], "3")
    watch.handle_failure("refused")
    assert index_of(watch.handle_timer()) == "3"


def test_when_the_last_event_is_forgotten_every_event_is_later() -> None:
    watch = watching(type="event")
    watch.handle_answer(answer(9, [event(TWO)]))
    assert payloads(watch.handle_answer(answer(3, [event("odd"), event(ONE)]))) == [
        [event("odd"), event(ONE)]
    ]
    assert isinstance(watching(type="event").handle_answer(answer(3, {}))[0], Pause)


def test_the_document_is_one_line_of_json() -> None:
    assert RunHandler("7", {"a": ["é\n"]}).document() == '{"a":["é\\n"]}\n'.encode()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5) | st.sampled_from([MAX_INDEX, MAX_INDEX + 1]),
            st.sampled_from([[], ["n1"], ["n2"]]),
            st.sampled_from([200, 200, 200, 500, 404, 0]),
        )
    ),
    st.sampled_from(["nodes", "event"]),
)
def test_whatever_comes_the_last_effect_goes_on_and_no_content_is_handled_twice_in_a_row(
    answers: list[tuple[int, list[str], int]], kind: str
) -> None:
    watch = watching(type=kind)
    effects = watch.start()
    handled: list[Any] = []
    for index, value, status in answers:
        assert isinstance(effects[-1], Ask | Pause)
        assert not any(isinstance(effect, Ask | Pause) for effect in effects[:-1])
        if isinstance(effects[-1], Pause):
            effects = watch.handle_timer()
        effects = watch.handle_answer(answer(index, value, status)) if status else watch.handle_failure("x")
        handled += payloads(effects)
    assert all(one != other for one, other in pairwise(handled))
