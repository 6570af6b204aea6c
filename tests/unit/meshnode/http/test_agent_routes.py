"""``/v1/agent``: shapes, effects and refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.metrics import Metrics
from meshnode.http.effects import ForceLeave, Join, Leave, Reload, StreamLog
from meshnode.http.message import Request, StreamResponse
from meshnode.http.view import HttpSettings
from tests.support.http_agent import FakeView, api_of, member, run


def ask(
    method: str, path: str, query: str = "", *outcomes: Any, view: FakeView | None = None
) -> tuple[Any, list[Any]]:
    return run(api_of(view), Request(method, path, query), *outcomes)


def test_self_has_consuls_parts_and_meshnodes() -> None:
    response, _ = ask("GET", "/v1/agent/self")
    body = json.loads(response.body)
    assert list(body) == ["Config", "DebugConfig", "Coord", "Member", "Stats", "Meta", "Meshnode"]
    assert set(body["Config"]) == {"Datacenter", "NodeName", "NodeID", "Revision", "Server", "Version"}
    keys = {"GossipKeyFingerprints", "WanGossipKeyFingerprints"}
    assert set(body["Meshnode"]) == {"Version", "ConfigDigest", "Certificates"} | keys
    assert response.content_type == "application/json"


def test_members_have_consuls_names_and_types() -> None:
    body = json.loads(ask("GET", "/v1/agent/members")[0].body)
    assert body[1] == {
        "Name": "node2", "Addr": "10.0.0.2", "Port": 8301,
        "Tags": {"role": "consul", "dc": "dc1", "port": "8300", "id": "id-of-node2", "vsn": "2"}, "Status": 4,
        "ProtocolMin": 1, "ProtocolMax": 5, "ProtocolCur": 2, "DelegateMin": 2, "DelegateMax": 5, "DelegateCur": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "names"),
    [("", ["node1", "node2"]), ("wan=1", ["node1.dc1"]), ("wan=false", ["node1.dc1"]), ("wan", ["node1", "node2"]),
     ("wan=", ["node1", "node2"]), ("segment=_all", ["node1", "node2"]), ("wan=1&segment=_all", ["node1.dc1"])],
)  # fmt: skip
def test_members_are_of_the_pool_that_was_asked_for(query: str, names: list[str]) -> None:
    assert [m["Name"] for m in json.loads(ask("GET", "/v1/agent/members", query)[0].body)] == names


def test_members_of_a_segment_are_refused() -> None:
    assert ask("GET", "/v1/agent/members", "wan=1&segment=a")[0].status == 400
    assert ask("GET", "/v1/agent/members", "segment=a")[0].status == 500


def test_members_are_rendered_again_when_they_change_and_pretty_is_its_own_answer() -> None:
    view = FakeView()
    api = api_of(view)
    first, _ = run(api, Request("GET", "/v1/agent/members"))
    assert run(api, Request("GET", "/v1/agent/members"))[0] is first
    view.lan = (member("other"),)
    assert json.loads(run(api, Request("GET", "/v1/agent/members"))[0].body)[0]["Name"] == "other"
    pretty, _ = run(api, Request("GET", "/v1/agent/members", "pretty"))
    assert pretty.body.startswith(b'[\n    {\n        "Name": "other"')
    view.settings = HttpSettings(pretty=True)
    assert run(api, Request("GET", "/v1/agent/members"))[0].body.endswith(b"]\n")


def test_no_members_are_an_empty_list() -> None:
    assert ask("GET", "/v1/agent/members", "wan=1", view=FakeView(wan=()))[0].body == b"[]"


@pytest.mark.parametrize(
    ("method", "path", "query", "effect"),
    [
        ("PUT", "/v1/agent/join/10.0.0.9:8301", "token=t", Join(("10.0.0.9:8301",), wan=False, token="t")),
        ("PUT", "/v1/agent/join/a.example", "wan=1", Join(("a.example",), wan=True)),
        ("PUT", "/v1/agent/leave", "", Leave()),
        ("PUT", "/v1/agent/force-leave/node2", "", ForceLeave("node2", prune=False)),
        ("PUT", "/v1/agent/force-leave/node2", "prune", ForceLeave("node2", prune=True)),
        ("PUT", "/v1/agent/reload", "", Reload()),
    ],
)
def test_a_verb_asks_for_its_effect_and_answers_with_nothing(
    method: str, path: str, query: str, effect: Any
) -> None:
    response, effects = ask(method, path, query, None)
    assert effects == [effect]
    assert (response.status, response.body) == (200, b"")


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (MeshError("no such host"), 500, "no such host"),
        (ConfigError("bad port", key="ports.http", where="a.json"), 500, "a.json: bad port"),
        (MeshError("Permission denied"), 403, "Permission denied"),
        (MeshError("rpc error: ACL not found"), 403, "rpc error: ACL not found"),
    ],
)
def test_a_failed_effect_is_answered_with_its_sentence(error: MeshError, status: int, text: str) -> None:
    response, _ = ask("PUT", "/v1/agent/reload", "", error)
    assert (response.status, response.body.decode(), response.content_type) == (
        status, text, "text/plain; charset=utf-8")  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/agent/join/", "/v1/agent/force-leave/"])
def test_a_missing_name_is_a_bad_request(path: str) -> None:
    response, effects = ask("PUT", path)
    assert (response.status, effects) == (400, [])


def test_the_monitor_streams_a_level_and_refuses_an_unknown_one() -> None:
    for query, level in (
        ("", "INFO"),
        ("loglevel=debug", "DEBUG"),
        ("loglevel=warn", "WARN"),
        ("loglevel=err", "ERR"),
    ):
        answer, _ = ask("GET", "/v1/agent/monitor", query)
        assert isinstance(answer, StreamResponse)
        assert answer.source == StreamLog(level)
    response, _ = ask("GET", "/v1/agent/monitor", "loglevel=chatty")
    assert (response.status, response.body) == (400, b"Unknown log level: chatty")


def test_metrics_are_json_or_prometheus_where_that_is_on() -> None:
    view = FakeView(now=12.0, metrics=Metrics(0.0))
    view.metrics.increment("consul.x", 1.0)
    body = json.loads(ask("GET", "/v1/agent/metrics", view=view)[0].body)
    assert (body["Timestamp"], body["Counters"][0]["Name"]) == ("2018-08-08 04:55:00 +0000 UTC", "consul.x")
    assert ask("GET", "/v1/agent/metrics", "format=prometheus", view=view)[0].status == 415
    view.settings = HttpSettings(prometheus_retention=60.0)
    response, _ = ask("GET", "/v1/agent/metrics", "format=prometheus", view=view)
    assert b"consul_x 1.0\n" in response.body
    assert response.content_type.startswith("text/plain; version=0.0.4")


def test_each_known_route_is_measured_under_its_name() -> None:
    view = FakeView()
    api = api_of(view)
    for path in ("/v1/agent/self", "/v1/agent/force-leave/x", "/nothing"):
        request = Request("GET", path)
        run(api, request)
        api.observe(request, 1.5)
    names = [key.name for key, _ in view.metrics.live_series(0.0, 1.0)]
    assert names == ["consul.http.GET.v1.agent.force-leave._", "consul.http.GET.v1.agent.self"]
