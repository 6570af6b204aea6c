from __future__ import annotations

from typing import Any

import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.config_entries.chain import compile_chain
from meshnode.config_entries.parse import parse_entry
from meshnode.xds.compile import compile_snapshot
from meshnode.xds.schema import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, short_name
from meshnode.xds.session import MAX_NAMES, Session
from meshnode.xds.state import ProxyState
from tests.support.config_entries import http, table
from tests.support.xds import Client, instance, public, state, upstream

DB = "db.default.dc1"
CLUSTER_OF_DB = f"{DB}:127.0.0.1:9191"


class Stream:
    """A session and an Envoy that acknowledges everything, or as it is told."""

    def __init__(self, *, delta: bool, first: ProxyState | None = None) -> None:
        self.client = Client(delta=delta)
        self.session = Session(delta=delta)
        self.names: dict[str, tuple[str, ...]] = {}
        self.log: list[str] = []
        self.now = 0.0
        if first is not None:
            assert self.session.update(compile_snapshot(first), 0.0) == []

    def asks(self, url: str, *names: str) -> list[Any]:
        self.names[url] = names
        return self.session.handle_request(self.client.asks(url, *names), self.now)

    def update(self, found: ProxyState) -> list[Any]:
        return self.session.update(compile_snapshot(found), self.now)

    def ack(self, response: Any, error: str = "") -> list[Any]:
        answer = self.client.answers(response, *self.names.get(response.type_url, ()), error=error)
        return self.session.handle_request(answer, self.now)

    def settle(self, responses: list[Any]) -> list[str]:
        """Acknowledge everything until nothing is sent any more: the types in their order."""
        seen, waiting = [], list(responses)
        while waiting:
            response = waiting.pop(0)
            seen.append(short_name(response.type_url))
            waiting += self.ack(response)
        return seen

    def connected(self) -> Stream:
        """With everything asked for that an Envoy with one upstream asks for."""
        self.settle(self.asks(CLUSTER))
        self.settle(self.asks(ENDPOINTS, DB))
        self.settle(self.asks(SECRET, "leaf", "roots"))
        self.settle(self.asks(LISTENER))
        return self


def names(response: Any) -> list[str]:
    """Of a delta response."""
    return [each.name for each in response.resources]


def known(**more: Any) -> ProxyState:
    return state(upstream(), instances={DB: (instance(),)}, **more)


