from __future__ import annotations

import pytest

from meshnode.base.errors import ConfigError, MeshError
from meshnode.cli.api import ApiClient, ApiError
from meshnode.client.settings import ApiSettings
from tests.support.http_stub import StubAgent


def client(agent: StubAgent, failing: str = "", **settings: str) -> ApiClient:
    return ApiClient(ApiSettings(address=f"http://{agent.address}", **settings), failing)


def test_a_request_carries_token_and_credentials(agent: StubAgent) -> None:
    agent.answer("GET /v1/x", {"a": 1})
    assert client(agent, token="secret", auth="me:pw").get_json("/v1/x", {"q": "a b"}) == {"a": 1}
    assert agent.last.headers["X-Consul-Token"] == "secret"
    assert agent.last.headers["Authorization"] == "Basic bWU6cHc="
    assert agent.last.query == {"q": "a b"}
    client(agent, auth="me").call("GET", "/v1/x")
    assert agent.last.headers["Authorization"] == "Basic bWU6"


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "a\n", "tokén"])
def test_a_token_that_would_break_a_header_is_refused(agent: StubAgent, token: str) -> None:
    with pytest.raises(ConfigError, match="token"):
        client(agent, token=token).call("GET", "/v1/x")
    assert agent.asked == []


def test_an_error_status_keeps_its_number_and_text(agent: StubAgent) -> None:
    agent.answer("PUT /v1/x", b"it broke\n", status=500)
    with pytest.raises(ApiError) as caught:
        client(agent, "Error doing").call("PUT", "/v1/x")
    assert str(caught.value) == "Error doing: Unexpected response code: 500 (it broke)"
    assert (caught.value.status, caught.value.body) == (500, "it broke")


def test_what_is_no_json_is_no_agent(agent: StubAgent) -> None:
    agent.answer("GET /v1/x", b"<html>")
    with pytest.raises(MeshError, match="is no agent"):
        client(agent).get_json("/v1/x")


def test_a_stream_gives_the_pieces_as_they_come(agent: StubAgent) -> None:
    agent.answer("GET /v1/log", [b"one\n", b"two\n"])
    assert b"".join(client(agent).stream("/v1/log", {})) == b"one\ntwo\n"


def test_json_is_sent_and_the_answer_decoded(agent: StubAgent) -> None:
    agent.answer("PUT /v1/x", {"ID": "1"})
    client = ApiClient(ApiSettings(address=f"http://{agent.address}"))
    assert client.send_json("PUT", "/v1/x", {"a": 1}, [("k", "v")]) == {"ID": "1"}
    assert (agent.last.body, agent.last.query) == (b'{"a": 1}', {"k": "v"})
    client.send_json("PUT", "/v1/x", None)
    assert agent.last.body == b""
    agent.answer("PUT /v1/x", b"<html>")
    with pytest.raises(MeshError, match=r"what answers at .* is no agent: /v1/x is not JSON"):
        client.send_json("PUT", "/v1/x", {})
