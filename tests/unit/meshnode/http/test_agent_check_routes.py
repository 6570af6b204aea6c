"""``/v1/agent/check``: Consul's shapes, codes and sentences, reports of TTL checks, and who may do what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL, Access
from meshnode.catalog.model import CRITICAL, PASSING, WARNING, Check, CheckDefinition
from meshnode.catalog.wire import check_fields
from tests.support.local_api import LocalApi, Rules

REGISTER = "/v1/agent/check/register"
TTL = {"ID": "mem", "Name": "Memory", "Notes": "n", "TTL": "30s"}


def registered() -> LocalApi:
    api = LocalApi()
    assert api.put("/v1/agent/service/register", body={"Name": "web", "Tags": ["v1"]}).status == 200
    assert api.put(REGISTER, body=TTL).status == 200
    return api


def answer(response: Any) -> tuple[int, str]:
    return response.status, response.body.decode()


def test_a_check_is_listed_by_its_id_in_consuls_shape() -> None:
    api = registered()
    api.put(
        REGISTER,
        body={"Name": "of-web", "ServiceID": "web", "TCP": "x:1", "Interval": "10s", "Status": "passing"},
    )
    assert api.json("/v1/agent/checks") == {
        "mem": {
            "Node": "web1", "CheckID": "mem", "Name": "Memory", "Status": "critical", "Notes": "n", "Output": "",
            "ServiceID": "", "ServiceName": "", "ServiceTags": [], "Definition": {}, "CreateIndex": 0, "ModifyIndex": 0,
        },
        "of-web": {
            "Node": "web1", "CheckID": "of-web", "Name": "of-web", "Status": "passing", "Notes": "", "Output": "",
            "ServiceID": "web", "ServiceName": "web", "ServiceTags": ["v1"], "Definition": {}, "CreateIndex": 0,
            "ModifyIndex": 0,
        },
    }  # fmt: skip


def test_a_definition_shows_what_is_set() -> None:
    definition = CheckDefinition(http="http://x", header={"A": ("b",)}, interval=10.0, timeout=1.5)
    assert check_fields(Check("n", "c", definition=definition))["Definition"] == {
        "HTTP": "http://x", "Header": {"A": ["b"]}, "Interval": "10s", "Timeout": "1.5s",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b"[]", (400, "Request decode failed: expected object, got list")),
        ({"TTL": "1s"}, (400, "Missing check name")),
        ({"Name": "x", "TTL": "1s", "Status": "ok"}, (400, "Bad check status: write one of")),
        ({"Name": "x", "TTL": "1s", "Interval": "1s"}, (400, "Invalid check: Interval and TTL cannot both")),
        ({"Name": "x"}, (400, "Invalid check: TTL must be > 0 for TTL checks")),
        ({"Name": "x", "TTL": "soon"}, (400, 'Request decode failed: TTL: "soon" is not a duration')),
        ({"Name": "x", "TTL": "1s", "ServiceID": "no"}, (500, 'ServiceID "no" does not exist')),
        (
            {"Name": "x", "Args": ["x"], "Interval": "1s"},
            (500, "Scripts are disabled on this agent from remote"),
        ),
    ],
)
def test_a_registration_that_makes_no_sense_is_refused_and_changes_nothing(
    body: Any, wanted: tuple[int, str]
) -> None:
    api = registered()
    status, text = answer(api.put(REGISTER, body=body))
    assert status == wanted[0]
    assert text.startswith(wanted[1])
    assert list(api.json("/v1/agent/checks")) == ["mem"]


@pytest.mark.parametrize(("verb", "status"), [("pass", PASSING), ("warn", WARNING), ("fail", CRITICAL)])
def test_a_ttl_check_takes_reports_with_a_note(verb: str, status: str) -> None:
    api = registered()
    assert answer(api.put(f"/v1/agent/check/{verb}/mem", "note=so%20it%20is")) == (200, "")
    shown = api.json("/v1/agent/checks")["mem"]
    assert (shown["Status"], shown["Output"]) == (status, "so it is")


def test_an_update_has_status_and_output() -> None:
    api = registered()
    assert api.put("/v1/agent/check/update/mem", body={"status": "warning", "output": "low"}).status == 200
    shown = api.json("/v1/agent/checks")["mem"]
    assert (shown["Status"], shown["Output"]) == (WARNING, "low")


def test_output_is_cut_at_four_kibibytes() -> None:
    api = registered()
    for size, ending in ((4096, "x"), (4097, " ... (captured 4096 of 4097 bytes)")):
        api.put("/v1/agent/check/update/mem", body={"Status": "passing", "Output": "x" * size})
        output = api.json("/v1/agent/checks")["mem"]["Output"]
        assert output == "x" * 4096 + (ending if size > 4096 else "")


@pytest.mark.parametrize(
    ("path", "body", "wanted"),
    [
        ("update/mem", {"Status": "good"}, (400, "Invalid check status: 'good'")),
        ("update/mem", {}, (400, "Invalid check status: ''")),
        ("update/mem", {"Status": 1}, (400, "Request decode failed: Status: expected string, got number")),
        ("update/", {"Status": "passing"}, (400, "Missing check ID")),
        ("pass/", {}, (400, "Missing check ID")),
        ("deregister/", {}, (400, "Missing check ID")),
        ("pass/no", {}, (500, 'CheckID "no" does not have associated TTL')),
        ("pass/tcp", {}, (500, 'CheckID "tcp" does not have associated TTL')),
    ],
)
def test_a_report_that_makes_no_sense_is_refused(path: str, body: Any, wanted: tuple[int, str]) -> None:
    api = registered()
    api.put(REGISTER, body={"Name": "tcp", "TCP": "x:1", "Interval": "10s"})
    status, text = answer(api.put(f"/v1/agent/check/{path}", body=body))
    assert status == wanted[0]
    assert text.startswith(wanted[1])


def test_deregistering_twice_is_fine() -> None:
    api = registered()
    assert answer(api.put("/v1/agent/check/deregister/mem")) == (200, "")
    assert answer(api.put("/v1/agent/check/deregister/mem")) == (200, "")
    assert api.json("/v1/agent/checks") == {}


WEB = Rules({("service", "web"): Access.WRITE})
NODE = Rules({("node", "web1"): Access.WRITE})
LOOK = Rules({("node", "web1"): Access.READ, ("service", "web"): Access.READ})


def guarded() -> LocalApi:
    api = LocalApi(tokens={"root": ALLOW_ALL, "web": WEB, "node": NODE, "look": LOOK})
    api.put(
        "/v1/agent/service/register",
        "token=root",
        {"Name": "web", "Check": {"CheckID": "of-web", "TTL": "1m"}},
    )
    api.put(REGISTER, "token=root", {"Name": "of-node", "TTL": "1m"})
    return api


@pytest.mark.parametrize(
    ("token", "seen"),
    [
        ("root", ["of-node", "of-web"]),
        ("web", ["of-web"]),
        ("node", ["of-node"]),
        ("look", ["of-node", "of-web"]),
    ],
)
def test_the_list_has_what_the_token_may_read(token: str, seen: list[str]) -> None:
    assert list(guarded().json("/v1/agent/checks", f"token={token}")) == seen


ROUTES = ["pass/{}", "warn/{}", "fail/{}", "update/{}", "deregister/{}"]


@pytest.mark.parametrize(
    ("path", "body", "allowed"),
    [
        *((route.format("of-web"), {"Status": "passing"}, {"root", "web"}) for route in ROUTES),
        *((route.format("of-node"), {"Status": "passing"}, {"root", "node"}) for route in ROUTES),
        ("register", {"Name": "new", "TTL": "1s"}, {"root", "node"}),
        ("register", {"Name": "new", "TTL": "1s", "ServiceID": "web"}, {"root", "web"}),
        ("register", {"Name": "of-node", "TTL": "1s", "ServiceID": "web"}, {"root"}),
        ("register", {"Name": "of-web", "TTL": "1s"}, {"root"}),
    ],
)
def test_every_route_asks_for_its_right(path: str, body: Any, allowed: set[str]) -> None:
    for token in ("root", "web", "node", "look"):
        api = guarded()
        before = api.json("/v1/agent/checks", "token=root")
        response = api.put(f"/v1/agent/check/{path}", f"token={token}", body)
        if token in allowed:
            assert answer(response) == (200, ""), token
        else:
            assert response.status == 403, token
            assert response.body.startswith(b"Permission denied")
            assert api.json("/v1/agent/checks", "token=root") == before


def test_a_token_that_is_not_root_hears_that_a_check_is_unknown() -> None:
    for path in ("deregister/no", "pass/no"):
        response = guarded().put(f"/v1/agent/check/{path}", "token=node")
        assert answer(response) == (500, 'Unknown check "no"')


def test_the_body_is_minimised_json() -> None:
    response = registered().get("/v1/agent/checks")
    assert response.content_type == "application/json"
    assert response.body == json.dumps(json.loads(response.body), separators=(",", ":")).encode()