@pytest.fixture(params=[False, True], ids=["sotw", "delta"])
def delta(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_nothing_is_sent_before_it_is_asked_for_or_known(delta: bool) -> None:
    stream = Stream(delta=delta)
    assert stream.asks(CLUSTER) == []
    (response,) = stream.update(known())
    assert (response.type_url, len(response.resources)) == (CLUSTER, 2)


def test_only_the_types_that_have_changed_are_sent(delta: bool) -> None:
    stream = Stream(delta=delta, first=known()).connected()
    assert stream.update(known()) == []
    assert stream.settle(stream.update(known(certificate="CERTIFICATE 2"))) == ["SDS"]
    changed = state(upstream(), instances={DB: (instance(passing=False),)}, certificate="CERTIFICATE 2")
    assert stream.settle(stream.update(changed)) == ["EDS"]


def test_delta_sends_only_the_resources_that_have_changed() -> None:
    stream = Stream(delta=True, first=known()).connected()
    (response,) = stream.update(known(certificate="CERTIFICATE 2"))
    assert names(response) == ["leaf"]
    assert list(response.removed_resources) == []


def test_listeners_wait_for_the_clusters_that_they_lead_to(delta: bool) -> None:
    stream = Stream(delta=delta, first=known()).connected()
    (clusters,) = stream.update(state(upstream(), upstream("api", 9192), instances={DB: (instance(),)}))
    assert clusters.type_url == CLUSTER
    assert stream.ack(clusters) == [], "Envoy hasn't asked for the endpoints of the new cluster yet"
    assert stream.settle(stream.asks(ENDPOINTS, DB, "api.default.dc1")) == ["EDS", "LDS"]


def test_a_cluster_that_envoy_refused_holds_nobody_up(delta: bool) -> None:
    stream = Stream(delta=delta, first=known()).connected()
    (clusters,) = stream.update(state(upstream(), upstream("api", 9192), instances={DB: (instance(),)}))
    following = stream.ack(clusters, error="no")
    assert [short_name(each.type_url) for each in following] == ["LDS"]


def test_a_second_cluster_of_the_same_service_gets_endpoints_that_envoy_has_already() -> None:
    stream = Stream(delta=True, first=known()).connected()
    both = state(upstream(), upstream("db", 9192), instances={DB: (instance(),)})
    clusters, endpoints = stream.update(both)
    assert names(clusters) == ["db.default.dc1:127.0.0.1:9192"]
    assert names(endpoints) == [DB]


def routed(*split: str) -> ProxyState:
    """An HTTP upstream whose requests go to these services in equal shares."""
    shares = [{"Weight": 100 / len(split), "Service": name} for name in split]
    entries = table(
        *http("db", *split),
        parse_entry({"Kind": "service-splitter", "Name": "db", "Splits": shares}),
    )
    return state(upstream(), chains={"service:default/db": compile_chain(entries, "db", "dc1")})


def test_a_cluster_goes_only_after_the_routes_to_it_are_gone(delta: bool) -> None:
    stream = Stream(delta=delta, first=routed("a", "b"))
    stream.settle(stream.asks(CLUSTER))
    stream.settle(stream.asks(ENDPOINTS, "a.default.dc1", "b.default.dc1"))
    stream.settle(stream.asks(SECRET, "leaf", "roots"))
    stream.settle(stream.asks(LISTENER))
    assert stream.settle(stream.asks(ROUTES, "db:127.0.0.1:9191")) == ["RDS"]
    (clusters,) = stream.update(routed("b", "c"))
    assert "a.default.dc1" in str(clusters) or delta, "it stays for now"
    assert not delta or list(clusters.removed_resources) == []
    assert stream.ack(clusters) == []
    wanted = ("a.default.dc1", "b.default.dc1", "c.default.dc1")
    order = stream.settle(stream.asks(ENDPOINTS, *wanted))
    assert order[:3] == ["EDS", "RDS", "CDS"]


def test_a_cluster_goes_only_after_its_listener_is_gone(delta: bool) -> None:
    stream = Stream(delta=delta, first=known()).connected()
    (listeners,) = stream.update(state())
    assert listeners.type_url == LISTENER
    later = stream.ack(listeners)
    assert short_name(later[0].type_url) == "CDS"
    if delta:
        assert list(later[0].removed_resources) == [CLUSTER_OF_DB]


def test_a_cluster_stays_while_envoy_refuses_the_listeners_without_it(delta: bool) -> None:
    stream = Stream(delta=delta, first=known()).connected()
    (listeners,) = stream.update(state())
    assert stream.ack(listeners, error="no") == []


def test_what_was_refused_is_not_sent_again_until_it_changes(delta: bool) -> None:
    stream = Stream(delta=delta, first=known())
    (response,) = stream.asks(CLUSTER)
    stream.now = 2.0
    assert stream.ack(response, error="cluster: no such field") == []
    (row,) = stream.session.status(5.0)
    assert (row.type, row.applied, row.nack) == ("CDS", "", "cluster: no such field")
    assert row.nack_version == row.version != ""
    assert stream.update(known()) == []
    (response,) = stream.update(state(upstream("api")))
    assert stream.ack(response) == []
    (row,) = stream.session.status(5.0)
    assert (row.applied, row.nack) == (row.version, "")


def test_the_lag_grows_until_envoy_has_applied_it(delta: bool) -> None:
    stream = Stream(delta=delta, first=known())
    (response,) = stream.asks(CLUSTER)
    assert stream.session.status(3.0)[0].lag == 3.0
    stream.now = 0.5
    stream.ack(response)
    assert stream.session.status(9.0)[0].lag == 0.5


def test_one_response_of_a_type_is_under_way_at_a_time(delta: bool) -> None:
    stream = Stream(delta=delta, first=known())
    (first,) = stream.asks(CLUSTER)
    assert stream.update(state(upstream("api"))) == []
    assert stream.update(state(upstream("mail"))) == []
    (second,) = stream.ack(first)
    text = str(second)
    assert "mail.default.dc1" in text
    assert "api.default.dc1" not in text


def test_an_answer_to_an_older_response_says_nothing(delta: bool) -> None:
    stream = Stream(delta=delta, first=known())
    (first,) = stream.asks(CLUSTER)
    (second,) = [*stream.ack(first), *stream.update(state(upstream("api")))]
    assert stream.ack(first) == []
    assert stream.session.status(0.0)[0].applied != stream.session.status(0.0)[0].version
    assert stream.ack(second) == []
    row = stream.session.status(0.0)[0]
    assert row.applied == row.version


def test_the_older_protocol_answers_a_longer_list_of_names_at_once() -> None:
    stream = Stream(delta=False, first=known())
    stream.settle(stream.asks(SECRET, "leaf"))
    (response,) = stream.asks(SECRET, "leaf", "roots")
    assert len(response.resources) == 2
    stream.settle([response])
    assert stream.asks(SECRET, "leaf") == [], "a shorter list needs no answer"


def test_delta_says_that_a_name_is_nobody_s() -> None:
    stream = Stream(delta=True, first=known())
    (response,) = stream.asks(ENDPOINTS, "none.default.dc1")
    assert list(response.removed_resources) == ["none.default.dc1"]


def test_an_envoy_that_comes_back_gets_only_what_differs() -> None:
    first = compile_snapshot(known())
    client, session = Client(delta=True), Session(delta=True)
    session.update(compile_snapshot(known(certificate="CERTIFICATE 2")), 0.0)
    have = {name: each.version for name, each in first[SECRET].items()}
    (response,) = session.handle_request(client.asks(SECRET, "leaf", "roots", initial=have), 0.0)
    assert names(response) == ["leaf"]


def test_a_changed_cluster_gets_its_endpoints_again(delta: bool) -> None:
    stream = Stream(delta=delta, first=known()).connected()
    slower = state(upstream(connect_timeout=9.0), instances={DB: (instance(),)})
    assert stream.settle(stream.update(slower)) == ["CDS", "EDS"]


def test_routes_follow_the_listener_that_names_them(delta: bool) -> None:
    stream = Stream(delta=delta, first=state(listener=public(protocol="http")))
    stream.settle(stream.asks(CLUSTER))
    stream.settle(stream.asks(LISTENER))
    assert stream.settle(stream.asks(ROUTES, "public")) == ["RDS"]


def test_a_type_that_is_not_served_is_not_answered(delta: bool) -> None:
    stream = Stream(delta=delta, first=known())
    assert stream.asks("type.googleapis.com/envoy.service.runtime.v3.Runtime") == []
    assert stream.session.status(0.0) == []


@pytest.mark.parametrize(("count", "fits"), [(MAX_NAMES, True), (MAX_NAMES + 1, False)])
def test_more_names_than_any_proxy_has_end_the_stream(delta: bool, count: int, fits: bool) -> None:
    stream = Stream(delta=delta, first=known())
    wanted = [f"name-{number}" for number in range(count)]
    if fits:
        stream.asks(SECRET, *wanted)
        return
    with pytest.raises(RemoteProtocolError, match="SDS: 8193 names are asked for, more than 8192"):
        stream.asks(SECRET, *wanted)
