"""``/v1/agent/service``: Consul's shapes, codes and sentences, the wait for another hash, and who may do what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL, Access
from meshnode.agent.local_services import LocalPolicy
from meshnode.catalog.model import CRITICAL, PASSING, WARNING
from tests.support.local_agent import LocalAgent
from tests.support.local_api import LocalApi, Rules

WEB = {"ID": "web1", "Name": "web", "Tags": ["v1"], "Port": 80, "Meta": {"k": "v"}, "Check": {"TTL": "30s"}}
WEB_JSON = {
    "ID": "web1", "Service": "web", "Tags": ["v1"], "Meta": {"k": "v"}, "Port": 80, "Address": "",
    "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": False, "CreateIndex": 0, "ModifyIndex": 0,
}  # fmt: skip
REGISTER = "/v1/agent/service/register"


def registered(**more: Any) -> LocalApi:
    api = LocalApi()
    assert api.put(REGISTER, body=WEB | more).status == 200
    return api


def answer(response: Any) -> tuple[int, str]:
    return response.status, response.body.decode()


def test_a_registered_service_is_listed_by_its_id_in_consuls_shape() -> None:
    api = registered()
    assert api.json("/v1/agent/services") == {"web1": WEB_JSON}
    assert list(api.json("/v1/agent/checks")) == ["service:web1"]


def test_nothing_is_an_empty_object() -> None:
    api = LocalApi()
    assert (api.json("/v1/agent/services"), api.json("/v1/agent/checks")) == ({}, {})


def test_lists_are_empty_and_never_null() -> None:
    api = LocalApi()
    api.put(REGISTER, body={"Name": "bare"})
    assert api.json("/v1/agent/services")["bare"]["Tags"] == []
    assert api.json("/v1/agent/services")["bare"]["Meta"] == {}


@pytest.mark.parametrize(("tokens", "query"), [(None, ""), ({"root": ALLOW_ALL}, "token=root&")])
def test_a_filter_leaves_the_services_and_checks_that_it_asks_for(tokens: Any, query: str) -> None:
    api = LocalApi(tokens=tokens)
    for name, port in (("web", 80), ("db", 5432)):
        api.put(REGISTER, query, body={"Name": name, "Port": port, "Check": {"TTL": "9s"}})
    assert list(api.json("/v1/agent/services", query + "filter=Port==80")) == ["web"]
    assert list(api.json("/v1/agent/checks", query + "filter=ServiceName==db")) == ["service:db"]
    assert len(api.json("/v1/agent/services", query)) == 2
    for path in ("services", "checks"):
        status, said = answer(api.get(f"/v1/agent/{path}", query + "filter=Ports==80"))
        assert (status, said.startswith("Invalid filter: ")) == (400, True)


def test_the_list_follows_changes() -> None:
    api = registered()
    assert list(api.json("/v1/agent/services")) == ["web1"]
    api.put("/v1/agent/service/deregister/web1")
    assert api.json("/v1/agent/services") == {}


def test_a_proxy_shows_what_it_stands_for() -> None:
    api = registered(Kind="connect-proxy", Proxy={"DestinationServiceName": "db"})
    shown = api.json("/v1/agent/services")["web1"]
    assert (shown["Kind"], shown["ProxyDestination"]) == ("connect-proxy", "db")
    assert shown["Proxy"]["DestinationServiceName"] == "db"
    assert "Connect" not in shown


def test_a_managed_proxy_is_shown_where_it_is_allowed() -> None:
    proxy = {"Connect": {"Native": False, "Proxy": {"Command": ["p"]}}}
    refused = LocalApi().put(REGISTER, body=WEB | proxy)
    assert answer(refused) == (400, "Managed proxy registration via the API is disallowed.")
    api = LocalApi(LocalAgent(policy=LocalPolicy(allow_managed_proxies=True)))
    api.put(REGISTER, body=WEB | proxy)
    assert api.json("/v1/agent/services")["web1"]["Connect"] == {
        "Native": False,
        "Proxy": {"ExecMode": "daemon", "Command": ["p"]},
    }


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b"", "Request decode failed: the body is empty"),
        (b"{", "Request decode failed: line 1"),
        ({"ID": "x"}, "Missing service name"),
        ({"Name": 1}, "Request decode failed: Name: expected string, got number"),
        ({"Name": "x", "Port": "80"}, "Request decode failed: Port: expected number, got string"),
        ({"Name": "x", "Address": "0.0.0.0"}, "Invalid service address"),
        ({"Name": "x", "Check": {"HTTP": "http://x"}}, "Invalid check: Check: Interval must be > 0"),
        (
            {"Name": "x", "Connect": {"SidecarService": {"ID": "y"}}},
            "A SidecarService cannot specify an ID as this is managed by the agent",
        ),
        (
            {"Name": "x", "Connect": {"SidecarService": {"Connect": {"SidecarService": {}}}}},
            "A SidecarService cannot have a nested SidecarService",
        ),
        (
            {"Name": "x", "Connect": {"SidecarService": {"Connect": {"Proxy": {}}}}},
            "A SidecarService cannot have a managed proxy",
        ),
        (
            {"Name": "x", "Connect": {"SidecarService": []}},
            "Request decode failed: Connect.SidecarService: expected",
        ),
        (
            {"Name": "x", "Connect": {"SidecarService": {"Port": 70000}}},
            "Connect.SidecarService.Port: invalid port: 70000",
        ),
        ({"Name": "x", "Weights": {"Passing": -1}}, "Passing must be greater than 0"),
    ],
)
def test_a_registration_that_makes_no_sense_is_a_400_and_changes_nothing(body: Any, wanted: str) -> None:
    api = LocalApi()
    status, text = answer(api.put(REGISTER, body=body))
    assert status == 400
    assert text.startswith(wanted)
    assert api.json("/v1/agent/services") == {}


def test_a_script_over_the_api_is_refused_unless_it_is_allowed() -> None:
    body = WEB | {"Check": {"Args": ["x"], "Interval": "10s"}}
    status, text = answer(LocalApi().put(REGISTER, body=body))
    assert status == 500
    assert text.startswith("Scripts are disabled on this agent from remote calls")


def test_the_requests_token_is_kept_for_the_catalog_unless_the_body_has_one() -> None:
    api = LocalApi()
    api.put(REGISTER, "token=of-the-request", {"Name": "a", "Check": {"TTL": "1s"}})
    api.put(REGISTER, "token=of-the-request", {"Name": "b", "Token": "own", "Check": {"TTL": "1s"}})
    state = api.agent.state
    assert [e.token for e in (*state.service_entries.values(), *state.check_entries.values())] == [
        *("of-the-request", "own"), *("of-the-request", "own"),
    ]  # fmt: skip


@pytest.mark.parametrize(("query", "left"), [
    ("", ["mine", "service:web1"]), ("replace-existing-checks", ["mine"]), ("replace-existing-checks=true", ["mine"]),
    ("replace-existing-checks=false", ["mine", "service:web1"]),
])  # fmt: skip
def test_other_checks_are_replaced_when_that_is_asked_for(query: str, left: list[str]) -> None:
    api = registered()
    api.put(REGISTER, query, WEB | {"Check": {"CheckID": "mine", "TTL": "1s"}})
    assert sorted(api.json("/v1/agent/checks")) == left


def test_deregistering_twice_is_fine_and_an_id_is_needed() -> None:
    api = registered()
    assert answer(api.put("/v1/agent/service/deregister/web1")) == (200, "")
    assert answer(api.put("/v1/agent/service/deregister/web1")) == (200, "")
    assert api.put("/v1/agent/service/deregister/").status == 400


def test_ids_may_hold_slashes_and_spaces() -> None:
    api = registered(ID="a/b c")
    assert api.json("/v1/agent/service/a/b c")["ID"] == "a/b c"
    api.put("/v1/agent/service/deregister/a/b c")
    assert api.json("/v1/agent/services") == {}


@pytest.mark.parametrize(
    ("path", "query", "wanted"),
    [
        ("/v1/agent/service/maintenance/", "enable=true", (400, "Missing service ID")),
        ("/v1/agent/service/maintenance/web1", "", (400, "Missing value for enable")),
        ("/v1/agent/service/maintenance/web1", "enable=x", (400, 'Invalid value for enable: "x"')),
        ("/v1/agent/service/maintenance/no", "enable=true", (404, 'No service registered with ID "no"')),
        ("/v1/agent/maintenance", "", (400, "Missing value for enable")),
        ("/v1/agent/maintenance", "enable=yes", (400, 'Invalid value for enable: "yes"')),
    ],
)
def test_maintenance_that_makes_no_sense_is_refused(path: str, query: str, wanted: tuple[int, str]) -> None:
    assert answer(registered().put(path, query)) == wanted


def test_maintenance_is_switched_on_and_off() -> None:
    api = registered()
    api.put("/v1/agent/service/maintenance/web1", "enable=true&reason=broken")
    api.put("/v1/agent/maintenance", "enable=1")
    checks = api.json("/v1/agent/checks")
    assert checks["_service_maintenance:web1"]["Notes"] == "broken"
    assert checks["_node_maintenance"]["Status"] == CRITICAL
    api.put("/v1/agent/service/maintenance/web1", "enable=false")
    api.put("/v1/agent/maintenance", "enable=0")
    assert list(api.json("/v1/agent/checks")) == ["service:web1"]


def test_one_service_has_its_hash_in_the_body_and_the_header() -> None:
    api = registered()
    response = api.get("/v1/agent/service/web1")
    body = json.loads(response.body)
    content_hash = body.pop("ContentHash")
    assert body == WEB_JSON
    assert dict(response.headers) == {"X-Consul-ContentHash": content_hash}
    assert answer(api.get("/v1/agent/service/no")) == (404, "unknown service ID: no")


def test_a_known_hash_waits_until_the_service_is_another_one() -> None:
    api = registered()
    known = api.json("/v1/agent/service/web1")["ContentHash"]
    news = [WEB | {"ID": "other"}, WEB | {"Port": 81}]
    api.on_wait = lambda: api.put(REGISTER, body=news.pop(0))
    shown = api.json("/v1/agent/service/web1", f"hash={known}&wait=10s")
    assert shown["Port"] == 81
    assert shown["ContentHash"] != known
    assert len(api.waits) == 2
    assert 10 <= api.waits[0].timeout <= 10.625


def test_the_wait_ends_with_the_time_or_with_the_service() -> None:
    api = registered()
    known = api.json("/v1/agent/service/web1")["ContentHash"]

    def time_passes() -> None:
        api.view.now += 400

    api.on_wait = time_passes
    assert api.json("/v1/agent/service/web1", f"hash={known}")["ContentHash"] == known
    api.on_wait = lambda: api.put("/v1/agent/service/deregister/web1")
    assert api.get("/v1/agent/service/web1", f"hash={known}").status == 404
    assert answer(registered().get("/v1/agent/service/web1", "hash=x&wait=soon")) == (
        400,
        "Invalid wait time",
    )


@pytest.mark.parametrize(
    ("node", "own", "maintenance", "code", "status"),
    [
        (PASSING, PASSING, False, 200, PASSING),
        (PASSING, WARNING, False, 429, WARNING),
        (PASSING, CRITICAL, False, 503, CRITICAL),
        (CRITICAL, PASSING, False, 503, CRITICAL),
        (WARNING, PASSING, False, 429, WARNING),
        (PASSING, PASSING, True, 503, "maintenance"),
    ],
)
def test_health_of_a_service_is_in_the_code(
    node: str, own: str, maintenance: bool, code: int, status: str
) -> None:
    api = registered()
    api.put("/v1/agent/check/register", body={"Name": "node", "TTL": "30s"})
    api.put(REGISTER, body={"Name": "other", "Check": {"TTL": "30s"}})
    for check_id, state in (("node", node), ("service:web1", own)):
        api.put(f"/v1/agent/check/update/{check_id}", body={"Status": state})
    if maintenance:
        api.put("/v1/agent/service/maintenance/web1", "enable=true")
    for path in ("id/web1", "name/web"):
        response = api.get(f"/v1/agent/health/service/{path}")
        found = json.loads(response.body)
        (one,) = found if isinstance(found, list) else [found]
        assert (response.status, one["AggregatedStatus"], one["Service"]) == (code, status, WEB_JSON)
        assert "service:other" not in [check["CheckID"] for check in one["Checks"]]
        text = api.get(f"/v1/agent/health/service/{path}", "format=text")
        assert answer(text) == (code, status)


def test_health_by_name_has_all_instances_and_the_code_of_the_worst() -> None:
    api = registered()
    api.put(REGISTER, body=WEB | {"ID": "web2"})
    api.put("/v1/agent/check/pass/service:web1")
    api.put("/v1/agent/check/warn/service:web2")
    response = api.get("/v1/agent/health/service/name/web")
    assert response.status == 429
    assert [one["AggregatedStatus"] for one in json.loads(response.body)] == [PASSING, WARNING]


def test_health_of_what_is_not_there_is_404() -> None:
    api = LocalApi()
    missing = api.get("/v1/agent/health/service/id/no")
    assert missing.status == 404
    assert json.loads(missing.body) == {"AggregatedStatus": CRITICAL, "Service": None, "Checks": None}
    assert answer(api.get("/v1/agent/health/service/id/no", "format=text")) == (404, "ServiceId no not found")
    assert answer(api.get("/v1/agent/health/service/name/no")) == (404, "[]")
    assert answer(api.get("/v1/agent/health/service/name/no", "format=text")) == (
        404,
        "ServiceName no Not Found",
    )
    assert api.get("/v1/agent/health/service/id/").status == 400


READER = Rules({("service", "web"): Access.READ})
WRITER = Rules({("service", "web"): Access.WRITE})
OTHER = Rules({("service", "db"): Access.WRITE})


def guarded() -> LocalApi:
    api = LocalApi(
        tokens={"root": ALLOW_ALL, "reader": READER, "writer": WRITER, "other": OTHER, "": Rules()}
    )
    assert api.put(REGISTER, "token=root", WEB).status == 200
    assert api.put(REGISTER, "token=root", {"Name": "db"}).status == 200
    return api


@pytest.mark.parametrize(
    ("token", "seen"),
    [("root", ["db", "web1"]), ("reader", ["web1"]), ("writer", ["web1"]), ("other", ["db"]), ("", [])],
)
def test_the_list_has_what_the_token_may_read(token: str, seen: list[str]) -> None:
    assert list(guarded().json("/v1/agent/services", f"token={token}")) == seen


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "allowed"),
    [
        ("GET", "/v1/agent/service/web1", "", {}, {"root", "reader", "writer"}),
        ("GET", "/v1/agent/health/service/id/web1", "", {}, {"root", "reader", "writer"}),
        ("GET", "/v1/agent/health/service/name/web", "", {}, {"root", "reader", "writer"}),
        ("PUT", REGISTER, "", WEB, {"root", "writer"}),
        ("PUT", REGISTER, "", {"Name": "db", "ID": "web1"}, {"root"}),
        ("PUT", REGISTER, "", {"Name": "db", "ID": "db2"}, {"root", "other"}),
        ("PUT", REGISTER, "", WEB | {"Connect": {"SidecarService": {}}}, {"root"}),
        ("PUT", REGISTER, "", WEB | {"Connect": {"SidecarService": {"Name": "web"}}}, {"root", "writer"}),
        ("PUT", "/v1/agent/service/deregister/web1", "", {}, {"root", "writer"}),
        ("PUT", "/v1/agent/service/maintenance/web1", "enable=true", {}, {"root", "writer"}),
        ("PUT", "/v1/agent/maintenance", "enable=true", {}, {"root"}),
    ],
)
def test_every_route_asks_for_its_right(
    method: str, path: str, query: str, body: Any, allowed: set[str]
) -> None:
    for token in ("root", "reader", "writer", "other", ""):
        api = guarded()
        response = api.send(method, path, f"{query}&token={token}", json.dumps(body).encode())
        if token in allowed:
            assert response.status in (200, 503), (token, response.body)
        else:
            assert response.status == 403, token
            assert response.body.startswith(b"Permission denied")
            assert list(api.json("/v1/agent/services", "token=root")) == ["db", "web1"]


def test_a_sidecar_is_registered_with_its_service_and_goes_with_it() -> None:
    api = registered(Connect={"SidecarService": {"Proxy": {"Upstreams": [
        {"DestinationName": "db", "LocalBindPort": 9191}]}}})  # fmt: skip
    shown = api.json("/v1/agent/service/web1-sidecar-proxy")
    assert (shown["Kind"], shown["Service"], shown["Port"]) == ("connect-proxy", "web-sidecar-proxy", 21000)
    assert shown["Proxy"] == {
        "DestinationServiceName": "web", "DestinationServiceID": "web1",
        "LocalServiceAddress": "127.0.0.1", "LocalServicePort": 80,
        "Upstreams": [{"DestinationType": "service", "DestinationName": "db", "LocalBindPort": 9191}],
    }  # fmt: skip
    assert api.json("/v1/agent/service/web1")["Service"] == "web"
    api.put("/v1/agent/service/deregister/web1")
    assert api.json("/v1/agent/services") == {}


def test_a_managed_proxy_is_not_deregistered_without_its_service() -> None:
    api = LocalApi(LocalAgent(policy=LocalPolicy(allow_managed_proxies=True)))
    api.put(REGISTER, body={"Name": "web", "Port": 80, "Connect": {"Proxy": {}}})
    status, text = answer(api.put("/v1/agent/service/deregister/web-proxy"))
    assert status == 400
    assert text.startswith("Managed proxy service cannot be deregistered directly. Deregister the service")
    status, text = answer(api.put(REGISTER, body={"Name": "web-proxy"}))
    assert status == 400
    assert text == '"web-proxy" is the managed proxy of service "web": change the definition of that service'
    api.put("/v1/agent/service/deregister/web")
    assert api.json("/v1/agent/services") == {}


@pytest.mark.parametrize(
    "body",
    [
        {"Name": "db", "Check": {"CheckID": "Service:web1", "TTL": "1s"}},
        {"Name": "db", "Checks": [{"TTL": "1s"}, {"ID": "service:web1", "TTL": "1s"}]},
        {"Name": "db", "ID": "web1x", "Check": {"TTL": "1s", "ID": "service:web1"}},
    ],
)
def test_a_registration_does_not_take_a_check_from_another_service(body: Any) -> None:
    api = guarded()
    assert api.put(REGISTER, "token=other", body).status == 403
    assert api.json("/v1/agent/checks", "token=root")["service:web1"]["ServiceID"] == "web1"


def test_a_token_that_there_is_not_is_403() -> None:
    assert answer(guarded().get("/v1/agent/services", "token=nobody")) == (403, "ACL not found")


def test_a_token_that_is_not_root_hears_that_a_service_is_unknown() -> None:
    response = guarded().put("/v1/agent/service/deregister/no", "token=writer")
    assert answer(response) == (500, 'Unknown service "no"')
