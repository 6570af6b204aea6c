"""What a proxy reports is bounded, checked and shown; what comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.agent.connect_reports import MAX_PROXIES, ConnectReports
from meshnode.base.metrics import Metrics
from meshnode.http.body import MAX_NUMBER_CHARS
from meshnode.http.connect_proxy_routes import MAX_ID_CHARS
from meshnode.http.proxy_report import (
    MAX_CONNECTIONS,
    MAX_COUNTERS,
    MAX_ENDED,
    MAX_LISTENERS,
    MAX_REPORT_BYTES,
    MAX_ROOTS,
    MAX_TEXT_CHARS,
)
from tests.unit.meshnode.http.proxy_api import (
    BODY,
    CLOSED,
    CONNECTION,
    CONNECTIONS,
    DECISION,
    REFUSED,
    REPORT,
    ProxyApi,
    answer,
)


def test_what_a_proxy_reports_is_shown_with_the_proxy_and_older_by_the_time_since() -> None:
    api = ProxyApi()
    assert answer(api.put(REPORT + "db-sidecar-proxy", body=BODY)) == (200, "")
    api.view.now += 2.5
    whose = {"ProxyID": "db-sidecar-proxy", "Service": "db"}
    assert api.json(CONNECTIONS) == {
        "Proxies": [{
            "ProxyID": "db-sidecar-proxy", "Service": "db", "Identity": BODY["Identity"], "Serial": "12:34",
            "Roots": ["Consul CA 7"], "Listeners": BODY["Listeners"], "Pid": 100, "Age": 2.5,
            "Counters": {"inbound.conns": 3}, "Omitted": 0,
        }],
        "Connections": [{**CONNECTION, "Age": 4.0, **whose}],
        "Closed": [{**CLOSED, "Age": 4.0, "EndedAgo": 4.5, **whose}],
        "Refused": [{**REFUSED, "Ago": 5.5, **whose}],
        "Decisions": [{**DECISION, "Age": 42.5, **whose}],
    }  # fmt: skip


def test_nothing_reported_is_empty_lists() -> None:
    kinds = ("Proxies", "Connections", "Closed", "Refused", "Decisions")
    assert ProxyApi().json(CONNECTIONS) == {kind: [] for kind in kinds}


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ("", ([7, 7], [8, 8], [9, 9])), ("proxy=p1", ([7], [8], [9])), ("service=db", ([7], [8], [9])),
        ("proxy=p1&service=web", ([], [], [])), ("id=8", ([], [8, 8], [])), ("id=9&proxy=p2", ([], [], [9])),
        # With a connection come the requests on it that were refused.
        ("id=7", ([7, 7], [], [9, 9])),
        ("id=10", ([], [], [])), ("proxy=no", ([], [], [])),
    ],
)  # fmt: skip
def test_connections_may_be_asked_for_by_proxy_service_and_number(
    query: str, seen: tuple[list[int], list[int], list[int]]
) -> None:
    api = ProxyApi()
    api.put(REPORT + "p1", body=BODY)
    api.put(REPORT + "p2", body=BODY | {"Service": "web"})
    shown = api.json(CONNECTIONS, query)
    assert tuple([row["ID"] for row in shown[part]] for part in ("Connections", "Closed", "Refused")) == seen


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "1" * 21, "٣"])
def test_a_number_of_a_connection_is_a_number(number: str) -> None:
    status, text = answer(ProxyApi().get(CONNECTIONS, f"id={number}"))
    assert (status, text.startswith("Invalid value for ?id:")) == (400, True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is empty, send JSON"),
        (b"[]", "expected object, got list"),
        (b"{}", "Service: is empty: name the service that the proxy stands for"),
        ({"Service": 1}, "Service: expected string, got number"),
        ({"Pid": -1}, "Pid: can't be negative"),
        ({"Pid": "1"}, "Pid: expected number, got string"),
        ({"Roots": "x"}, "Roots: expected list, got string"),
        ({"Listeners": [1]}, "Listeners[0]: expected object, got number"),
        ({"Counters": {"a b": 1}}, "Counters: 'a b' is not a name"),
        ({"Counters": {"a": -1}}, "Counters.a: can't be negative"),
        ({"Counters": {"a": 1.5}}, "Counters.a: expected a whole number"),
        (
            {"Connections": [{**CONNECTION, "Direction": "up"}]},
            'Connections[0].Direction: "up" can\'t be used',
        ),
        ({"Connections": [{**CONNECTION, "ID": -1}]}, "Connections[0].ID: can't be negative"),
        (
            {"Connections": [{**CONNECTION, "Age": "1"}]},
            "Connections[0].Age: expected a number of seconds, got string",
        ),
        ({"Connections": [{**CONNECTION, "Age": -1}]}, "Connections[0].Age: expected seconds, 0 or more"),
        ({"Connections": [{**CONNECTION, "Age": 1e300}]}, "Connections[0].Age: expected seconds"),
        (
            {"Closed": [{**CLOSED, "EndedAgo": True}]},
            "Closed[0].EndedAgo: expected a number of seconds, got boolean",
        ),
        ({"Refused": [{**REFUSED, "Because": []}]}, "Refused[0].Because: expected string, got list"),
        ({"Refused": [{**REFUSED, "Connection": -1}]}, "Refused[0].Connection: can't be negative"),
        ({"Refused": [{**REFUSED, "Request": 1}]}, "Refused[0].Request: expected string, got number"),
        ({"Decisions": [{**DECISION, "Allowed": 1}]}, "Decisions[0].Allowed: expected"),
        ({"Decisions": [{**DECISION, "Age": "1"}]}, "Decisions[0].Age: expected a number of seconds"),
        (
            b'{"Service":"db","Pid":' + b"1" * (MAX_NUMBER_CHARS + 1) + b"}",
            "a number has more than 400 digits",
        ),
    ],
)
def test_a_report_that_makes_no_sense_is_a_400_that_names_the_field(body: Any, reason: str) -> None:
    api = ProxyApi()
    sent = body if isinstance(body, bytes) else BODY | body
    status, text = answer(api.put(REPORT + "p", body=sent))
    assert status == 400
    assert text.startswith(f"Request decode failed: {reason}")
    assert api.json(CONNECTIONS)["Proxies"] == []


def test_what_is_left_out_of_a_report_is_empty() -> None:
    api = ProxyApi()
    api.put(REPORT + "p", body={"Service": "db", "Connections": [{"Direction": "outbound"}]})
    shown = api.json(CONNECTIONS)
    assert (shown["Proxies"][0]["Serial"], shown["Proxies"][0]["Pid"]) == ("", 0)
    assert (shown["Connections"][0]["ID"], shown["Connections"][0]["Peer"]) == (0, "")


def test_lists_and_texts_are_cut_to_their_bounds_and_live_connections_are_counted() -> None:
    api = ProxyApi()
    long = "x" * (MAX_TEXT_CHARS + 1)
    row, ended = {"Direction": "inbound", "Because": long}, {"Direction": "inbound"}
    api.put(REPORT + "p", body={
        "Service": "db", "Identity": long, "Roots": [long] * (MAX_ROOTS + 1),
        "Listeners": [{}] * (MAX_LISTENERS + 1), "Connections": [row] * (MAX_CONNECTIONS + 2),
        "Closed": [{**ended, "ID": n} for n in range(MAX_ENDED + 1)], "Refused": [{}] * (MAX_ENDED + 1),
        "Decisions": [{"Age": n} for n in range(MAX_ENDED + 1, 0, -1)],
    })  # fmt: skip
    shown = api.json(CONNECTIONS)
    (proxy,) = shown["Proxies"]
    assert (len(proxy["Identity"]), len(proxy["Roots"]), len(proxy["Roots"][0])) == (
        MAX_TEXT_CHARS, MAX_ROOTS, MAX_TEXT_CHARS,
    )  # fmt: skip
    assert (len(proxy["Listeners"]), proxy["Omitted"]) == (MAX_LISTENERS, 2)
    assert (len(shown["Connections"]), len(shown["Connections"][0]["Because"])) == (
        MAX_CONNECTIONS,
        MAX_TEXT_CHARS,
    )
    assert (len(shown["Closed"]), shown["Closed"][0]["ID"], len(shown["Refused"])) == (
        MAX_ENDED,
        1,
        MAX_ENDED,
    )
    assert [row["Age"] for row in shown["Decisions"]] == list(range(MAX_ENDED, 0, -1))


def test_counters_are_so_many_at_most() -> None:
    api = ProxyApi()
    at_most = {f"c{n}": 1 for n in range(MAX_COUNTERS)}
    assert api.put(REPORT + "p", body=BODY | {"Counters": at_most}).status == 200
    status, text = answer(api.put(REPORT + "p", body=BODY | {"Counters": {**at_most, "x": 1}}))
    assert (status, "send at most 64" in text) == (400, True)


def test_a_report_may_be_larger_than_other_bodies_and_ids_are_bounded() -> None:
    api = ProxyApi()
    assert api.api.max_body_bytes(REPORT + "p") == MAX_REPORT_BYTES
    assert api.put(REPORT + "p" * MAX_ID_CHARS, body=BODY).status == 200
    assert api.put(REPORT + "p" * (MAX_ID_CHARS + 1), body=BODY).status == 400
    assert answer(api.put(REPORT, body=BODY)) == (400, "Missing proxy ID: PUT /v1/agent/connect/report/<id>")


def test_a_registered_proxy_reports_for_its_own_service_only() -> None:
    api = ProxyApi()
    api.register("web", SidecarService={})
    status, text = answer(api.put(REPORT + "web-sidecar-proxy", body=BODY))
    assert (status, text) == (400, 'Service: web-sidecar-proxy is a proxy of "web", not of "db"')
    api.put(REPORT + "db-1", body=BODY)
    status, text = answer(api.put(REPORT + "db-1", body=BODY | {"Service": "web"}))
    assert (status, text) == (400, 'Service: a proxy of "db" reports as db-1: take another id')


def test_one_proxy_too_many_is_told_so() -> None:
    api = ProxyApi()
    for number in range(MAX_PROXIES):
        api.put(f"{REPORT}p{number}", body={"Service": "db"})
    assert answer(api.put(REPORT + "one-more", body=BODY)) == (
        429, f"this agent keeps the reports of {MAX_PROXIES} proxies at most",
    )  # fmt: skip
    assert api.put(REPORT + "p0", body=BODY).status == 200


def test_counters_become_metrics_of_the_agent() -> None:
    api = ProxyApi()
    api.view.metrics = Metrics(0.0)
    api.reports = ConnectReports(api.view.metrics, lambda: api.view.now)
    api.put(REPORT + "p", body=BODY)
    shown = api.json("/v1/agent/metrics")
    assert [(row["Name"], row["Sum"]) for row in shown["Counters"]] == [
        ("consul.proxy.db.inbound.conns", 3.0)
    ]
