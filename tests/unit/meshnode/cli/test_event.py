from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_stub import StubAgent

ID = "b54fe110-7af5-cafc-d1fb-afc8ba432b1c"


def test_the_event_is_fired_with_payload_and_filters_and_its_id_printed(agent: StubAgent, run: Any) -> None:
    agent.answer("PUT /v1/event/fire/deploy", {"ID": ID})
    done = run(
        "event", "-name=deploy", "-node=^web", "-service=api", "-tag=v1", "-datacenter=dc2", "two words"
    )
    assert (done.code, done.out, done.err) == (0, f"Event ID: {ID}\n", "")
    assert agent.last.query == {"node": "^web", "service": "api", "tag": "v1", "dc": "dc2"}
    assert agent.last.body == b"two words"


def test_a_name_is_one_segment_of_the_path(agent: StubAgent, run: Any) -> None:
    agent.answer("PUT /v1/event/fire/a%2Fb", {"ID": ID})
    assert run("event", "-name", "a/b").code == 0
    assert agent.last.body == b""


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "Event name must be specified (-name)"),
        (["-name=x", "-tag=v1"], "Cannot provide tag filter without service filter."),
        (["-name=x", "one", "two"], "Too many command line arguments"),
    ],
)
def test_what_cannot_be_fired_is_refused(agent: StubAgent, run: Any, args: list[str], words: str) -> None:
    done = run("event", *args)
    assert (done.code, done.out, agent.asked) == (1, "", [])
    assert words in done.err


def test_a_refusal_begins_as_consuls_does(agent: StubAgent, run: Any) -> None:
    agent.answer("PUT /v1/event/fire/x", b"rpc error making call: No cluster leader", status=500)
    assert run("event", "-name=x").err == (
        "Error firing event: Unexpected response code: 500 (rpc error making call: No cluster leader)\n"
    )
